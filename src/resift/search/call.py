"""One search call: its arguments, its time, and what it left out."""

import asyncio
import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from resift.errors import IndexMismatch, InputError, QueryError, VersionGone
from resift.rerank.options import checked_budget
from resift.search.components import Components
from resift.search.options import SearchOptions

T = TypeVar("T")

_LOG = logging.getLogger("resift")

_MISTAKES = (
    Warning,  # raised as an error under python -W error
    TypeError,
    AttributeError,
    NameError,
    AssertionError,
    ImportError,  # includes a missing extra
    SyntaxError,
    NotImplementedError,
    IndexMismatch,  # the vectors of another embedder: waiting does not help
    VersionGone,  # `Index` reads the newest version instead
)


class Late(Exception):
    """The budget ended before something was ready. Never leaves `resift.search`."""


class Clock:
    """Milliseconds by stage, and what is left of a budget. It starts when it is made."""

    def __init__(self, budget_ms: float | None = None) -> None:
        """None and infinity are no limit. Raises `InputError` for a value that is no budget."""
        self._start = time.perf_counter()
        self._budget_ms = checked_budget(budget_ms)
        self._cancelled: Future[None] = Future()
        self.timings_ms: dict[str, float] = {}

    @property
    def bounded(self) -> bool:
        """Whether there is a budget."""
        return self._budget_ms is not None

    def cancel(self) -> None:
        """End the budget now, because the caller has gone: every wait returns at once."""
        self._cancelled.set_result(None)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as stage `name`."""
        start = time.perf_counter()
        yield
        self.timings_ms[name] = (time.perf_counter() - start) * 1000

    def timings(self, more: Mapping[str, float] | None = None) -> dict[str, float]:
        """Milliseconds by stage so far, those in `more`, and in total."""
        return self.timings_ms | dict(more or {}) | {"total": self._elapsed_ms()}

    def left_ms(self) -> float | None:
        """What is left of the budget; None where there is no limit."""
        if self._cancelled.done():
            return 0.0
        return None if self._budget_ms is None else self._budget_ms - self._elapsed_ms()

    def wait(self, job: "Future[T]", event: str, grace_ms: float = 0.0) -> T:
        """The result of a job, or the error that it raised.

        Raises `Late` ("time was up before `event`") once the budget and `grace_ms` have passed.
        """
        self.wait_for([job], grace_ms=grace_ms)
        if not job.done():
            raise Late(f"time was up before {event}")
        return job.result()

    def wait_to_open(self, stage: str, job: "Future[T]", event: str) -> T:
        """`wait` for something that is usually open already: timed only where it was not."""
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
        """Return when all jobs (or the `first`) are done, or `share` of what is left has passed."""
        left_ms = self.left_ms()
        end = None
        if left_ms is not None:
            seconds = max(left_ms * share + grace_ms, 0.0) / 1000
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

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._start) * 1000


class Omissions:
    """What one search left out and why, in order, and whether it may still make requests."""

    def __init__(self, max_requests: int | None = None) -> None:
        self._max_requests = max_requests
        self._reasons: list[str] = []
        self._skipped: list[str] = []

    @property
    def are_requests_limited(self) -> bool:
        """Whether requests are counted, so that reads have to take turns."""
        return self._max_requests is not None

    def may_read(self, requests: int, what: str) -> bool:
        """Whether `what` may be read after `requests` were made; noted where it may not."""
        if self._max_requests is None or requests < self._max_requests:
            return True
        self._skipped.append(what)
        return False

    def note(self, reason: str) -> None:
        """Add a reason why something is missing."""
        self._reasons.append(reason)

    @property
    def reason(self) -> str | None:
        """All reasons in one line; None where nothing is missing."""
        reasons = list(self._reasons)
        if self._skipped:
            missing = ", ".join(self._skipped)
            reasons.append(f"max_requests={self._max_requests} were made: without {missing}")
        return "; ".join(reasons) or None


@dataclass(frozen=True, slots=True)
class SearchCall:
    """What one call of `Index.search` hands from stage to stage.

    `notes` go to the receipt. `loop` is the event loop of an `Index.asearch`, which a reranker with
    `arank` runs in.
    """

    query: str
    options: SearchOptions
    components: Components
    clock: Clock
    notes: tuple[str, ...] = ()
    loop: asyncio.AbstractEventLoop | None = None


def is_outage(error: BaseException) -> bool:
    """Whether a component failed at its work, so that the search goes on without it.

    True for what resift raises for models, servers and stores, for a query that is too long for
    the model, and for any other `Exception` of a custom embedder or reranker. False for what only
    a mistake in code or in the installation raises, for an argument that no call can use, for a
    warning that was made an error, and for what is no `Exception` (Ctrl-C).
    """
    if isinstance(error, QueryError):
        return True
    return isinstance(error, Exception) and not isinstance(error, (*_MISTAKES, InputError))


def outage_reason(component: str, error: BaseException) -> str:
    """Log the failure with its traceback to ``resift``; return the reason for the receipt."""
    _LOG.warning("%s failed; the search goes on without it", component, exc_info=error)
    message = " ".join(str(error).split()) or "no message"
    if isinstance(error, QueryError):
        return f"not reranked: {message}"
    return f"{component} failed: {type(error).__name__}: {message}"
