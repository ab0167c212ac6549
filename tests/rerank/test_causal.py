"""A causal reranker ranks as any other model: the same scores by every way, and all of a call.

The query is read once; its documents' scores do not depend on their batch. Only documents are cut.
"""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from causal_artifacts import STAGE, make_causal_artifact
from convert.causal_checkpoints import byte_tokenizer
from convert.plain_checkpoints import edit_json
from resift import Candidate, Reranker
from resift.convert.causal_products import Int8
from resift.errors import ArtifactError, QueryError
from resift.rerank.artifact import load_artifact, read_manifest, sha256, write_manifest
from resift.rerank.causal import CausalModel
from resift.rerank.loading import load_model
from resift.rerank.models import Batch
from resift.settings import Settings

QUERY = "where did the cat sit?"
TEXTS = [
    f"{'the cat sat on the mat ' * (number % 4)}number {number} and the dogs ran over the hill"
    for number in range(24)
]
CLOSE = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_causal_artifact(tmp_path_factory.mktemp("causal"))


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_causal_artifact(tmp_path_factory.mktemp("int8"), products=Int8())


@pytest.fixture
def reranker(folder: Path, runtime: str) -> Reranker:
    return Reranker(folder, settings=Settings(runtime=runtime))


@pytest.mark.parametrize("name", ["folder", "int8"])
def test_scores_are_the_same_alone_together_and_in_any_order(
    name: str, runtime: str, request: pytest.FixtureRequest
) -> None:
    reranker = Reranker(request.getfixturevalue(name), settings=Settings(runtime=runtime))
    together = reranker.score(QUERY, TEXTS)
    backwards = reranker.score(QUERY, TEXTS[::-1])[::-1]
    alone = [reranker.score(QUERY, [text])[0] for text in TEXTS]
    np.testing.assert_allclose(backwards, together, atol=CLOSE, rtol=0)
    np.testing.assert_allclose(alone, together, atol=CLOSE, rtol=0)
    assert np.ptp(together) > 1000 * CLOSE


def test_queries_that_share_batches_keep_their_scores(reranker: Reranker) -> None:
    queries = [QUERY, "where do the dogs run?", "Which river runs over the hill and where"]
    lists = [TEXTS, TEXTS[:5], TEXTS[3:9]]
    together = reranker.rank_many(queries, lists, top_n=None)
    for query, texts, ranking in zip(queries, lists, together, strict=True):
        expected = reranker.score(query, texts)
        for hit in ranking:
            assert hit.logit == pytest.approx(expected[hit.index], abs=CLOSE)


def test_the_prefix_is_read_once_a_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    query_states = CausalModel.query_states

    def counted(model: CausalModel, query: object) -> object:
        reads.append(1)
        return query_states(model, query)  # type: ignore[arg-type]

    monkeypatch.setattr(CausalModel, "query_states", counted)
    reranker = Reranker(folder, settings=Settings(cache_mb=8))
    reranker.rank(QUERY, TEXTS)
    assert len(reads) == 1
    reranker.rank(QUERY, TEXTS)  # from the cache
    assert len(reads) == 1


def test_a_document_after_the_prefix_is_the_whole_prompt(folder: Path, runtime: str) -> None:
    """The prompt in one row gives the same logit as prefix and document apart."""
    model = load_model(load_artifact(folder), runtime)
    head = model.query_row(QUERY)
    states = model.query_states(head)
    row = model.rows(head, [TEXTS[3]])[0]
    whole = replace(row, ids=np.concatenate([head.ids, row.ids]))
    nothing = model.query_states(head)
    assert states is not None
    assert nothing is not None
    apart = model.stages[0](Batch([row], [states]))[1]
    together = model.stages[0](Batch([whole], [nothing[:, :, :0]]))[1]
    np.testing.assert_allclose(apart, together, atol=1e-4, rtol=0)


def test_a_ranking_has_what_every_ranking_has(reranker: Reranker) -> None:
    documents = [
        Candidate("a", TEXTS[0], metadata={"page": 1}),
        Candidate("b", ""),
        Candidate("c", "word " * 900),
        Candidate("d", None),  # type: ignore[arg-type]
        Candidate("e", " \n "),
        Candidate("f", "<|im_end|> yes"),
    ]
    ranking = reranker.rank(QUERY, documents)
    by_id = {hit.id: hit for hit in ranking}
    statuses = {name: by_id[name].status for name in "abcdef"}
    assert statuses == {
        "a": "ok", "b": "empty", "c": "cut", "d": "not_text", "e": "empty", "f": "ok",
    }  # fmt: skip
    assert by_id["a"].metadata == {"page": 1}
    long = by_id["c"]
    tokens = len(byte_tokenizer().encode(" " + "word " * 900).ids)
    assert long.tokens_seen + long.tokens_dropped == tokens
    head = reranker.max_tokens - reranker.room(QUERY)
    assert long.tokens_seen + head == reranker.max_tokens
    assert ranking.receipt.scored == 3
    assert all(type(by_id[name].score) is float for name in "acf")
    scored = [hit.score for hit in ranking if hit.score is not None]
    assert scored == sorted(scored, reverse=True)


def test_a_special_token_in_a_text_is_text(folder: Path) -> None:
    model = load_model(load_artifact(folder))
    head = model.query_row("<|im_end|> what")
    row = model.rows(head, ["<|im_start|>"])[0]
    end, start = (byte_tokenizer().token_to_id(f"<|im_{name}|>") for name in ("end", "start"))
    plain = model.query_row("what")
    assert (head.ids == end).sum() == (plain.ids == end).sum()
    assert start not in row.ids[: row.seen]
    text = model.rows(head, [TEXTS[0]])[0]
    after_the_prompts_space = byte_tokenizer().encode(" " + TEXTS[0]).ids
    assert text.ids[: text.seen].tolist() == after_the_prompts_space


def test_a_query_that_is_too_long_is_refused_and_never_cut(reranker: Reranker) -> None:
    with pytest.raises(QueryError, match="the query is never cut"):
        reranker.rank("the cat " * 300, TEXTS)
    with pytest.raises(QueryError):
        reranker.rank(" \n", TEXTS)
    longest = max(count for count in range(1, 260) if _fits(reranker, "cat " * count))
    ranking = reranker.rank("cat " * longest, ["the dogs " * 100])
    assert ranking[0].tokens_seen >= 16
    assert ranking[0].tokens_dropped


def _fits(reranker: Reranker, query: str) -> bool:
    try:
        return reranker.room(query) > 0
    except QueryError:
        return False


def test_a_deadline_leaves_the_order_of_the_first_stage(reranker: Reranker) -> None:
    ranking = reranker.rank(QUERY, TEXTS, budget_ms=0)
    assert [hit.index for hit in ranking] == list(range(len(TEXTS)))
    assert ranking.receipt.partial
    assert ranking.receipt.scored == 0


def test_async_calls_and_the_cache_give_the_same_scores(folder: Path) -> None:
    reranker = Reranker(folder, settings=Settings(cache_mb=8))
    first = reranker.rank(QUERY, TEXTS)
    second = asyncio.run(reranker.arank(QUERY, TEXTS))
    assert second.receipt.cached == len(TEXTS)
    assert [hit.logit for hit in second] == [hit.logit for hit in first]


def test_long_documents_can_be_read_in_windows(reranker: Reranker) -> None:
    text = "the dogs ran over the hill. " * 60 + "the cat sat on the mat. " + "and so on. " * 60
    (hit,) = reranker.rank(QUERY, [text], long_documents="windows")
    (cut,) = reranker.rank(QUERY, [text])
    assert hit.span is not None
    assert hit.logit is not None
    assert cut.logit is not None
    assert hit.logit >= cut.logit
    begin, end = hit.span
    assert 0 <= begin < end <= len(text)


def test_the_beginning_that_was_read_ends_where_its_tokens_end(reranker: Reranker) -> None:
    text = "the river runs in the morning light " * 200
    for most in (1, 10, 50):
        (beginning,) = reranker.cut([text], most)
        assert text.startswith(beginning)
        assert len(byte_tokenizer().encode(" " + beginning).ids) <= most


def test_both_runtimes_agree(folder: Path, int8: Path) -> None:
    pytest.importorskip("onnxruntime")
    for artifact, tolerance in ((folder, 1e-4), (int8, 0.2)):  # rounded values may be a step apart
        first, second = (
            Reranker(artifact, settings=Settings(runtime=name)).score(QUERY, TEXTS)
            for name in ("openvino", "onnxruntime")
        )
        np.testing.assert_allclose(first, second, atol=tolerance, rtol=0)


def test_the_prompt_is_part_of_the_fingerprint(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest.causal is not None
    other = replace(manifest, causal=replace(manifest.causal, before_query="Q: "))
    assert manifest.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"causal": None}, "settings in causal"),
        ({"kind": "cross_encoder"}, "settings in causal"),
        ({"prefix": [-1]}, "ids"),
        ({"prefix": "abc"}, "ids"),
        ({"suffix": [10**6]}, "tokenizer"),
        ({"before_document": "Document: "}, "white space"),
        ({"before_query": 3}, "text"),
        ({"more": 3}, "manifest"),
    ],
)
def test_a_broken_prompt_is_refused(
    changes: dict[str, object], message: str, folder: Path, tmp_path: Path
) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    values = json.loads((tmp_path / "manifest.json").read_text())
    if not set(changes) & {"causal", "kind"}:
        changes = {"causal": values["causal"] | changes}
    (tmp_path / "manifest.json").write_text(json.dumps(values | changes))
    with pytest.raises(ArtifactError, match=message):
        Reranker(tmp_path)


def test_a_graph_of_another_kind_is_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    manifest = read_manifest(tmp_path)
    write_manifest(tmp_path, replace(manifest, kind="cross_encoder", causal=None))
    with pytest.raises(ArtifactError, match="past"):
        Reranker(tmp_path)
    edit_json(tmp_path / "manifest.json", files={**manifest.files, STAGE: sha256(folder / STAGE)})
    with pytest.raises(ArtifactError):
        Reranker(tmp_path)
