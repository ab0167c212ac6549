"""The ranker that takes over when a service fails or is late: opened when it is needed."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace
from typing import Any

from resift.background import Background, Shared
from resift.errors import InputError, shown
from resift.rerank.deadline import Deadline
from resift.rerank.families.waiting import in_loop
from resift.rerank.options import RankOptions
from resift.rerank.ranker import Ranker
from resift.rerank.reranker import Reranker
from resift.settings import Settings
from resift.types import Candidate, Ranking

BUNDLED = "bundled"

LEAST_SHARE, MOST_SHARE = 0.25, 0.5
"""The share of a call's time that is left for the fallback, at least and at most."""

SPARE = 1.3
"""The time for the fallback is its measured time, times this."""

_MARGIN_S = 0.005
_NEW = 0.3
"""The weight of a new measurement against the earlier ones."""

_OPENING = Background(1, "resift-open-fallback", finite=True)
_MAX_THREADS = 16


class Fallback:
    """The bundled reranker, opened on first need, or a ranker of the user's. Threads may share it.

    A reranker that was opened here is closed by `close`; a user's own is not.
    """

    def __init__(self, ranker: object, settings: Settings) -> None:
        """`ranker` is "bundled" or a `Ranker`. Raises `InputError` for anything else."""
        self._given: Any = None if ranker == BUNDLED else ranker
        if self._given is not None and not callable(getattr(ranker, "rank", None)):
            raise InputError(
                f'fallback={shown(ranker)}: expected "bundled", None or an object with rank'
            )
        self._settings = settings
        self._opening: Shared[Any] = Shared(lambda: _OPENING.run(self._open))
        self._threads = Background(_MAX_THREADS, "resift-fallback")
        self._lock = threading.Lock()
        self._ms_per_candidate: float | None = None

    @property
    def name(self) -> str:
        """The name for receipts."""
        if self._given is None:
            return "the bundled model"
        return str(getattr(self._given, "name", None) or type(self._given).__name__)

    def prepare(self) -> None:
        """Begin to open it in the background, for a call that will have no time for that."""
        if self._given is None:
            self._opening.job()

    def close(self) -> None:
        """Close the reranker if it was opened here."""
        job = self._opening.forget()
        if job is not None:
            job.add_done_callback(_close)

    def reserved_s(self, candidates: int, remaining_s: float) -> float:
        """How much of the remaining time it needs for so many candidates."""
        with self._lock:
            ms = self._ms_per_candidate
        needed_s = remaining_s if ms is None else SPARE * ms * candidates / 1000
        return min(max(needed_s, LEAST_SHARE * remaining_s), MOST_SHARE * remaining_s)

    def rank(
        self, query: str, candidates: list[Candidate], options: RankOptions, deadline: Deadline
    ) -> Ranking | None:
        """Its ranking; None if it could not be opened before the deadline. Raises its errors."""
        ranker = self._given
        if ranker is None:
            try:
                ranker = self._opening.job().result(deadline.remaining_s)
            except (FutureTimeout, CancelledError):  # or the interpreter ends
                return None
        ranking: Ranking = _call(ranker.rank, query, candidates, options, deadline)()
        self._measure(ranking)
        return ranking

    async def arank(
        self,
        query: str,
        candidates: list[Candidate],
        options: RankOptions,
        deadline: Deadline,
    ) -> Ranking | None:
        """`rank` in an event loop: by `arank` if it has that, else in a thread."""
        ranker = self._given
        if ranker is None:
            job = self._opening.job()
            await asyncio.wait([in_loop(job)], timeout=deadline.remaining_s)
            if not job.done() or job.cancelled():
                return None
            ranker = job.result()
        arank = getattr(ranker, "arank", None)
        if arank is not None:
            ranking: Ranking = await _call(arank, query, candidates, options, deadline)()
        else:
            call = _call(ranker.rank, query, candidates, options, deadline)
            ranking = await asyncio.wrap_future(self._threads.run(call))
        self._measure(ranking)
        return ranking

    def _open(self) -> Ranker:
        # The settings' calibration is for the model that they name.
        return Reranker(BUNDLED, settings=replace(self._settings, calibration=None))

    def _measure(self, ranking: Ranking) -> None:
        """Note the time a candidate took, unless the deadline cut the call short."""
        receipt = ranking.receipt
        total_ms = receipt.timings_ms.get("total")
        if total_ms is None or not receipt.scored or receipt.cached:
            return
        ms = total_ms / receipt.scored
        with self._lock:
            before = self._ms_per_candidate
            self._ms_per_candidate = ms if before is None else before + _NEW * (ms - before)


def _call(
    rank: Callable[..., Any],
    query: str,
    candidates: list[Candidate],
    options: RankOptions,
    deadline: Deadline,
) -> Callable[[], Any]:
    """`rank` with the options that the caller set."""
    arguments = options.given()
    remaining_s = deadline.remaining_s
    budget_ms = None if remaining_s is None else max(remaining_s - _MARGIN_S, 0.0) * 1000
    return lambda: rank(query, candidates, top_n=options.top_n, budget_ms=budget_ms, **arguments)


def _close(job: "Future[Any]") -> None:
    if not job.cancelled() and job.exception() is None:
        job.result().close()
