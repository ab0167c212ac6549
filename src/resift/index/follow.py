"""Syncs again and again: at regular times, or when files change.

Knows when to sync and which errors a later sync can mend, but not what a sync does.
"""

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from resift.errors import (
    HubError,
    IndexMismatch,
    InputError,
    MassDeletion,
    MissingExtra,
    ModelError,
    ResiftError,
    RuntimeFailure,
    SettingsError,
    SourceError,
    UnsafeStore,
    shown,
)
from resift.files import reason
from resift.index.report import SyncReport
from resift.index.run import Progress, ProgressCallback
from resift.index.sources.patterns import ALL, Globs
from resift.index.storage.location import Location
from resift.index.watch import FolderWatch

MAX_EVERY_S = 366 * 86_400.0
_FIRST_RETRY_S = 2.0
_MAX_RETRY_S = 300.0
_NEVER_MENDED = (InputError, SettingsError, MissingExtra, IndexMismatch, UnsafeStore, ModelError)
_MAY_MEND = (HubError, RuntimeFailure)  # a hub that is down, memory that others use

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SyncFailure:
    """A sync that failed. The next one is `retry_s` seconds later, or if None when it is due."""

    error: ResiftError | OSError
    retry_s: float | None

    def __str__(self) -> str:
        """One line: what failed and what comes next."""
        error = self.error
        text = f"{error.filename or ''}: {reason(error)}" if isinstance(error, OSError) else error
        line = str(text).removeprefix(": ")
        if self.retry_s is None:
            return f"{line}; until then nothing is added, changed or deleted"
        return f"{line}; next try in {self.retry_s:.0f} s"


FailureCallback = Callable[[SyncFailure], None]
SyncOnce = Callable[[ProgressCallback], SyncReport]
"""A sync that calls the argument each time its progress changes, and ends if that raises."""


class Trigger(Protocol):
    """Decides when the next sync is due."""

    def prepare(self) -> None:
        """Prepare for a sync: changes from now on make the next one due."""

    def wait(self, stop: threading.Event, retry_s: float | None = None) -> None:
        """Wait until the next sync is due, or until `stop` is set.

        After a failed sync `retry_s` is the most seconds to wait for a change that mends it.
        """

    def close(self) -> None:
        """Release what `prepare` has opened."""


class Interval:
    """Makes a sync due every `every_s` seconds from the first one on.

    The times do not drift. Times that pass while a sync runs are left out.
    """

    def __init__(self, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Use `clock` for the time in seconds; nothing starts yet."""
        self._every_s = every_s
        self._clock = clock
        self._due: float | None = None

    def prepare(self) -> None:
        if self._due is None:
            self._due = self._clock()

    def wait(self, stop: threading.Event, retry_s: float | None = None) -> None:
        if retry_s is not None:
            stop.wait(retry_s)
            return
        now = self._clock()
        self._due = next_time(now if self._due is None else self._due, self._every_s, now)
        stop.wait(self._due - now)

    def close(self) -> None:
        """Hold nothing open."""


class _Stopped(BaseException):
    """Ends a running sync; not an error, so that no handler of errors catches it."""


class _Attempts:
    """Runs one sync after the other, and says how long to wait after a failed one."""

    def __init__(self, sync: SyncOnce, stop: threading.Event, on_failure: FailureCallback) -> None:
        self.failure: SyncFailure | None = None
        self._sync = sync
        self._stop = stop
        self._on_failure = on_failure
        self._failures = 0
        self._has_synced = False

    def run(self) -> SyncReport | None:
        """Sync; None if that failed. Raises permanent errors, and `_Stopped`."""
        self.failure = None
        try:
            report = self._sync(self._check)
        except MassDeletion as error:
            self._failures = 0
            self._on_failure(SyncFailure(error, None))
            return None
        except (ResiftError, OSError) as error:
            self._check()
            # Settings that have worked are valid: credentials expired, or a token server is down.
            if is_permanent(error) and not (self._has_synced and isinstance(error, SettingsError)):
                raise
            self._failures += 1
            self.failure = SyncFailure(error, backoff_s(self._failures))
            self._on_failure(self.failure)
            return None
        self._failures, self._has_synced = 0, True
        return report

    def _check(self, _: Progress | None = None) -> None:
        if self._stop.is_set():
            raise _Stopped


def follow(
    sync: SyncOnce,
    trigger: Trigger,
    stop: threading.Event,
    on_failure: FailureCallback | None = None,
) -> Iterator[SyncReport]:
    """Yield the report of each sync until `stop` is set, which also ends a running sync.

    A failing sync is tried again, later each time, and passed to `on_failure`, which by default
    logs it. A refused mass deletion is passed on each time and waits for the next regular sync.
    Errors that no later sync can mend are raised.
    """
    attempts = _Attempts(sync, stop, on_failure or log_failure)
    try:
        while not stop.is_set():
            trigger.prepare()
            report = attempts.run()
            if report is not None:
                yield report
            if attempts.failure is not None:
                _wait_after(attempts.failure, trigger, stop)
            else:
                trigger.wait(stop)
    except _Stopped:
        return
    finally:
        trigger.close()


def _wait_after(failure: SyncFailure, trigger: Trigger, stop: threading.Event) -> None:
    if isinstance(failure.error, SourceError):  # a change of the source may mend it
        trigger.wait(stop, failure.retry_s)
    else:
        stop.wait(failure.retry_s)


def open_trigger(
    source: Location,
    index: Location,
    every_s: float | None,
    watch: bool = False,
    globs: Callable[[], Globs] = lambda: ALL,
) -> Trigger:
    """Open an `Interval` or, with `watch`, a `FolderWatch` of the source.

    Raise `InputError` for a bucket that should be watched, and without any of the two.
    """
    if every_s is not None:
        every_s = checked_every("every_s", every_s)
    if watch and source.bucket:
        raise InputError(
            f"{source.uri}: only a local folder can be watched; list it every so often instead "
            "(every_s=300, --every 5m)"
        )
    if watch:
        return FolderWatch(source, index, every_s, globs)
    if every_s is None:
        raise InputError("every_s=None: expected the seconds between two syncs, or watch=True")
    return Interval(every_s)


def log_failure(failure: SyncFailure) -> None:
    """Log a failure as a warning."""
    _log.warning("%s", failure)


def is_permanent(error: Exception) -> bool:
    """Whether every later sync would raise this error too."""
    return isinstance(error, _NEVER_MENDED) and not isinstance(error, _MAY_MEND)


def backoff_s(failures: int, draw: Callable[[], float] = random.random) -> float:
    """Seconds to wait after so many failures in a row, at least one.

    They double up to a limit. `draw`, from 0 to 1, takes up to a half off, so that many followers
    of one store do not return at the same moment.
    """
    longest = min(_MAX_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(failures - 1, 30))
    return longest * (1.0 - draw() / 2)


def next_time(due: float, every_s: float, now: float) -> float:
    """The first of the times ``due + n * every_s``, n ≥ 1, that is after `now`."""
    passed = math.floor((now - due) / every_s)
    following = due + max(passed + 1, 1) * every_s
    return following if following > now else following + every_s  # by rounding


def checked_every(name: str, seconds: float) -> float:
    """Check the seconds between two syncs; raise `InputError`."""
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 1 <= seconds <= MAX_EVERY_S:  # false for NaN
        raise InputError(
            f"{name}={shown(seconds)}: expected seconds from 1 to {MAX_EVERY_S:,.0f} (a year)"
        )
    return float(seconds)
