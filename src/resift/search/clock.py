"""The clock of a search: its budget, and the time of each stage."""

import asyncio
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from resift.rerank.options import checked_budget

T = TypeVar("T")


class Late(Exception):
    """The budget ended before something was ready. Caught within `resift.search`."""


class Clock:
    """Times the stages of a call, and its budget, from the creation of the object."""

    def __init__(self, budget_ms: float | None = None) -> None:
        """None and infinity mean no limit. Raises `InputError` for an invalid budget."""
        self._start = time.perf_counter()
        self._budget_ms = checked_budget(budget_ms)
        self._cancelled: Future[None] = Future()
        self.timings_ms: dict[str, float] = {}

    @property
    def is_bounded(self) -> bool:
        """Whether there is a budget."""
        return self._budget_ms is not None

    def cancel(self) -> None:
        """End the budget because the caller has gone: every wait returns at once."""
        if not self._cancelled.done():
            self._cancelled.set_result(None)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as stage `name`."""
        start = time.perf_counter()
        yield
        self.timings_ms[name] = (time.perf_counter() - start) * 1000

    def timings(self, more: Mapping[str, float] | None = None) -> dict[str, float]:
        """Milliseconds by stage so far, those in `more`, and the total."""
        return self.timings_ms | dict(more or {}) | {"total": self._elapsed_ms()}

    def remaining_ms(self) -> float | None:
        """The rest of the budget, negative after its end; None without a limit."""
        if self._cancelled.done():
            return 0.0
        return None if self._budget_ms is None else self._budget_ms - self._elapsed_ms()

    def wait(self, job: "Future[T]", event: str, grace_ms: float = 0.0) -> T:
        """The result of a job; raises its error.

        Raises `Late` ("time was up before `event`") after the budget and `grace_ms`.
        """
        self.wait_for([job], grace_ms=grace_ms)
        if not job.done():
            raise Late(f"time was up before {event}")
        return job.result()

    def wait_to_open(self, stage: str, job: "Future[T]", event: str) -> T:
        """`wait` for a component; adds the time as `stage` unless the job is done already."""
        if job.done():
            return job.result()
        with self.stage(stage):
            return self.wait(job, event)

    def wait_for(
        self,
        jobs: "Collection[Future[Any]]",
        share: float = 1.0,
        *,
        first: bool = False,
        grace_ms: float = 0.0,
    ) -> None:
        """Wait until all jobs (or the `first`) are done, for `share` of the remaining time."""
        remaining_ms = self.remaining_ms()
        end = None
        if remaining_ms is not None:
            seconds = max(remaining_ms * share + grace_ms, 0.0) / 1000
            end = time.perf_counter() + min(seconds, threading.TIMEOUT_MAX)
        pending = {job for job in jobs if not job.done()}
        if first and len(pending) < len(jobs):
            return
        while pending:
            timeout = None if end is None else max(end - time.perf_counter(), 0.0)
            done = wait([*pending, self._cancelled], timeout, FIRST_COMPLETED).done
            pending -= done
            if first or not done or self._cancelled in done:
                return

    async def wait_to_open_in_loop(self, stage: str, job: "Future[T]", event: str) -> T:
        """`wait_to_open` in an event loop."""
        if not job.done():
            opening = asyncio.wrap_future(job)
            with self.stage(stage):
                await self.wait_in_loop(opening)
            if not opening.done():
                raise Late(f"time was up before {event}")
            return opening.result()
        return job.result()

    async def wait_in_loop(self, job: "asyncio.Future[Any]", grace_ms: float = 0.0) -> None:
        """Wait in an event loop until a job is done, or the budget and `grace_ms` are over."""
        remaining_ms = self.remaining_ms()
        seconds = None if remaining_ms is None else max(remaining_ms + grace_ms, 0.0) / 1000
        await asyncio.wait([job], timeout=seconds)

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._start) * 1000
