"""Jobs in background threads that a caller can abandon.

Lance, the runtimes and downloads cannot be interrupted. A caller whose time is up goes on without
them, and they end by themselves.
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
"""How long the end of the interpreter waits for jobs that a network may delay."""


class Background:
    """Runs jobs in daemon threads, at most `max_threads` at once; the others are queued.

    A thread ends when the queue is empty, so there is nothing to close. At the end of the
    interpreter queued jobs are cancelled and running ones waited for: a thread that returns from
    native code to an interpreter that has ended aborts the process. Jobs that end by themselves
    (`finite`) are waited for without a limit. A forked child begins with no job.
    """

    def __init__(self, max_threads: int, name: str, *, finite: bool = False) -> None:
        """`name` is that of the threads."""
        self.finite = finite
        self._max_threads = max_threads
        self._name = name
        self._reset()
        _ALL.add(self)

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._queue: deque[Callable[[], None]] = deque()
        self._jobs: weakref.WeakSet[Future[object]] = weakref.WeakSet()
        self._threads = 0
        self._ended = False

    def run(self, work: Callable[[], T]) -> "Future[T]":
        """Start `work`, or queue it; cancelling the future drops what is queued."""
        if self._pid != os.getpid():
            self._reset()
        job: Future[T] = Future()
        with self._changed:
            if self._ended:
                job.cancel()
                return job
            self._queue.append(lambda: _run(job, work))
            self._jobs.add(job)  # type: ignore[arg-type]
            if self._threads < self._max_threads:
                self._threads += 1
                _register()
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return job

    def end(self) -> None:
        """Cancel queued jobs, and accept no more."""
        with self._changed:
            self._ended = True
            jobs = list(self._jobs)
        for job in jobs:
            job.cancel()

    def rest(self, seconds: float | None = None) -> bool:
        """Wait at most `seconds` until no job runs; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._threads, seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._queue:
                    self._threads -= 1
                    self._changed.notify_all()
                    return
                work = self._queue.popleft()
            work()
            del work  # release what it holds before the next job


class Shared(Generic[T]):
    """A value that takes long to make: made once for all callers, again after a failure."""

    def __init__(self, begin: Callable[[], "Future[T]"]) -> None:
        """`begin` starts to make the value and returns at once."""
        self._begin = begin
        self._job: Future[T] | None = None
        self._pid = os.getpid()
        self._lock = threading.RLock()

    def job(self) -> "Future[T]":
        """Get the job that makes the value; the first call starts it."""
        with self._lock:
            job = self._job
            if job is None or _has_failed(job) or (self._pid != os.getpid() and not job.done()):
                self._pid = os.getpid()  # a fork does not take the thread along
                job = self._job = self._begin()
            return job

    def forget(self) -> None:
        """Have the value made again by the next call of `job`."""
        with self._lock:
            self._job = None


def ready(value: T) -> "Future[T]":
    """Make a future that is done."""
    job: Future[T] = Future()
    job.set_result(value)
    return job


def then(first: "Future[S]", begin: Callable[[S], "Future[T]"]) -> "Future[T]":
    """Make one job of `first` and of the one that `begin` starts with its result.

    It fails if either fails. If it is cancelled before `first` is done, `begin` is not called.
    """
    both: Future[T] = Future()

    def go_on(done: "Future[S]") -> None:
        if not both.set_running_or_notify_cancel():
            return
        try:
            begin(done.result()).add_done_callback(lambda second: _finish(both, second.result))
        except BaseException as error:  # for the caller of `result`
            both.set_exception(error)

    first.add_done_callback(go_on)
    return both


def _run(job: "Future[T]", work: Callable[[], T]) -> None:
    if job.set_running_or_notify_cancel():
        _finish(job, work)


def _finish(job: "Future[T]", work: Callable[[], T]) -> None:
    try:
        result = work()
    except BaseException as error:  # for the caller of `result`
        job.set_exception(error)
    else:
        job.set_result(result)


def _has_failed(job: "Future[T]") -> bool:
    return job.done() and (job.cancelled() or job.exception() is not None)


_ALL: "weakref.WeakSet[Background]" = weakref.WeakSet()
_REGISTERED = threading.Event()


def _register() -> None:
    if not _REGISTERED.is_set():
        _REGISTERED.set()
        atexit.register(_end_all)


def _end_all() -> None:
    """End all jobs while the interpreter still has its threads."""
    until = time.monotonic() + AT_EXIT_S
    backgrounds = list(_ALL)
    try:
        for background in backgrounds:
            background.end()
        for background in backgrounds:
            background.rest(None if background.finite else max(until - time.monotonic(), 0.0))
    except KeyboardInterrupt:  # a second Ctrl-C: end at once, without threads that return
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(130)
