"""A multi-vector model ranks as any other: deadlines, receipts, long texts, precomputed vectors.

The model is converted from a tiny random PyLate checkpoint, in int8 and in float32.
"""

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.late_checkpoints import DOCUMENT_LENGTH, QUERY_LENGTH, WIDTH, write_pylate
from convert.plain_checkpoints import TRAINED, WORDS, pairs
from index.fakes import HashingEmbedder
from resift import Candidate, Index, Precomputed, Reranker
from resift.convert.convert import convert_folder
from resift.errors import ArtifactError, QueryError
from resift.rerank.artifact import load_artifact, write_manifest
from resift.rerank.loading import load_model
from resift.rerank.models import Batch
from resift.rerank.multi_vector import MultiVectorModel
from resift.rerank.token_vectors import TokenVectors
from resift.settings import Settings

RNG = random.Random(9)
QUERY = " ".join(WORDS[3:8])
TEXTS = [" ".join(RNG.choices([*WORDS, ",", "."], k=n)) for n in (1, 2, 7, 7, 18, 30, 37)]
LONG = " ".join(RNG.choices(WORDS, k=200))


@pytest.fixture(scope="module", params=[True, False], ids=["int8", "float32"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("late")
    texts = work / "pairs.jsonl"
    texts.write_text("".join(json.dumps({"query": q, "text": t}) + "\n" for q, t in pairs(60)))
    checkpoint = write_pylate(work / "checkpoint", spread=TRAINED)
    convert_folder(checkpoint, work / "out", name="late", texts=texts, int8=request.param)
    return work / "out"


@pytest.fixture(scope="module")
def reranker(folder: Path, runtime: str) -> Reranker:
    return Reranker(folder, settings=Settings(runtime=runtime))


def with_vectors(texts: list[str], precomputed: list[Precomputed | None]) -> list[Candidate]:
    return [
        Candidate(str(number), text, precomputed=document)
        for number, (text, document) in enumerate(zip(texts, precomputed, strict=True))
    ]


def test_precomputed_vectors_give_the_same_logits(reranker: Reranker, folder: Path) -> None:
    texts = [*TEXTS, LONG]
    precomputed = reranker.precompute(texts)
    is_int8 = load_artifact(folder).manifest.quantisation.startswith("static int8")
    first = precomputed[0]
    assert first is not None
    assert len(first.states) == 4 * WIDTH * (1 if is_int8 else 2)  # [CLS] [D] word [SEP]
    fresh = reranker.score(QUERY, texts)
    assert (reranker.score(QUERY, with_vectors(texts, precomputed)) == fresh).all()
    ranking = reranker.rank(QUERY, with_vectors(texts, precomputed))
    assert (ranking.receipt.precomputed, ranking.receipt.tokens) == (len(texts), 0)


def test_a_logit_depends_on_its_pair_only(reranker: Reranker) -> None:
    together = reranker.score(QUERY, TEXTS)
    alone = [reranker.score(QUERY, [text])[0] for text in TEXTS]
    assert together.tolist() == [float(logit) for logit in alone]
    others = reranker.rank_many([QUERY, WORDS[50]], [TEXTS, TEXTS[::-1]])[0]
    assert {hit.index: hit.logit for hit in others} == dict(enumerate(together.tolist()))


def test_order_is_that_of_logits_and_scores_are_plain_floats(reranker: Reranker) -> None:
    hits = reranker.rank(QUERY, TEXTS)
    expected = np.argsort(-reranker.score(QUERY, TEXTS), kind="stable")
    assert [hit.index for hit in hits] == expected.tolist()
    assert all(type(hit.score) is float and 0 < hit.score < 1 for hit in hits)


def test_a_deadline_leaves_the_first_order(reranker: Reranker) -> None:
    ranking = reranker.rank(QUERY, TEXTS, budget_ms=0)
    assert [hit.index for hit in ranking] == list(range(len(TEXTS)))
    assert ranking.receipt.scored == 0 and ranking.receipt.partial


def test_a_long_document_is_cut_counted_and_read_in_windows(reranker: Reranker) -> None:
    (hit,) = reranker.rank(QUERY, [LONG])
    assert hit.status == "cut" and hit.tokens_dropped == 200 - (DOCUMENT_LENGTH - 3)
    text = " ".join([*WORDS[20:60] * 3, QUERY, *WORDS[20:60]])
    (cut,) = reranker.rank(QUERY, [text])
    (read,) = reranker.rank(QUERY, [text], long_documents="windows")
    assert read.logit is not None and cut.logit is not None and read.logit > cut.logit
    assert read.windows > 1
    assert read.tokens_dropped < cut.tokens_dropped


def test_a_query_longer_than_its_expansion_is_read_whole(reranker: Reranker) -> None:
    words = WORDS[: QUERY_LENGTH + 4]
    document = " ".join(words[-3:])
    with_end, without = (
        reranker.score(" ".join(query), [document])[0] for query in (words, words[:QUERY_LENGTH])
    )
    assert with_end > without + 1
    with pytest.raises(QueryError, match="this model has room for 37 beside a document"):
        reranker.rank(LONG, TEXTS)


def test_odd_documents_stay(reranker: Reranker) -> None:
    ranking = reranker.rank(QUERY, ["", ", . !", WORDS[3], WORDS[3], "unheard"])
    statuses = {hit.index: hit.status for hit in ranking}
    assert statuses == {0: "empty", 1: "ok", 2: "ok", 3: "ok", 4: "empty"}
    logits = {hit.index: hit.logit for hit in ranking}
    assert logits[2] == logits[3]
    assert len(reranker.rank(QUERY, [])) == 0


def test_async_gives_the_same(reranker: Reranker) -> None:
    ranking = asyncio.run(reranker.arank(QUERY, TEXTS))
    assert [hit.logit for hit in ranking] == [hit.logit for hit in reranker.rank(QUERY, TEXTS)]


def test_its_reference_logits_are_verified(reranker: Reranker) -> None:
    assert reranker.verify().pairs > 0


def test_an_index_stores_its_vectors(reranker: Reranker, tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    for number, text in enumerate(TEXTS):
        (documents / f"{number}.txt").write_text(text)
    index = Index(
        str(tmp_path / "index"),
        settings=Settings(),
        embedder=HashingEmbedder(),
        reranker=reranker,
    )
    assert index.sync(str(documents), token_states=True).precomputed_bytes > 0
    receipt = index.search(QUERY).receipt
    assert receipt.precomputed == receipt.depth > 0 == receipt.tokens


def test_punctuation_is_read_and_not_compared(folder: Path) -> None:
    """A skipped sign changes its neighbours, and is no match itself."""
    artifact = load_artifact(folder)
    model = load_model(artifact)
    assert isinstance(model, MultiVectorModel)
    row = model.query_row(QUERY)
    text = f"{WORDS[0]} ,"
    tokens = [part for part in model.tokens([text], "all") if part is not None]
    document = model.rows(row, [text], tokens)[0]
    vectors = artifact.manifest.multi_vector
    assert vectors is not None and document.ids[-2] in vectors.document_skiplist
    (states,) = (states for _, states in model.document_states([text], tokens))
    logits = []
    for value in (states[-2], -states[-2]):
        changed = states.copy()
        changed[-2] = value
        padded = np.zeros((1, 16, WIDTH), states.dtype)
        padded[0, : len(states)] = changed
        batch = Batch([document], [model.query_states(row)], padded)
        logits.append(float(model.stages[0](batch)[1][0]))
    assert logits[0] == logits[1]


def test_the_fingerprint_has_what_decides_a_logit(folder: Path) -> None:
    manifest = load_artifact(folder).manifest
    vectors = manifest.multi_vector
    assert vectors is not None
    other = replace(manifest, multi_vector=replace(vectors, query_length=31))
    scale = replace(manifest, multi_vector=replace(vectors, centre=1.0))
    assert other.fingerprint != manifest.fingerprint == scale.fingerprint


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"query_marker": [-1]}, "query_marker"),
        ({"document_skiplist": None}, "document_skiplist"),
        ({"expansion_token": "x"}, "expansion_token"),
        ({"query_length": 1.5}, "query_length 1.5, expected a whole number"),
        ({"is_mean": 1}, "is_mean 1, expected true or false"),
        ({"spread": 0}, "spread 0, expected a number above 0"),
        ({"centre": None}, "not a manifest"),
        ({"more": 1}, "not a manifest"),
    ],
)
def test_a_broken_manifest_is_refused(
    changes: dict[str, Any], problem: str, folder: Path, copied: Callable[[], Path]
) -> None:
    copy = copied()
    values = json.loads((copy / "manifest.json").read_text())
    values["multi_vector"] |= changes
    (copy / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match=problem) as caught:
        load_artifact(copy)
    assert "\n" not in str(caught.value)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Callable[[], Path]:
    def copy() -> Path:
        target = tmp_path / "copy"
        target.mkdir()
        for file in folder.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
        return target

    return copy


def test_an_artifact_of_another_kind_or_size_is_refused(
    folder: Path, copied: Callable[[], Path]
) -> None:
    manifest = load_artifact(folder).manifest
    copy = copied()
    write_manifest(copy, replace(manifest, stages=manifest.stages[:1]))
    with pytest.raises(ArtifactError, match="a multi-vector model of 1 files, this resift runs 2"):
        Reranker(copy)
    write_manifest(copy, replace(manifest, stages=manifest.stages[::-1]))
    with pytest.raises(ArtifactError, match="reads own, query_own, query_states, states"):
        Reranker(copy)
    write_manifest(copy, replace(manifest, kind="cross_encoder"))
    with pytest.raises(ArtifactError, match="kind 'multi_vector', and no other kind"):
        load_artifact(copy)


def test_settings_expand_a_query_to_its_length() -> None:
    vectors = TokenVectors((5,), (6,), 6, 9, False, (), ())
    ids, mask = vectors.query_ids(np.array([2, 5, 7, 3]))
    assert (ids.tolist(), mask.tolist()) == ([2, 5, 7, 3, 9, 9], [1, 1, 1, 1, 0, 0])
    ids, mask = replace(vectors, attends_to_expansion=True).query_ids(np.array([2, 5, 7, 3]))
    assert mask.tolist() == [1] * 6
    for other in (vectors, replace(vectors, expansion_token=None, query_length=0)):
        assert other.query_ids(np.arange(7))[0].tolist() == list(range(7))
