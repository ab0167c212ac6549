"""`Chain`: rerankers in turn, each over the best candidates of the one before.

A cheap reranker reads many candidates and a dear one the first of them. Knows no models: anything
with `rank` is a reranker.
"""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

from resift.errors import InputError, shown
from resift.outages import is_outage, outage_reason
from resift.rerank.base import BaseReranker
from resift.rerank.candidates import as_candidates, check_query
from resift.rerank.deadline import Deadline
from resift.rerank.families.chain_order import ChainOrder
from resift.rerank.families.chain_stages import (
    ChainStage,
    ChainSteps,
    LateReranker,
    arun,
    run,
)
from resift.rerank.many import check_many
from resift.rerank.options import RankOptions
from resift.rerank.ranker import Ranker
from resift.rerank.values import whole
from resift.types import DocumentLike, Ranking


class Chain(BaseReranker):
    """Runs `rerankers` in turn; each reads so many of the best candidates of the one before.

    ``Chain(Reranker(), Reranker("BAAI/bge-reranker-base"), depths=(100, 20))`` reads 100 candidates
    with the bundled model and the best 20 of them with the second one. What a reranker does not
    read ranks behind what it reads, in the order of the one before. Scores of different rerankers
    do not compare: each hit has the score of the last reranker that read it.

    All share the deadline of a call. Candidates that a later reranker had no time for stay where
    they are; the others exchange their positions. If a reranker fails, the order before it stays.
    In both cases the receipt is `partial` and has the reason. `Receipt.receipts` has one receipt a
    reranker, in running order. Threads may share a chain. `close` closes the rerankers.

    `rank` passes its arguments to every reranker, and `min_score` and `abstain_below` to the last
    one only. With `min_score`, candidates that the last one was not asked to read are left out. In
    `rank_many`, later queries get what the earlier ones left of the budget.

    Raises `InputError` unless there are two or more rerankers, and as many depths, none greater
    than the one before.
    """

    def __init__(self, *rerankers: Ranker, depths: Sequence[int]) -> None:
        if len(rerankers) < 2:
            raise InputError(
                f"a chain of {len(rerankers)}: expected two or more rerankers, the cheapest first"
            )
        for reranker in rerankers:
            if isinstance(reranker, type) or not callable(getattr(reranker, "rank", None)):
                raise InputError(
                    f"{shown(reranker)}: not a reranker; expected an object with a method rank; "
                    "a name goes into open_ranker(…)"
                )
        super().__init__()
        self._rerankers = rerankers
        self._depths = _checked_depths(depths, len(rerankers))

    def __repr__(self) -> str:
        parts = zip(self._depths, self._rerankers, strict=True)
        return f"<Chain {' > '.join(f'{depth} {_name(reranker)}' for depth, reranker in parts)}>"

    def close(self) -> None:
        """Close the rerankers, each whatever the others raise."""
        with ExitStack() as stack:
            for reranker in self._rerankers:
                if callable(close := getattr(reranker, "close", None)):
                    stack.callback(close)

    @property
    def name(self) -> str:
        """The names of the rerankers, in running order."""
        return " > ".join(map(_name, self._rerankers))

    @property
    def fingerprint(self) -> str:
        """16 hex digits that identify the rerankers and their depths."""
        parts = [str(getattr(item, "fingerprint", _name(item))) for item in self._rerankers]
        return hashlib.sha256(repr((parts, self._depths)).encode()).hexdigest()[:16]

    @property
    def depths(self) -> tuple[int, ...]:
        """How many candidates each reranker reads."""
        return self._depths

    @property
    def precomputer(self) -> Ranker:
        """The first reranker, whose token states an index stores and reads."""
        return self._rerankers[0]

    def _rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        options: RankOptions,
        deadline: Deadline,
    ) -> Ranking:
        return run(self._steps(query, documents, options, deadline), query, deadline)

    async def _arank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        options: RankOptions,
        deadline: Deadline,
    ) -> Ranking:
        return await arun(self._steps(query, documents, options, deadline), query, deadline)

    def _rank_many(
        self,
        queries: Iterable[str],
        documents: Iterable[Iterable[DocumentLike]],
        options: RankOptions,
        deadline: Deadline,
    ) -> list[Ranking]:
        texts, lists = check_many(queries, documents, lambda _: None)
        calls = [
            (query, self._steps(query, items, options, deadline))
            for query, items in zip(texts, lists, strict=True)
        ]
        return [run(steps, query, deadline) for query, steps in calls]

    def _steps(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        options: RankOptions,
        deadline: Deadline,
    ) -> ChainSteps:
        query = check_query(query)
        order = ChainOrder(query, as_candidates(documents), options, deadline)
        last = len(self._rerankers) - 1
        for number, (reranker, depth) in enumerate(zip(self._rerankers, self._depths, strict=True)):
            order.enter(depth)
            following = options.top_n if number == last else self._depths[number + 1]
            arguments = _arguments(options, number == last)
            arguments["top_n"] = order.wanted(following)
            stage = ChainStage(reranker, order.candidates(), arguments)
            try:
                ranking = stage.checked((yield stage))
            except LateReranker:
                order.note_outage(f"{_name(reranker)}: time was up before it answered")
            except Exception as error:
                if not is_outage(error):
                    raise
                order.note_outage(outage_reason(_name(reranker), error))
            else:
                order.apply(ranking, _name(reranker), is_last=number == last)
        return order.ranking(self.name, self.fingerprint)


def _arguments(options: RankOptions, is_last: bool) -> dict[str, Any]:
    """The options that the caller set; thresholds are for the last reranker."""
    arguments = options.given()
    if not is_last:
        arguments.pop("min_score", None)
        arguments.pop("abstain_below", None)
    return arguments


def _checked_depths(depths: object, count: int) -> tuple[int, ...]:
    expected = f"depths={shown(depths)}: expected {count} whole numbers from 1, such as (100, 20)"
    if not isinstance(depths, Sequence) or isinstance(depths, str | bytes):
        raise InputError(expected)
    numbers = [number for number in map(whole, depths) if number is not None and number > 0]
    if len(numbers) != count or len(depths) != count:
        raise InputError(expected)
    if sorted(numbers, reverse=True) != numbers:
        raise InputError(f"depths={shown(depths)}: expected none greater than the one before")
    return tuple(numbers)


def _name(reranker: object) -> str:
    return str(getattr(reranker, "name", None) or type(reranker).__name__)
