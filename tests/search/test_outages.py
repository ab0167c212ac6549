"""Proves that a search answers with what works, says what does not, and hides no mistake."""

import asyncio
import logging
from pathlib import Path
from typing import Any, NoReturn

import pytest

from index.fakes import HashingEmbedder
from index.shelf import Shelf
from resift.errors import (
    ArtifactError,
    CalibrationError,
    EmbedderError,
    HubError,
    IndexMismatch,
    InputError,
    MissingExtra,
    ModelError,
    ModelNotFound,
    Overloaded,
    QueryError,
    RerankerClosed,
    ResiftError,
    RuntimeFailure,
    SettingsError,
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
    if isinstance(error, EmbedderError):  # a server elsewhere: its message says all
        assert str(error) in record.message and not record.exc_info
    else:
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
    QueryError("query: too long"),
    RerankerClosed("closed"),
    SettingsError("RESIFT_EMBEDDER: not valid"),
    ModelNotFound("nope: no such embedder"),
    ModelError("a/b: a reranker, which gives scores; expected an embedder"),
    ArtifactError("/models/mine: does not match its manifest"),
    CalibrationError("for another model"),
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
    [RuntimeFailure("no\ntrace"), ValueError("odd"), KeyError("x"), OSError("reset"),
     MemoryError()],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_a_reranker_that_fails_is_logged_with_its_traceback(
    snapshot: Snapshot, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "resift"):
        ranking = search_components("cat dog", snapshot, EMBEDDER, Broken(error), SearchOptions())
    assert len(ranking) == 4 and ranking.receipt.partial
    reason = f"the reranker failed: {type(error).__name__}: "
    assert str(ranking.receipt.reason).startswith(reason)
    assert "\n" not in str(ranking.receipt.reason)
    (record,) = caplog.records
    assert record.name == "resift" and record.exc_info and record.exc_info[1] is error


@pytest.mark.parametrize("budget_ms", [None, 60_000])
def test_an_overloaded_reranker_is_logged_in_one_line_without_a_traceback(
    snapshot: Snapshot, budget_ms: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken(Overloaded(9, 1.0))
    with caplog.at_level(logging.DEBUG, "resift"):
        ranking = search_components("cat", snapshot, EMBEDDER, broken, SearchOptions(), budget_ms)
    assert str(ranking.receipt.reason).startswith("the reranker failed: Overloaded: 9 tokens are")
    (record,) = caplog.records
    assert record.exc_info is None and record.levelno <= logging.WARNING
    assert record.getMessage() == (
        "the reranker is overloaded; the search goes on without it: "
        "9 tokens are waiting already; try again in 1.0 s"
    )


@pytest.mark.parametrize("query", ["word " * 600, "日" * 600])
@pytest.mark.parametrize("budget_ms", [None, 60_000])
def test_a_query_that_is_too_long_for_the_reranker_is_refused(
    uri: str, query: str, budget_ms: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    index = Index(uri, settings=Settings(), embedder=HashingEmbedder("wordllama"))
    index.load()
    message = "query: .* tokens, but .* so shorten it, or search with rerank=False"
    with pytest.raises(QueryError, match=message):
        index.search(query, budget_ms=budget_ms)
    with pytest.raises(QueryError, match=message):
        asyncio.run(index.asearch(query, budget_ms=budget_ms))
    assert not index.search(query, rerank=False, budget_ms=budget_ms).receipt.partial
    assert not caplog.records


@pytest.fixture
def uri(tmp_path: Path) -> str:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "cat.md").write_text("The cat is an animal.")
    index = Index(tmp_path / "index", settings=Settings(), embedder=HashingEmbedder("wordllama"))
    index.sync(str(docs))
    return index.uri


@pytest.mark.parametrize("mode", ["hybrid", "dense"])
@pytest.mark.parametrize("rerank", [True, False])
def test_the_name_of_no_embedder_is_an_error_where_an_embedder_is_needed(
    uri: str, mode: Any, rerank: bool
) -> None:
    index = Index(uri, settings=Settings(embedder="nope"), reranker=Backwards())
    with pytest.raises(ModelNotFound, match="nope: no such embedder"):
        index.search("cat", mode=mode, rerank=rerank)
    with pytest.raises(ModelNotFound, match="nope: no such embedder"):
        asyncio.run(index.asearch("cat", mode=mode, rerank=rerank))
    assert not index.search("cat", mode="lexical", rerank=rerank).receipt.partial


def test_the_name_of_no_reranker_is_an_error(uri: str) -> None:
    index = Index(
        uri, settings=Settings(model="/models/none"), embedder=HashingEmbedder("wordllama")
    )
    with pytest.raises(ModelNotFound, match="/models/none"):
        index.search("cat")
    assert not index.search("cat", rerank=False).receipt.partial


@pytest.mark.parametrize(
    "error", [HubError("a/b: the hub cannot be reached"), RuntimeFailure("no memory"), DOWN]
)
def test_an_embedder_that_cannot_be_opened_now_is_a_failed_dense_retriever(
    uri: str, error: ResiftError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(name: str | None, settings: Settings) -> NoReturn:
        raise error

    monkeypatch.setattr("resift.search.components.open_embedder", unreachable)
    index = Index(uri, settings=Settings(embedder="a/b"), reranker=Backwards())
    ranking = index.search("cat")
    assert len(ranking) == 1
    reason = f"the dense retriever failed: {type(error).__name__}: {error}"
    assert reason in str(ranking.receipt.reason)
    with pytest.raises(type(error)):
        index.search("cat", mode="dense")


def test_another_embedders_index_is_an_error_and_lexical_search_needs_none(uri: str) -> None:
    index = Index(uri, settings=Settings(), embedder=HashingEmbedder("another"))
    for mode in ("hybrid", "dense"):
        with pytest.raises(IndexMismatch, match="RESIFT_EMBEDDER=wordllama"):
            index.search("cat", mode=mode, rerank=False)
    ranking = index.search("cat", mode="lexical", rerank=False)
    assert len(ranking) == 1 and not ranking.receipt.partial
