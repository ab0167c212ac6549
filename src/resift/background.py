"""Runs jobs in background threads that a caller can abandon.

Lance, the runtimes and downloads cannot be interrupted. A caller that reaches its deadline
continues without them, and they end by themselves.
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
"""Seconds that the interpreter waits at its end for jobs that a network may delay."""


class Background:
    """Runs jobs in daemon threads, at most `max_threads` at once; the others are queued.

    A thread ends when the queue is empty, so nothing needs to be closed. When the interpreter ends,
    queued jobs are cancelled and running jobs are waited for, because a thread that returns from
    native code to an ended interpreter aborts the process. The wait has no limit for `finite` jobs,
    which end by themselves. A forked child starts without jobs.
    """

    def __init__(self, max_threads: int, name: str, *, finite: bool = False) -> None:
        """Use `name` for the threads."""
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
        """Start `work` or queue it; cancel the future to remove it from the queue."""
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
        """Cancel queued jobs and accept no more."""
        with self._changed:
            self._ended = True
            jobs = list(self._jobs)
        for job in jobs:
            job.cancel()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until no job runs, for at most `seconds`; return whether none runs."""
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
            del work  # release its memory before the next job


class Shared(Generic[T]):
    """A value that takes long to make: made once for all callers, and again after an error."""

    def __init__(self, begin: Callable[[], "Future[T]"]) -> None:
        """Call `begin` to start making the value; it returns at once."""
        self._begin = begin
        self._job: Future[T] | None = None
        self._pid = os.getpid()
        self._lock = threading.RLock()

    def job(self) -> "Future[T]":
        """Get the job that makes the value; the first call starts it."""
        with self._lock:
            job = self._job
            if job is None or _has_failed(job) or (self._pid != os.getpid() and not job.done()):
                self._pid = os.getpid()  # a forked child does not have the thread
                job = self._job = self._begin()
            return job

    @property
    def opened(self) -> T | None:
        """The value; None while it is not made."""
        with self._lock:
            job = self._job
        return None if job is None or not job.done() or _has_failed(job) else job.result()

    def forget(self) -> "Future[T] | None":
        """Forget the value, and return its job; the next call of `job` makes it again."""
        with self._lock:
            job, self._job = self._job, None
            return job


class ClosedAfterUse(Generic[T]):
    """A shared value that `close` closes once it is retired and has no users any more.

    A value that is still being made then is closed as soon as it is ready.
    """

    def __init__(self, begin: Callable[[], "Future[T]"], close: Callable[[T], None]) -> None:
        """Call `begin` to start making the value, and `close`, in any thread, to close it."""
        self._value = Shared(begin)
        self._close = close
        self._lock = threading.Lock()
        self._users = 0
        self._is_retired = False

    def enter(self) -> None:
        """Count one more user; not after `retire`."""
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        """Count one user less; the last one after `retire` closes the value."""
        with self._lock:
            self._users -= 1
            is_unused = self._is_retired and not self._users
        if is_unused:
            self._close_value()

    def retire(self) -> None:
        """Close the value, after its last user."""
        with self._lock:
            self._is_retired = True
            is_unused = not self._users
        if is_unused:
            self._close_value()

    def job(self) -> "Future[T]":
        """Get the job that makes the value, for a user; the first call starts it."""
        return self._value.job()

    def _close_value(self) -> None:
        job = self._value.forget()
        if job is not None:
            job.add_done_callback(lambda done: _has_failed(done) or self._close(done.result()))


def ready(value: T) -> "Future[T]":
    """Return a future that is done, with this value."""
    job: Future[T] = Future()
    job.set_result(value)
    return job


def then(first: "Future[S]", begin: Callable[[S], "Future[T]"]) -> "Future[T]":
    """Chain two jobs: `begin` starts the second one with the result of `first`.

    The returned future fails if either job fails. If it is cancelled before `first` is done,
    `begin` is not called.
    """
    both: Future[T] = Future()

    def start_second(done: "Future[S]") -> None:
        if not both.set_running_or_notify_cancel():
            return
        try:
            begin(done.result()).add_done_callback(lambda second: _finish(both, second.result))
        except BaseException as error:  # for the caller of `result`
            both.set_exception(error)

    first.add_done_callback(start_second)
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
            background.wait(None if background.finite else max(until - time.monotonic(), 0.0))
    except KeyboardInterrupt:  # a second Ctrl-C: end at once, without threads that return
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(130)
