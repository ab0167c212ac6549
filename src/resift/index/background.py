"""Work that cannot be interrupted, in threads of our own: whoever waits for it may leave.

Lance, the runtimes and downloads take as long as they take. A caller whose time is up goes on
without them, and they end by themselves.
"""

import atexit
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Generic, TypeVar

S = TypeVar("S")
T = TypeVar("T")

AT_EXIT_S = 2.0
"""So long the interpreter's end waits for jobs that a network may hold up."""


class Background:
    """Jobs in daemon threads, at most `most` at once; the rest wait their turn.

    A thread ends when there is nothing left to do, so there is nothing to close. When the
    interpreter ends, jobs that have not begun are cancelled and those that run are waited for: a
    thread that comes back from native code to an interpreter that is gone aborts the process. So
    jobs that end by themselves (`finite`) are waited for however long, others a little. A forked
    child begins with none.
    """

    def __init__(self, most: int, name: str, *, finite: bool = False) -> None:
        self.finite = finite
        self._most = most
        self._name = name
        self._begin()
        _LIVE.add(self)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._waiting: deque[Callable[[], None]] = deque()
        self._jobs: weakref.WeakSet[Future[object]] = weakref.WeakSet()
        self._running = 0
        self._ended = False

    def run(self, work: Callable[[], T]) -> "Future[T]":
        """Begin `work`, or queue it; cancelling drops what has not begun."""
        if self._pid != os.getpid():
            self._begin()
        job: Future[T] = Future()
        with self._changed:
            if self._ended:
                job.cancel()
                return job
            self._waiting.append(lambda: _do(job, work))
            self._jobs.add(job)  # type: ignore[arg-type]
            if self._running < self._most:
                self._running += 1
                _register()
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return job

    def end(self) -> None:
        """Cancel what has not begun, and begin nothing more."""
        with self._changed:
            self._ended = True
            jobs = list(self._jobs)
        for job in jobs:
            job.cancel()

    def rest(self, seconds: float | None = None) -> bool:
        """Wait until nothing runs, `seconds` at the most; whether nothing does."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._running -= 1
                    self._changed.notify_all()
                    return
                work = self._waiting.popleft()
            work()
            del work  # what it holds goes now, not with the next job


class Shared(Generic[T]):
    """Something that takes long to make: made once, for all who options. A failure is tried again."""

    def __init__(self, begin: Callable[[], "Future[T]"]) -> None:
        """`begin` starts the making of it and returns at once."""
        self._begin = begin
        self._job: Future[T] | None = None
        self._pid = os.getpid()
        self._lock = threading.RLock()

    def job(self) -> "Future[T]":
        """The making of it, begun by whoever comes first."""
        with self._lock:
            job = self._job
            if job is None or _has_failed(job) or (self._pid != os.getpid() and not job.done()):
                self._pid = os.getpid()  # the thread that made it did not come along into a fork
                job = self._job = self._begin()
            return job

    def forget(self) -> None:
        """The next one who asks has it made anew."""
        with self._lock:
            self._job = None


def ready(value: T) -> "Future[T]":
    """Something that is there already, as a job that is done."""
    job: Future[T] = Future()
    job.set_result(value)
    return job


def then(first: "Future[S]", begin: Callable[[S], "Future[T]"]) -> "Future[T]":
    """What `begin` starts with the result of `first`, as one job; it fails as either does.

    Cancelled before `first` is there, it begins nothing.
    """
    whole: Future[T] = Future()

    def go_on(done: "Future[S]") -> None:
        if not whole.set_running_or_notify_cancel():
            return
        try:
            begin(done.result()).add_done_callback(lambda second: _copy(second, whole))
        except BaseException as error:  # for whoever waits
            whole.set_exception(error)

    first.add_done_callback(go_on)
    return whole


def _copy(source: "Future[T]", target: "Future[T]") -> None:
    try:
        target.set_result(source.result())
    except BaseException as error:  # for whoever waits
        target.set_exception(error)


def _do(job: "Future[T]", work: Callable[[], T]) -> None:
    if not job.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # for whoever waits
        job.set_exception(error)
    else:
        job.set_result(result)


def _has_failed(job: "Future[T]") -> bool:
    return job.done() and (job.cancelled() or job.exception() is not None)


_LIVE: "weakref.WeakSet[Background]" = weakref.WeakSet()
_REGISTERED = threading.Event()


def _register() -> None:
    if not _REGISTERED.is_set():
        _REGISTERED.set()
        atexit.register(_end_all)


def _end_all() -> None:
    """At the interpreter's end, before its threads lose it."""
    until = time.monotonic() + AT_EXIT_S
    backgrounds = list(_LIVE)
    try:
        for background in backgrounds:
            background.end()
        for background in backgrounds:
            background.rest(None if background.finite else max(until - time.monotonic(), 0.0))
    except KeyboardInterrupt:  # Ctrl-C once more: at once, and without threads that come back
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(130)
