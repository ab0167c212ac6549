"""A chain orders the best candidates of each reranker by the next one.

Its order is what the rerankers alone would give, its receipt has each of theirs, one deadline is
for all, and a reranker that is late or fails leaves the order before it.
"""

import asyncio
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resift import (
    Candidate,
    Chain,
    Hit,
    InputError,
    QueryError,
    Ranking,
    Receipt,
    Reranker,
    TwoStage,
)
from resift.errors import RuntimeFailure
from resift.types import Document

QUERY = "which letter"


class Scripted:
    """Scores texts by a table; what the table lacks is late. Records what it was asked."""

    def __init__(
        self, name: str, scores: Mapping[str, float], error: Exception | None = None
    ) -> None:
        self.name = name
        self.scores = scores
        self.error = error
        self.calls: list[tuple[list[Candidate], dict[str, Any]]] = []
        self.closed = False

    def rank(self, query: str, documents: Sequence[Candidate], **arguments: Any) -> Ranking:
        self.calls.append((list(documents), arguments))
        if self.error is not None:
            raise self.error
        hits = [self._hit(index, document) for index, document in enumerate(documents)]
        scored = sorted((hit for hit in hits if hit.logit is not None), key=_by_logit)
        late = [hit for hit in hits if hit.logit is None]
        least = arguments.get("min_score", 0.0)
        ranked = [hit for hit in scored if (hit.score or 0.0) >= least] + late
        receipt = Receipt(
            model=self.name, fingerprint=self.name, runtime="script", depth=len(hits),
            scored=len(scored), cut=0, skipped=0, partial=bool(late),
            reason="time was up" if late else None, timings_ms={"score": 1.0, "total": 2.0},
            tokens=len(hits), padding_share=0.0, fusion_weight=0.0, late=len(late),
            abstained=arguments.get("abstain_below", 0.0) > 0.5,
        )  # fmt: skip
        return Ranking(query, tuple(ranked[: arguments.get("top_n")]), receipt)

    def _hit(self, index: int, document: Candidate) -> Hit:
        logit = self.scores.get(document.text)
        return Hit(
            rank=0, index=index, id=document.id, score=logit and logit / 100, logit=logit,
            text=document.text, first_stage_rank=document.rank or index + 1,
            first_stage_score=document.score, tokens_seen=1, tokens_dropped=0, span=(0, 1),
            status="late" if logit is None else "ok", metadata=document.metadata,
        )  # fmt: skip

    def close(self) -> None:
        self.closed = True


class ScriptedInLoops(Scripted):
    """The same, awaited."""

    async def arank(self, query: str, documents: Sequence[Candidate], **arguments: Any) -> Ranking:
        await asyncio.sleep(0)
        return self.rank(query, documents, **arguments)


def _by_logit(hit: Hit) -> float:
    return -(hit.logit or 0.0)


def _chain(dear: Mapping[str, float], depths: Sequence[int] = (5, 3)) -> tuple[Chain, Scripted]:
    """A cheap reranker that prefers late letters, then `dear`."""
    cheap = Scripted("cheap", {letter: float(ord(letter)) for letter in "abcdefgh"})
    second = Scripted("dear", dear)
    return Chain(cheap, second, depths=depths), second


def _texts(ranking: Ranking) -> str:
    return "".join(hit.text for hit in ranking)


def test_each_reranker_reads_the_best_of_the_one_before() -> None:
    chain, dear = _chain({"e": 1.0, "d": 3.0, "c": 2.0})
    ranking = chain.rank(QUERY, list("abcdefgh"))
    assert [candidate.text for candidate in dear.calls[0][0]] == ["e", "d", "c"]
    assert _texts(ranking) == "dcebafgh"  # f, g and h were beyond the first depth
    assert [hit.rank for hit in ranking] == list(range(1, 9))
    assert [hit.index for hit in ranking] == ["abcdefgh".index(hit.text) for hit in ranking]
    assert [hit.first_stage_rank for hit in ranking] == [hit.index + 1 for hit in ranking]
    assert [hit.status for hit in ranking] == ["ok"] * 5 + ["not_reranked"] * 3


def test_a_top_n_is_asked_of_the_last_and_the_next_depth_of_the_others() -> None:
    chain, dear = _chain({"e": 1.0, "d": 3.0, "c": 2.0})
    cheap = chain.precomputer
    assert _texts(chain.rank(QUERY, list("abcdefgh"), top_n=2)) == "dc"
    assert isinstance(cheap, Scripted)
    assert cheap.calls[0][1]["top_n"] == 3
    assert dear.calls[0][1]["top_n"] == 2
    assert _texts(chain.rank(QUERY, list("abcdefgh"), top_n=4)) == "dceb"


def test_candidates_without_time_stay_and_the_others_exchange_positions() -> None:
    chain, _ = _chain({"d": 1.0, "b": 2.0}, depths=(5, 4))
    ranking = chain.rank(QUERY, list("abcde"))
    assert _texts(ranking) == "ebcda"  # without "e" and "c", which stay first and third
    assert ranking.receipt.partial
    assert ranking.receipt.reason == "dear: time was up"
    assert [hit.logit for hit in ranking][::2] == [101.0, 99.0, 97.0]  # the cheap one's


def test_a_reranker_that_fails_leaves_the_order_before_it() -> None:
    cheap, dear = Scripted("cheap", {"a": 1.0, "b": 2.0}), Scripted("dear", {"a": 2.0, "b": 1.0})
    broken = Scripted("broken", {}, RuntimeFailure("no memory"))
    second = Chain(cheap, broken, depths=(2, 2)).rank(QUERY, ["a", "b"])
    assert (_texts(second), second.receipt.partial) == ("ba", True)
    assert second.receipt.reason == "broken failed: RuntimeFailure: no memory"
    assert [receipt.model for receipt in second.receipt.receipts] == ["cheap"]
    first = Chain(broken, dear, depths=(2, 2)).rank(QUERY, ["b", "a"])
    assert (_texts(first), first.receipt.partial) == ("ab", True)
    both = Chain(broken, broken, depths=(2, 2)).rank(QUERY, ["b", "a"], top_n=1)
    assert (_texts(both), both.receipt.partial, both.receipt.depth) == ("b", True, 2)


def test_a_mistake_is_raised() -> None:
    wrong = Scripted("wrong", {}, TypeError("rank() got an unexpected keyword"))
    with pytest.raises(TypeError, match="unexpected keyword"):
        Chain(wrong, wrong, depths=(2, 1)).rank(QUERY, ["a"])
    with pytest.raises(QueryError, match="empty"):
        _chain({})[0].rank(" ", ["a"])
    with pytest.raises(InputError, match="top_n=0"):
        _chain({})[0].rank(QUERY, ["a"], top_n=0)


def test_the_receipt_has_those_of_all() -> None:
    chain, _ = _chain({"e": 1.0, "d": 3.0, "c": 2.0})
    receipt = chain.rank(QUERY, list("abcdefgh"), abstain_below=0.9).receipt
    assert [part.model for part in receipt.receipts] == ["cheap", "dear"]
    assert receipt.model == chain.name == "cheap > dear"
    assert (receipt.depth, receipt.scored, receipt.tokens) == (8, 5, 8)
    assert receipt.timings_ms == {"score": 2.0, "total": 4.0}
    assert (receipt.partial, receipt.reason, receipt.abstained) == (False, None, True)
    assert receipt.fingerprint != _chain({}, depths=(5, 2))[0].fingerprint


def test_min_score_is_for_the_last_one() -> None:
    chain, dear = _chain({"e": 60.0, "d": 80.0, "c": 20.0})
    assert _texts(chain.rank(QUERY, list("abcdefgh"), min_score=0.5)) == "de"
    assert "min_score" not in chain.precomputer.calls[0][1]  # type: ignore[attr-defined]
    assert set(dear.calls[0][1]) == {"budget_ms", "top_n", "min_score"}  # no default is passed on
    late, _ = _chain({"e": 60.0, "c": 20.0})
    assert _texts(late.rank(QUERY, list("abcdefgh"), min_score=0.5)) == "ed"


def test_later_rerankers_get_the_rest_of_the_budget() -> None:
    class Slow(Scripted):
        def rank(self, query: str, documents: Sequence[Candidate], **arguments: Any) -> Ranking:
            time.sleep(0.05)
            return super().rank(query, documents, **arguments)

    dear = Scripted("dear", {"a": 1.0})
    Chain(Slow("slow", {"a": 1.0}), dear, depths=(1, 1)).rank(QUERY, ["a"], budget_ms=60_000)
    assert 0 < dear.calls[0][1]["budget_ms"] <= 60_000 - 50
    Chain(Slow("slow", {"a": 1.0}), dear, depths=(1, 1)).rank(QUERY, ["a"], budget_ms=10)
    assert dear.calls[1][1]["budget_ms"] == 0


def test_inputs_stay_as_they_are() -> None:
    chain, _ = _chain({"e": 1.0, "d": 3.0, "c": 2.0})
    metadata = {"page": [3]}
    documents = [Candidate(letter, letter, metadata=metadata, score=0.5) for letter in "abcde"]
    before = list(documents)
    ranking = chain.rank(QUERY, documents)
    assert documents == before
    assert all(hit.metadata == metadata and hit.first_stage_score == 0.5 for hit in ranking)
    assert [hit.id for hit in ranking] == list("dceba")


def test_no_documents_and_odd_ones() -> None:
    chain, _ = _chain({"e": 1.0})
    assert len(chain.rank(QUERY, [])) == 0
    texts = [Document("1", None), Document("2", "e")]  # type: ignore[arg-type]
    assert {hit.id for hit in chain.rank(QUERY, texts)} == {"1", "2"}
    with pytest.raises(InputError):
        chain.rank(QUERY, "one text")


def test_awaited_and_many_rankings_are_the_same() -> None:
    dear = {"e": 1.0, "d": 3.0, "c": 2.0}
    cheap = ScriptedInLoops("cheap", {letter: float(ord(letter)) for letter in "abcde"})
    chain = Chain(cheap, Scripted("dear", dear), depths=(5, 3))
    expected = chain.rank(QUERY, list("abcde"))
    awaited = asyncio.run(chain.arank(QUERY, list("abcde")))
    assert awaited.hits == expected.hits
    many = chain.rank_many([QUERY, QUERY], [list("abcde"), ["a"]])
    assert [_texts(ranking) for ranking in many] == [_texts(expected), "a"]
    with pytest.raises(InputError, match="2 lists for 1 queries"):
        chain.rank_many([QUERY], [["a"], ["b"]])


@pytest.mark.parametrize(
    ("count", "depths", "message"),
    [
        (1, (5,), "two or more"),
        (2, (5,), "expected 2 whole numbers"),
        (2, (5, 0), "expected 2 whole numbers"),
        (2, (5, 2.5), "expected 2 whole numbers"),
        (2, "53", "expected 2 whole numbers"),
        (2, (3, 5), "none greater"),
        (2, 7, "expected 2 whole numbers"),
    ],
)
def test_wrong_chains(count: int, depths: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Chain(*[Scripted("script", {})] * count, depths=depths)


def test_what_is_no_reranker() -> None:
    with pytest.raises(InputError, match="'bge': not a reranker"):
        Chain(Scripted("script", {}), "bge", depths=(2, 1))  # type: ignore[arg-type]


def test_closing_closes_all() -> None:
    class Stuck(Scripted):
        def close(self) -> None:
            raise OSError("stuck")

    first, last = Scripted("first", {}), Scripted("last", {})
    with pytest.raises(OSError, match="stuck"):
        Chain(first, Stuck("stuck", {}), last, depths=(3, 2, 1)).close()
    assert first.closed and last.closed


class Odd(Scripted):
    """Returns what a function makes of the ranking."""

    def __init__(self, change: Callable[[Ranking], object]) -> None:
        super().__init__("odd", {"a": 1.0, "b": 2.0})
        self.change = change

    def rank(self, query: str, documents: Sequence[Candidate], **arguments: Any) -> Any:
        return self.change(super().rank(query, documents, **arguments))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ranking: None, "returned None; expected a Ranking"),
        (list, "expected a Ranking"),
        (lambda ranking: replace(ranking, hits=ranking.hits * 2), "4 hits, 2 of them"),
        (lambda ranking: replace(ranking, hits=ranking.hits[:1]), "1 hits, 1 of them"),
        (lambda ranking: _with(ranking, index=99), "expected 2 of 2 candidates"),
        (lambda ranking: _with(ranking, index=-1), "expected 2 of 2 candidates"),
        (lambda ranking: _with(ranking, logit=float("nan")), "no finite number"),
    ],
)
def test_what_is_no_ranking_of_the_candidates_counts_as_a_failure(
    change: Callable[[Ranking], object], message: str
) -> None:
    ranking = Chain(Scripted("cheap", {"a": 1.0, "b": 2.0}), Odd(change), depths=(2, 2)).rank(
        QUERY, ["a", "b"]
    )
    assert (_texts(ranking), ranking.receipt.partial) == ("ba", True)
    assert message in (ranking.receipt.reason or "")
    with TwoStage(lambda query, k: ["a", "b"], Odd(change)) as stages:
        first_stage = stages.search(QUERY, top_n=2)
    assert _texts(first_stage) == "ab" and message in (first_stage.receipt.reason or "")


def _with(ranking: Ranking, **changes: Any) -> Ranking:
    first, *others = ranking.hits
    return replace(ranking, hits=(replace(first, **changes), *others))


def test_a_reranker_that_ignores_the_deadline_is_left_behind() -> None:
    class Slow(Scripted):
        def rank(self, query: str, documents: Sequence[Candidate], **arguments: Any) -> Ranking:
            time.sleep(3)
            return super().rank(query, documents, **arguments)

    cheap = Scripted("cheap", {"a": 1.0, "b": 2.0})
    chain = Chain(cheap, Slow("slow", {"a": 2.0, "b": 1.0}), depths=(2, 2))
    start = time.perf_counter()
    rankings = [
        chain.rank(QUERY, ["a", "b"], budget_ms=100),
        asyncio.run(_arank_and_leave(chain)),
    ]
    assert time.perf_counter() - start < 2.5
    for ranking in rankings:
        assert (_texts(ranking), ranking.receipt.partial) == ("ba", True)
        assert ranking.receipt.reason == "slow: time was up before it answered"


async def _arank_and_leave(chain: Chain) -> Ranking:
    return await chain.arank(QUERY, ["a", "b"], budget_ms=100)


def test_two_models_rank_as_they_do_alone(joint_folder: Path) -> None:
    texts = [f"{word} in the city number {n}" for n in range(6) for word in ("rain", "snow")]
    with Reranker() as cheap, Reranker(joint_folder) as dear:
        chain = Chain(cheap, dear, depths=(10, 4))
        ranking = chain.rank("snow in the city", texts)
        first = cheap.rank("snow in the city", texts[:10])
        best = [hit.index for hit in first[:4]]
        second = dear.rank("snow in the city", [texts[index] for index in best])
        order = [best[hit.index] for hit in second] + [hit.index for hit in first[4:]] + [10, 11]
        assert [hit.index for hit in ranking] == order
        assert [hit.logit for hit in ranking[:4]] == pytest.approx([hit.logit for hit in second])
        explained = ranking.explain(0)
        assert explained.logit == pytest.approx(ranking[0].logit, abs=1e-3)
        with pytest.raises(InputError, match="different rerankers"):
            ranking.compare(0, 6)
        assert ranking.compare(0, 1).above.rank == 1
        with pytest.raises(InputError, match="no reranker"):
            ranking.explain(11)
        restored = pickle.loads(pickle.dumps(chain))
        assert restored.fingerprint == chain.fingerprint
        assert [hit.index for hit in restored.rank("snow in the city", texts)] == order
