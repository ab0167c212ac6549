"""Threads in native code, at the end of a process and in a fork.

If the interpreter ends while a thread is inside C++ or Rust, the process aborts with ``terminate
called without an active exception``. So code that releases the interpreter's lock for long runs
inside `native`, and the end of the process waits for it.
"""

import atexit
import os
import re
import threading
import time
from collections.abc import Callable
from types import TracebackType
from weakref import WeakMethod

from resift.errors import RuntimeFailure

MAX_WAIT_S = 30.0
"""How long the end of a process waits. A call takes a second or two, unless it is stuck."""

POLL_S = 0.1

_NO_MEMORY = re.compile(
    r"bad[ _]alloc|out of memory|not enough memory|insufficient memory|cannot allocate|can't alloc|"
    r"failed to allocate|resource temporarily unavailable|can't start new thread",
    re.IGNORECASE,
)


class Gate:
    """At its end, the process waits for the threads inside and lets no others enter.

    Threads may share it. A forked process starts with no threads inside.
    """

    def __init__(self) -> None:
        self._is_registered = False
        self._reset()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._inside: list[int] = []  # threads; an interrupt may leave the main one here
        self._closed = False

    def __enter__(self) -> None:
        with self._changed:
            if self._closed:
                raise RuntimeFailure("the process is ending: no model runs any more")
            if not self._is_registered:
                self._is_registered = True
                atexit.register(self.close)
                after_fork(self._reset)
            self._inside.append(threading.get_ident())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._inside.remove(threading.get_ident())
            self._changed.notify_all()

    def close(self) -> None:
        """Let no thread enter any more, and wait until no other thread is inside.

        A second Ctrl-C, or a signal handler that exits, does not end the wait. Anything else that a
        signal handler raises is raised after it.
        """
        end = time.monotonic() + MAX_WAIT_S
        raised: BaseException | None = None
        waiting = True
        while waiting:
            try:
                waiting = not self._is_empty(end)
            except (KeyboardInterrupt, SystemExit):
                continue
            except BaseException as error:  # a signal handler may raise anything
                raised = raised or error
        if raised is not None:
            raise raised

    def _is_empty(self, end: float) -> bool:
        with self._changed:
            self._closed = True
            empty = self._changed.wait_for(lambda: not self._others(), POLL_S)
            return empty or time.monotonic() >= end

    def _others(self) -> set[int]:
        return set(self._inside) - {threading.get_ident()}


def after_fork(reset: Callable[[], None]) -> None:
    """Call a bound method in each forked child, as long as its object exists."""
    method = WeakMethod(reset)

    def in_child() -> None:
        bound = method()
        if bound is not None:
            bound()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=in_child)


native = Gate()
"""The gate of this process."""


class BackgroundThread:
    """A daemon thread that ends when it is idle and starts again when there is work.

    A forked process starts without the thread. Methods of subclasses hold `_changed` while they
    change state that the thread reads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._reset()
        after_fork(self._reset)

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def _loop(self) -> None:
        """Work, and return after an idle while."""
        raise NotImplementedError

    def _abort(self, error: BaseException) -> None:
        """Give each waiting caller a `thread_failure`: an unexpected error ended the thread."""
        raise NotImplementedError

    def _ensure_running(self) -> None:
        """Start the thread unless it runs. Raises `RuntimeFailure`."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = None
        thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the machine has no more, or the interpreter is ending
            raise RuntimeFailure(
                f"the model's thread cannot be started ({error}); "
                "let other threads end, or raise the limit on them"
            ) from error
        self._thread = thread

    def _work(self) -> None:
        try:
            self._loop()
        except BaseException as error:  # passed on to the callers
            with self._changed:
                self._thread = None
                self._abort(error)


def thread_failure(error: BaseException) -> RuntimeFailure:
    """The error for callers that waited for a thread which ended unexpectedly."""
    failure = RuntimeFailure(
        f"the model's thread ended: {type(error).__name__}: {first_line(error)}; try again"
    )
    failure.__cause__ = error
    return failure


def lacks_memory(error: BaseException) -> bool:
    """Whether a runtime got no memory, or no thread, which needs memory too."""
    return isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) is not None


def first_line(error: BaseException) -> str:
    """The first informative line of a runtime's message; one text for all lack of memory."""
    if lacks_memory(error):
        return "the memory does not suffice; give this process more"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    messages = [line for line in lines if not line.startswith("Exception from ")]  # OpenVINO's
    return (messages or lines or [type(error).__name__])[0][:200]
