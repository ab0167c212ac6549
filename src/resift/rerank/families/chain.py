"""`Chain`: rerankers in turn, each over the best candidates of the one before.

A cheap reranker reads many candidates and a dear one the first of them. Knows no models: anything
with `rank` is a reranker.
"""

import asyncio
import hashlib
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

from resift.background import Background
from resift.errors import InputError, shown
from resift.outages import is_outage, outage_reason
from resift.rerank.candidates import as_candidates, check_query
from resift.rerank.deadline import Deadline
from resift.rerank.early_exit import TOLERANCE
from resift.rerank.families.chain_order import ChainOrder
from resift.rerank.many import check_many
from resift.rerank.options import RankOptions, checked_budget
from resift.rerank.ranker import Ranker, checked_ranking
from resift.rerank.values import whole
from resift.types import Candidate, DocumentLike, LongDocuments, Ranking


@dataclass(frozen=True, slots=True)
class _Stage:
    """One reranker's part of a call: what it is asked for."""

    reranker: Ranker
    candidates: list[Candidate]
    arguments: dict[str, Any]

    def checked(self, ranking: object) -> Ranking:
        """The answer, if it is a ranking of the candidates. Raises `RerankerError`."""
        return checked_ranking(
            ranking,
            len(self.candidates),
            self.reranker,
            self.arguments["top_n"],
            may_omit="min_score" in self.arguments,
        )


class _Late(Exception):
    """A reranker did not answer before the deadline."""


_GRACE_S = 0.02
"""How long to wait, after the deadline, for a reranker that returns what it has."""

_BACKGROUND = Background(32, "resift-chain")

_Steps = Generator[_Stage, object, Ranking]
"""The stages of one call, each answered by a ranking or by an error; then the chain's ranking."""


class Chain:
    """Runs `rerankers` in turn; each reads so many of the best candidates of the one before.

    ``Chain(Reranker(), Reranker("BAAI/bge-reranker-base"), depths=(100, 20))`` reads 100 candidates
    with the bundled model and the best 20 of them with the second one. What a reranker does not
    read ranks behind what it reads, in the order of the one before. Scores of different rerankers
    do not compare: each hit has the score of the last reranker that read it.

    All share the deadline of a call. Candidates that a later reranker had no time for stay where
    they are; the others exchange their positions. If a reranker fails, the order before it stays.
    In both cases the receipt is `partial` and says why. `Receipt.receipts` has one receipt a
    reranker, in running order. Threads may share a chain. `close` closes the rerankers.

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
                raise InputError(f"{shown(reranker)}: not a reranker; expected a method rank")
        self._rerankers = rerankers
        self._depths = _checked_depths(depths, len(rerankers))

    def __repr__(self) -> str:
        parts = zip(self._depths, self._rerankers, strict=True)
        return f"<Chain {' > '.join(f'{depth} {_name(reranker)}' for depth, reranker in parts)}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

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

    def rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        top_n: int | None = None,
        *,
        budget_ms: float | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
        long_documents: LongDocuments = "cut",
    ) -> Ranking:
        """Order documents by relevance, and return all or the best `top_n`.

        The arguments are those of `Reranker.rank`, for every reranker; `min_score` and
        `abstain_below` are for the last one. With `min_score`, candidates that the last reranker
        was not asked to read are left out. Raises `QueryError` and `InputError` as
        `Reranker.rank` does.
        """
        options = RankOptions(
            top_n, fusion_weight, exact, tolerance, min_score, abstain_below, long_documents
        )
        deadline = Deadline(checked_budget(budget_ms))
        return _run(self._steps(query, documents, options, deadline), query, deadline)

    async def arank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        top_n: int | None = None,
        *,
        budget_ms: float | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
        long_documents: LongDocuments = "cut",
    ) -> Ranking:
        """`rank` without blocking the event loop: `arank` of a reranker, or `rank` in a thread."""
        options = RankOptions(
            top_n, fusion_weight, exact, tolerance, min_score, abstain_below, long_documents
        )
        deadline = Deadline(checked_budget(budget_ms))
        return await _arun(self._steps(query, documents, options, deadline), query, deadline)

    def rank_many(
        self,
        queries: Iterable[str],
        documents: Iterable[Iterable[DocumentLike]],
        top_n: int | None = None,
        *,
        budget_ms: float | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
        long_documents: LongDocuments = "cut",
    ) -> list[Ranking]:
        """A ranking for each query, in order; ``documents[i]`` are those of ``queries[i]``.

        `budget_ms` is for all queries together; later queries get what the earlier ones left.
        Raises `InputError` unless there is one list per query.
        """
        options = RankOptions(
            top_n, fusion_weight, exact, tolerance, min_score, abstain_below, long_documents
        )
        deadline = Deadline(checked_budget(budget_ms))
        texts, lists = check_many(queries, documents, lambda _: None)
        calls = [
            (query, self._steps(query, items, options, deadline))
            for query, items in zip(texts, lists, strict=True)
        ]
        return [_run(steps, query, deadline) for query, steps in calls]

    def _steps(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        options: RankOptions,
        deadline: Deadline,
    ) -> _Steps:
        query = check_query(query)
        order = ChainOrder(query, as_candidates(documents), options, deadline)
        last = len(self._rerankers) - 1
        for number, (reranker, depth) in enumerate(zip(self._rerankers, self._depths, strict=True)):
            order.enter(depth)
            following = options.top_n if number == last else self._depths[number + 1]
            arguments = _arguments(options, number == last)
            arguments["top_n"] = order.wanted(following)
            stage = _Stage(reranker, order.candidates(), arguments)
            try:
                ranking = stage.checked((yield stage))
            except _Late:
                order.note_outage(f"{_name(reranker)}: time was up before it answered")
            except Exception as error:
                if not is_outage(error):
                    raise
                order.note_outage(outage_reason(_name(reranker), error))
            else:
                order.apply(ranking, _name(reranker), is_last=number == last)
        return order.ranking(self.name, self.fingerprint)


def _run(steps: _Steps, query: str, deadline: Deadline) -> Ranking:
    """Run the stages in the caller's thread; with a deadline, where they can be left behind."""
    try:
        stage = next(steps)
        while True:
            try:
                ranking = _rank(stage, query, deadline)
            except Exception as error:
                stage = steps.throw(error)
            else:
                stage = steps.send(ranking)
    except StopIteration as end:
        result: Ranking = end.value
        return result


def _rank(stage: _Stage, query: str, deadline: Deadline) -> object:
    call = partial(_call, stage, stage.reranker.rank, query, deadline)
    if deadline.remaining_s is None:
        return call()
    job: Future[object] = _BACKGROUND.run(call)
    try:
        return job.result(deadline.remaining_s + _GRACE_S)
    except FutureTimeout:
        if job.done():  # the reranker itself raised it
            raise
        job.cancel()
        raise _Late from None


async def _arun(steps: _Steps, query: str, deadline: Deadline) -> Ranking:
    """Run the stages in an event loop."""
    try:
        stage = next(steps)
        while True:
            try:
                ranking = await _arank(stage, query, deadline)
            except Exception as error:
                stage = steps.throw(error)
            else:
                stage = steps.send(ranking)
    except StopIteration as end:
        result: Ranking = end.value
        return result


async def _arank(stage: _Stage, query: str, deadline: Deadline) -> object:
    arank = getattr(stage.reranker, "arank", None)
    job: asyncio.Future[object]
    if arank is None:
        call = partial(_call, stage, stage.reranker.rank, query, deadline)
        job = asyncio.wrap_future(_BACKGROUND.run(call))
    else:
        job = asyncio.ensure_future(_call(stage, arank, query, deadline))
    remaining_s = deadline.remaining_s
    try:
        await asyncio.wait([job], timeout=None if remaining_s is None else remaining_s + _GRACE_S)
        if not job.done():
            raise _Late
        return job.result()
    finally:
        job.cancel()


def _call(stage: _Stage, rank: Any, query: str, deadline: Deadline) -> Any:
    remaining_s = deadline.remaining_s
    budget_ms = None if remaining_s is None else remaining_s * 1000
    return rank(query, stage.candidates, budget_ms=budget_ms, **stage.arguments)


_DEFAULTS = RankOptions()


def _arguments(options: RankOptions, is_last: bool) -> dict[str, Any]:
    """The options that the caller set, since a `Ranker` need not know all."""
    names = ["exact", "tolerance", "fusion_weight", "long_documents"]
    names += ["min_score", "abstain_below"] if is_last else []
    values = {name: getattr(options, name) for name in names}
    return {name: value for name, value in values.items() if value != getattr(_DEFAULTS, name)}


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
