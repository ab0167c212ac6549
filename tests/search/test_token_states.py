"""An index with precomputed token states gives the same ranking for less work."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from index.fakes import HashingEmbedder
from resift import Chain, Index, Reranker
from resift.errors import InputError
from resift.index.table.snapshot import View
from resift.rerank.text_tokens import TextTokens
from resift.settings import Settings
from search.stand_ins import Backwards
from split_artifacts import make_split_artifact
from texts import passages

QUERY = "how is a file opened for reading"


@pytest.fixture(scope="module")
def reranker() -> Reranker:
    return Reranker()


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number, text in enumerate(passages(12)):
        (folder / f"{number}.txt").write_text(text)
    return folder


def index_at(path: Path, reranker: Any) -> Index:
    """A new object each time, as another process would have one."""
    return Index(
        str(path / "index"), settings=Settings(), embedder=HashingEmbedder(), reranker=reranker
    )


def test_with_and_without_states_the_answer_is_the_same(
    tmp_path: Path, docs: Path, reranker: Reranker
) -> None:
    plain = index_at(tmp_path / "plain", reranker)
    precomputed = index_at(tmp_path / "precomputed", reranker)
    assert plain.sync(str(docs)).precomputed_bytes == 0
    report = precomputed.sync(str(docs), token_states=True)
    assert report.precomputed_bytes > 1_000 * report.passages_embedded
    before, after = (index.search(QUERY, top_n=12) for index in (plain, precomputed))
    assert [hit.text for hit in before] == [hit.text for hit in after]
    for first, second in zip(before, after, strict=True):
        assert first.logit == pytest.approx(second.logit, abs=1e-5)
    assert (before.receipt.precomputed, after.receipt.precomputed) == (0, after.receipt.depth)
    assert before.receipt.tokens > 0 == after.receipt.tokens


def test_token_ids_are_there_without_states(
    tmp_path: Path, docs: Path, reranker: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = index_at(tmp_path, reranker)
    index.sync(str(docs))
    read: list[str] = []
    tokens = reranker._engine.model._tokens
    reads = tokens.read

    def recorded(texts: Sequence[str], *wanted: Any) -> Iterator[TextTokens | None]:
        read.extend(texts)
        return iter(reads(texts, *wanted))

    monkeypatch.setattr(tokens, "read", recorded)
    index.search(QUERY)
    assert read == [QUERY]


def test_documents_indexed_without_states_are_read_again_for_them(
    tmp_path: Path, docs: Path, reranker: Reranker
) -> None:
    index_at(tmp_path, reranker).sync(str(docs))
    again = index_at(tmp_path, reranker).sync(str(docs), token_states=True)
    assert (again.changed, again.unchanged) == (12, 0) and again.precomputed_bytes
    third = index_at(tmp_path, reranker).sync(str(docs), token_states=True)
    assert (third.changed, third.unchanged, third.precomputed_bytes) == (0, 12, 0)
    assert third.version == again.version


def test_a_document_that_changes_later_without_states_is_read_at_search(
    tmp_path: Path, docs: Path, reranker: Reranker
) -> None:
    index_at(tmp_path, reranker).sync(str(docs), token_states=True)
    (docs / "3.txt").write_text("A file is opened for reading with open.")
    index = index_at(tmp_path, reranker)
    index.sync(str(docs))
    ranking = index.search(QUERY, top_n=12)
    assert ranking.receipt.precomputed == ranking.receipt.depth - 1
    assert "opened for reading with open" in ranking[0].text


def test_another_models_states_are_recomputed_and_replaced(
    tmp_path: Path, docs: Path, reranker: Reranker
) -> None:
    other = Reranker(make_split_artifact(tmp_path / "model"))
    index_at(tmp_path, other).sync(str(docs), token_states=True)
    index = index_at(tmp_path, reranker)
    plain = index.search(QUERY, top_n=12)
    assert plain.receipt.precomputed == 0 and plain.receipt.scored == plain.receipt.depth
    assert index.sync(str(docs), token_states=True).changed == 12
    ranking = index.search(QUERY, top_n=12)
    assert ranking.receipt.precomputed == ranking.receipt.depth
    assert [hit.text for hit in ranking] == [hit.text for hit in plain]


def test_a_reranker_without_precompute_is_refused_before_anything_is_written(
    tmp_path: Path, docs: Path
) -> None:
    index = index_at(tmp_path, Backwards())
    with pytest.raises(InputError, match="token_states: this reranker has no method precompute"):
        index.sync(str(docs), token_states=True)
    assert index.sync(str(docs)).added == 12
    assert len(index.search(QUERY)) == 10


def test_a_model_without_states_is_refused_before_anything_is_written(
    tmp_path: Path, docs: Path, joint_folder: Path
) -> None:
    """Its passages would be read again at every run, and never have any."""
    index = index_at(tmp_path, Reranker(joint_folder))
    with pytest.raises(InputError, match="has no token states of a document alone"):
        index.sync(str(docs), token_states=True)
    assert index.sync(str(docs)).added == 12


def test_damaged_states_are_computed_again(
    tmp_path: Path, docs: Path, reranker: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = index_at(tmp_path, reranker)
    index.sync(str(docs), token_states=True)
    whole = index.search(QUERY, top_n=12)
    states = View.states

    def torn(self: View, row_ids: Sequence[int]) -> dict[int, bytes]:
        return {row_id: data[:-1_000] for row_id, data in states(self, row_ids).items()}

    monkeypatch.setattr(View, "states", torn)
    ranking = index.search(QUERY, top_n=12)
    assert ranking.receipt.precomputed == 0
    assert [replace(hit, logit=0, score=0) for hit in ranking] == [
        replace(hit, logit=0, score=0) for hit in whole
    ]


def test_a_chain_has_the_states_of_its_first_reranker(
    tmp_path: Path, docs: Path, reranker: Reranker, joint_folder: Path
) -> None:
    with Reranker(joint_folder) as dear:
        chain = Chain(reranker, dear, depths=(12, 3))
        index = index_at(tmp_path, chain)
        assert index.sync(str(docs), token_states=True).precomputed_bytes > 0
        receipt = index.search(QUERY).receipt
    first, second = receipt.receipts
    assert first.precomputed == first.depth > 3
    assert (second.depth, second.precomputed) == (3, 0)
