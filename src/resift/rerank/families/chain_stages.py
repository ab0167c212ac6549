"""The stages of one call of a chain, one after the other: in a thread, or in an event loop."""

import asyncio
from collections.abc import Generator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from functools import partial
from typing import Any

from resift.background import Background
from resift.rerank.deadline import Deadline
from resift.rerank.ranker import Ranker, checked_ranking
from resift.types import Candidate, Ranking


@dataclass(frozen=True, slots=True)
class ChainStage:
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


class LateReranker(Exception):
    """A reranker did not answer before the deadline."""


_GRACE_S = 0.02
"""How long to wait, after the deadline, for a reranker that returns what it has."""

_BACKGROUND = Background(32, "resift-chain")

ChainSteps = Generator[ChainStage, object, Ranking]
"""The stages of one call, each answered by a ranking or by an error; then the chain's ranking."""


def run(steps: ChainSteps, query: str, deadline: Deadline) -> Ranking:
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


def _rank(stage: ChainStage, query: str, deadline: Deadline) -> object:
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
        raise LateReranker from None


async def arun(steps: ChainSteps, query: str, deadline: Deadline) -> Ranking:
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


async def _arank(stage: ChainStage, query: str, deadline: Deadline) -> object:
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
            raise LateReranker
        return job.result()
    finally:
        job.cancel()


def _call(stage: ChainStage, rank: Any, query: str, deadline: Deadline) -> Any:
    remaining_s = deadline.remaining_s
    budget_ms = None if remaining_s is None else remaining_s * 1000
    return rank(query, stage.candidates, budget_ms=budget_ms, **stage.arguments)
