"""Proves that a budget holds from the first line on: what is late is left out, with a reason."""

import time
from pathlib import Path
from typing import Any

import pytest

from index.fakes import HashingEmbedder
from index.shelf import Shelf
from resift.index.table.open import open_choice
from resift.index.table.sharded import OpenVersion
from resift.index.table.snapshot import Snapshot, View
from resift.search.index import Index
from resift.search.options import SearchOptions
from resift.settings import Settings
from resift.types import Ranking
from search.opened import NEVER, Gate, search_components
from search.stand_ins import Backwards

EMBEDDER = HashingEmbedder()
TEXTS = {"cat": "cat cat cat", "pets": "cat and dog", "dog": "dog dog", "bird": "a bird sings"}
BUDGET_MS = 1_000  # all who are not held are done by then on a busy machine too
SLACK_MS = 10_000  # who is held stays so for a minute; a benchmark measures the overrun


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    shelf = Shelf(tmp_path_factory.mktemp("search"))
    shelf.write(**TEXTS)
    shelf.sync()
    return shelf.snapshot()


@pytest.fixture
def gate() -> Any:
    with Gate() as gate:
        yield gate


def in_time(search: Any) -> Ranking:
    """The ranking, which must be ready when the budget ends."""
    start = time.perf_counter()
    ranking: Ranking = search()
    assert (time.perf_counter() - start) * 1000 < BUDGET_MS + SLACK_MS
    return ranking


def names(ranking: Ranking) -> list[str]:
    return [Path(hit.citation.doc_id).stem for hit in ranking if hit.citation]


@pytest.mark.parametrize(
    ("late", "left", "reason"),
    [
        ("dense", "lexical", "without the dense retriever: time was up"),
        ("lexical", "dense", "without the lexical retriever: time was up"),
    ],
)
def test_a_late_retriever_is_left_out_and_the_order_of_the_other_stands(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, gate: Gate, late: str, left: Any,
    reason: str,
) -> None:  # fmt: skip
    expected = search_components("cat", snapshot, EMBEDDER, None, SearchOptions(mode=left))
    monkeypatch.setattr(View, late, gate.hold(getattr(View, late)))
    reranker = Backwards()
    ranking = in_time(
        lambda: search_components("cat", snapshot, EMBEDDER, reranker, SearchOptions(), BUDGET_MS)
    )
    assert names(ranking) == names(expected)[::-1] != []
    assert (ranking.receipt.partial, ranking.receipt.reason) == (True, reason)
    ((_, _, budget_ms),) = reranker.calls
    assert budget_ms is not None and 0 < budget_ms <= BUDGET_MS / 2


def test_without_a_budget_nothing_is_left_out(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = View.lexical

    def lexical(*arguments: Any) -> Any:
        time.sleep(0.3)
        return slow(*arguments)

    monkeypatch.setattr(View, "lexical", lexical)
    for budget_ms in (None, float("inf")):
        ranking = search_components("cat", snapshot, EMBEDDER, None, SearchOptions(), budget_ms)
        assert not ranking.receipt.partial and ranking.receipt.timings_ms["lexical"] >= 300


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        (("dense", "lexical"), "time was up before a retriever had answered"),
        (("passages",), "time was up before the texts were read"),
        (("matching_rows",), "time was up before the filter was looked up"),
    ],
)
def test_a_ranking_without_anything_in_time_is_empty_and_has_a_reason(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, gate: Gate, held: Any, reason: str
) -> None:
    for name in held:
        monkeypatch.setattr(View, name, gate.hold(getattr(View, name)))
    plan = SearchOptions(where="doc_id = 'cat.txt'" if "matching_rows" in held else None)
    ranking = in_time(
        lambda: search_components("cat", snapshot, EMBEDDER, Backwards(), plan, BUDGET_MS)
    )
    assert len(ranking) == 0 and ranking.receipt.partial
    assert str(ranking.receipt.reason).endswith(reason)


def test_an_embedder_that_still_loads_is_a_late_dense_retriever(snapshot: Snapshot) -> None:
    ranking = in_time(
        lambda: search_components("cat", snapshot, NEVER, None, SearchOptions(), BUDGET_MS)
    )
    assert names(ranking) == ["cat", "pets"]
    assert ranking.receipt.reason == "without the dense retriever: time was up"


def test_a_reranker_that_still_loads_leaves_the_first_stage(snapshot: Snapshot) -> None:
    ranking = in_time(
        lambda: search_components("cat", snapshot, EMBEDDER, NEVER, SearchOptions(), BUDGET_MS)
    )
    assert names(ranking)[0] == "cat" and len(ranking) == 4
    assert ranking.receipt.reason == "time was up before the reranker was loaded"


def test_a_reranker_that_ignores_its_budget_is_not_waited_for(
    snapshot: Snapshot, gate: Gate
) -> None:
    class Slow(Backwards):
        pass

    slow = Slow()
    slow.rank = gate.hold(slow.rank)  # type: ignore[method-assign]
    ranking = in_time(
        lambda: search_components("cat", snapshot, EMBEDDER, slow, SearchOptions(), BUDGET_MS)
    )
    assert names(ranking)[0] == "cat" and len(ranking) == 4
    assert ranking.receipt.reason == "time was up before the reranker answered"


def test_a_budget_of_zero_is_an_empty_ranking_and_no_error(snapshot: Snapshot) -> None:
    ranking = search_components("cat", snapshot, EMBEDDER, Backwards(), SearchOptions(), 0)
    assert ranking.receipt.partial and ranking.receipt.version is not None
    assert ranking.receipt.reason == "time was up before the search began", "the index is open"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "cat.md").write_text("The cat is an animal.")
    Index(tmp_path / "index", settings=Settings(), embedder=HashingEmbedder()).sync(str(docs))
    return tmp_path / "index"


@pytest.mark.parametrize("held", ["choose_version", "open_choice"])
def test_what_opens_too_slowly_goes_on_for_the_next_call_and_is_opened_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate, held: str
) -> None:
    import resift.search.components as components

    monkeypatch.setattr(components, held, gate.hold(getattr(components, held)))
    index = Index(folder, settings=Settings(), embedder=HashingEmbedder(), reranker=Backwards())
    for _ in range(5):
        ranking = index.search("cat", budget_ms=20)
        assert len(ranking) == 0 and ranking.receipt.version is None
        assert ranking.receipt.reason == "time was up before the index was open"
    gate.open()
    assert len(index.search("cat")) == 1
    assert gate.calls == 1


def test_models_that_load_too_slowly_go_on_for_the_next_call(
    folder: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    import resift.rerank.families.names as loading

    monkeypatch.setattr(loading, "open_ranker", gate.hold(lambda **_: Backwards()))
    index = Index(folder, settings=Settings(), embedder=HashingEmbedder())
    index.search("cat", rerank=False)
    for _ in range(3):
        ranking = index.search("cat", budget_ms=BUDGET_MS)
        assert len(ranking) == 1 and ranking[0].status == "not_reranked"
        assert ranking.receipt.reason == "time was up before the reranker was loaded"
    gate.open()
    assert index.search("cat")[0].status == "ok"
    assert gate.calls == 1


def test_an_opening_that_fails_is_tried_again_by_the_next_call(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, faults = open_choice, [OSError("a blink of the network")]

    def once_not(*arguments: Any) -> OpenVersion:
        if faults:
            raise faults.pop()
        return opening(*arguments)

    monkeypatch.setattr("resift.search.components.open_choice", once_not)
    index = Index(folder, settings=Settings(), embedder=HashingEmbedder())
    with pytest.raises(OSError, match="blink"):
        index.search("cat", rerank=False)
    assert len(index.search("cat", rerank=False)) == 1
