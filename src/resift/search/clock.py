"""Where the time of a search goes, and how long it may wait."""

import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from resift.rerank.options import checked_budget

T = TypeVar("T")


class Late(Exception):
    """Something was not there in time. Never leaves `resift.search`."""


class Clock:
    """Milliseconds by stage, and what is left of a budget. It runs from when it is made."""

    def __init__(self, budget_ms: float | None = None) -> None:
        """None and infinity are no limit; raise `InputError` for what is no budget."""
        self._started = time.perf_counter()
        self._budget_ms = checked_budget(budget_ms)
        self.timings_ms: dict[str, float] = {}

    @property
    def bounded(self) -> bool:
        """Whether there is a moment at which it ends."""
        return self._budget_ms is not None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        started = time.perf_counter()
        yield
        self.timings_ms[name] = (time.perf_counter() - started) * 1000

    def timed(self) -> dict[str, float]:
        """Milliseconds by stage so far, and in total; what ends later is not in it."""
        return self.timings_ms | {"total": self.elapsed_ms()}

    def left_ms(self) -> float | None:
        """What is left of the budget; None where there is none."""
        if self._budget_ms is None:
            return None
        return self._budget_ms - self.elapsed_ms()

    def elapsed_ms(self) -> float:
        """Since the search began."""
        return (time.perf_counter() - self._started) * 1000

    def wait(self, job: "Future[T]", before: str, grace_ms: float = 0.0) -> T:
        """The result of a job, or what it raised.

        `Late` where the budget and the grace are over: "time was up before `before`".
        """
        self.wait_for([job], grace_ms=grace_ms)
        if not job.done():
            raise Late(f"time was up before {before}")
        return job.result()

    def open(self, stage: str, job: "Future[T]", before: str) -> T:
        """The same for what is there as a rule: it is timed only where it was not."""
        if job.done():
            return job.result()
        with self.stage(stage):
            return self.wait(job, before)

    def wait_for(
        self,
        jobs: "Collection[Future[Any]]",
        share: float = 1.0,
        *,
        first: bool = False,
        grace_ms: float = 0.0,
    ) -> None:
        """Until all jobs (or the `first`) are done, or that share of what is left is over."""
        left_ms = self.left_ms()
        timeout = None if left_ms is None else max(left_ms * share + grace_ms, 0.0) / 1000
        if timeout is not None:
            timeout = min(timeout, threading.TIMEOUT_MAX)
        how = {"return_when": FIRST_COMPLETED} if first else {}
        wait(jobs, timeout, **how)
