"""One search call: its arguments, its clock, and its omissions."""

import asyncio
import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from resift.errors import (
    HubError,
    IndexMismatch,
    InputError,
    ModelError,
    Overloaded,
    RuntimeFailure,
    SettingsError,
    VersionGone,
)
from resift.index.normalisation import is_visible, searchable
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
    InputError,
    SettingsError,
    IndexMismatch,  # another embedder's vectors: no later call will succeed either
    VersionGone,  # `Index` then reads the newest version
)
_MODEL_OUTAGES = (HubError, RuntimeFailure)
"""Errors of models that may pass. All others need another name or file, or an open reranker."""


_WHITE_SPACE = "\t\n\v\f\r"
_CONTROLS = {code: " " for code in (*range(0x20), 0x7F) if chr(code) not in _WHITE_SPACE}


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


class Omissions:
    """The omissions of one search with their reasons, and its limit on requests."""

    def __init__(self, max_requests: int | None = None) -> None:
        self._max_requests = max_requests
        self._reasons: list[str] = []
        self._skipped: list[str] = []

    @property
    def are_requests_limited(self) -> bool:
        """Whether there is a limit, so that reads must run one after another."""
        return self._max_requests is not None

    def may_read(self, requests: int, what: str) -> bool:
        """Whether `what` may be read after `requests`; if not, notes the omission."""
        if self._max_requests is None or requests < self._max_requests:
            return True
        self._skipped.append(what)
        return False

    def note(self, reason: str) -> None:
        """Add the reason of an omission."""
        self._reasons.append(reason)

    @property
    def reason(self) -> str | None:
        """All reasons in one line; None without omissions."""
        reasons = list(self._reasons)
        if self._skipped:
            missing = ", ".join(self._skipped)
            reasons.append(f"max_requests={self._max_requests} were made: without {missing}")
        return "; ".join(reasons) or None


@dataclass(frozen=True, slots=True)
class SearchCall:
    """One call of `Index.search`, as its stages see it.

    `notes` go to the receipt.
    """

    query: str
    options: SearchOptions
    components: Components
    clock: Clock
    notes: tuple[str, ...] = ()

    @property
    def normalised_query(self) -> str:
        """The query as all stages read it: in the form of indexed text.

        Control characters are white space, which some tokenizers would drop and join words. A query
        without anything visible stays as it is.
        """
        query = self.query.translate(_CONTROLS)
        return searchable(query) if is_visible(query) else self.query


def is_outage(error: BaseException) -> bool:
    """Whether the search continues without the component that raised `error`.

    True for errors of resift about models, servers and stores, and for most errors of a custom
    embedder or reranker. False for errors that point to a mistake in code or in the installation,
    for invalid arguments, such as a query that is too long for the model, for settings that are not
    valid, for a model that is not there, damaged or of another kind, for a closed reranker, for
    warnings that filters turned into errors, and for anything that is not an `Exception` (Ctrl-C).
    """
    if isinstance(error, ModelError) and not isinstance(error, _MODEL_OUTAGES):
        return False
    return isinstance(error, Exception) and not isinstance(error, _MISTAKES)


def outage_reason(component: str, error: BaseException) -> str:
    """Log a failure to ``resift``; return the reason for the receipt.

    The log has the traceback, except of `Overloaded`, which is expected under load.
    """
    message = " ".join(str(error).split()) or "no message"
    if isinstance(error, Overloaded):
        _LOG.warning("%s is overloaded; the search goes on without it: %s", component, message)
    else:
        _LOG.warning("%s failed; the search goes on without it", component, exc_info=error)
    return f"{component} failed: {type(error).__name__}: {message}"
