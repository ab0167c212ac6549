"""Proves that a search answers with what works, says what does not, and hides no mistake."""

import logging
from pathlib import Path
from typing import Any, NoReturn

import pytest

from index.fakes import HashingEmbedder
from index.shelf import Shelf
from resift.errors import (
    EmbedderError,
    IndexMismatch,
    InputError,
    MissingExtra,
    ModelNotFound,
    Overloaded,
    QueryError,
    RuntimeFailure,
    StoreError,
)
from resift.index.table.snapshot import Snapshot, View
from resift.search.index import Index
from resift.search.options import SearchOptions
from resift.settings import Settings
from resift.types import Ranking
from search.opened import FailingEmbedder, search_components
from search.stand_ins import Backwards, Broken

EMBEDDER = HashingEmbedder()
TEXTS = {"cat": "cat cat cat", "pets": "cat and dog", "dog": "dog dog", "bird": "a bird sings"}
DOWN = EmbedderError("http://host/v1#m: does not answer")


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    shelf = Shelf(tmp_path_factory.mktemp("search"))
    shelf.write(**TEXTS)
    shelf.sync()
    return shelf.snapshot()


def no_words(*arguments: object) -> NoReturn:
    raise StoreError("the server does not answer")


def ids(ranking: Ranking) -> list[str]:
    return [hit.id for hit in ranking]


@pytest.mark.parametrize("error", [DOWN, OSError("reset"), RuntimeError("odd"), MemoryError()])
def test_without_the_embedder_the_lexical_order_stands(
    snapshot: Snapshot, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    words = search_components("cat", snapshot, EMBEDDER, None, SearchOptions(mode="lexical"))
    with caplog.at_level(logging.WARNING, "resift"):
        ranking = search_components("cat", snapshot, FailingEmbedder(error), None, SearchOptions())
    assert ids(ranking) == ids(words) != []
    assert ranking.receipt.partial
    reason = str(ranking.receipt.reason)
    assert reason.startswith(f"the dense retriever failed: {type(error).__name__}: ")
    (record,) = caplog.records
    assert record.exc_info and record.exc_info[1] is error


def test_without_the_lexical_retriever_the_dense_order_stands(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = search_components("cat", snapshot, EMBEDDER, None, SearchOptions(mode="dense"))
    monkeypatch.setattr(View, "lexical", no_words)
    ranking = search_components("cat", snapshot, EMBEDDER, None, SearchOptions())
    assert ids(ranking) == ids(near)
    assert ranking.receipt.reason == (
        "the lexical retriever failed: StoreError: the server does not answer"
    )


def test_the_error_is_raised_where_no_other_retriever_is_left(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = FailingEmbedder(DOWN)
    with pytest.raises(EmbedderError, match="does not answer"):
        search_components("cat", snapshot, broken, None, SearchOptions(mode="dense"))
    monkeypatch.setattr(View, "lexical", no_words)
    with pytest.raises(StoreError, match="does not answer"):
        search_components("cat", snapshot, broken, None, SearchOptions())
    with pytest.raises(StoreError, match="does not answer"):
        search_components("cat", snapshot, EMBEDDER, None, SearchOptions(mode="lexical"))


def test_two_missing_components_are_both_in_the_reason(snapshot: Snapshot) -> None:
    ranking = search_components(
        "cat", snapshot, FailingEmbedder(DOWN), Broken(RuntimeFailure("no memory")), SearchOptions()
    )
    first, second = str(ranking.receipt.reason).split("; ")
    assert first.startswith("the dense retriever failed") and second.startswith(
        "the reranker failed"
    )


MISTAKES = [
    TypeError("rank() got an unexpected keyword"),
    AttributeError("x"),
    NameError("x"),
    AssertionError(),
    MissingExtra("torch is not installed"),
    UserWarning("made an error"),
    DeprecationWarning("made an error"),
    InputError("fusion_weight=-1"),
    KeyboardInterrupt(),
    SystemExit(3),
]


@pytest.mark.parametrize("error", MISTAKES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("budget_ms", [None, 60_000])
def test_mistakes_in_code_are_not_hidden(
    snapshot: Snapshot, error: Any, budget_ms: float | None
) -> None:
    with pytest.raises(type(error)):
        search_components("cat", snapshot, EMBEDDER, Broken(error), SearchOptions(), budget_ms)
    with pytest.raises(type(error)):
        search_components("cat", snapshot, FailingEmbedder(error), None, SearchOptions(), budget_ms)


@pytest.mark.parametrize(
    "error",
    [RuntimeFailure("no\ntrace"), Overloaded(9, 1.0), QueryError("query: too long"),
     ValueError("odd"), KeyError("x"), OSError("reset"), MemoryError()],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_a_reranker_that_fails_is_logged_with_its_traceback(
    snapshot: Snapshot, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "resift"):
        ranking = search_components("cat dog", snapshot, EMBEDDER, Broken(error), SearchOptions())
    assert len(ranking) == 4 and ranking.receipt.partial
    of_query = isinstance(error, QueryError)
    reason = "not reranked: " if of_query else f"the reranker failed: {type(error).__name__}: "
    assert str(ranking.receipt.reason).startswith(reason)
    assert "\n" not in str(ranking.receipt.reason)
    (record,) = caplog.records
    assert record.name == "resift" and record.exc_info and record.exc_info[1] is error


@pytest.fixture
def uri(tmp_path: Path) -> str:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "cat.md").write_text("The cat is an animal.")
    index = Index(tmp_path / "index", settings=Settings(), embedder=HashingEmbedder("wordllama"))
    index.sync(str(docs))
    return index.uri


def test_an_embedder_that_cannot_be_opened_is_a_failed_dense_retriever(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(name: str | None, settings: Settings) -> NoReturn:
        raise ModelNotFound(f"{name}: no such embedder")

    monkeypatch.setattr("resift.search.components.open_embedder", gone)
    index = Index(uri, settings=Settings(embedder="/models/mine"), reranker=Backwards())
    ranking = index.search("cat")
    assert len(ranking) == 1
    assert "the dense retriever failed: ModelNotFound: /models/mine" in str(ranking.receipt.reason)
    with pytest.raises(ModelNotFound):
        index.search("cat", mode="dense")


def test_another_embedders_index_is_an_error_and_lexical_search_needs_none(uri: str) -> None:
    index = Index(uri, settings=Settings(), embedder=HashingEmbedder("another"))
    for mode in ("hybrid", "dense"):
        with pytest.raises(IndexMismatch, match="RESIFT_EMBEDDER=wordllama"):
            index.search("cat", mode=mode, rerank=False)
    ranking = index.search("cat", mode="lexical", rerank=False)
    assert len(ranking) == 1 and not ranking.receipt.partial
