"""The interpreter never ends while a thread is inside native code: that aborts the process.

A thread that comes back from C++ or Rust into an interpreter that has ended is stopped in the
middle of that code's frames, which they answer with ``terminate called without an active
exception``. So whatever lets go of the interpreter's lock for long runs inside `native`.
"""

import atexit
import os
import threading
import time
from types import TracebackType

from resift.errors import RuntimeFailure

LONGEST_S = 30.0
"""Nothing inside takes longer than a second or two; what does is stuck, and not waited for."""

STEP_S = 0.1


class Gate:
    """Who is inside is waited for at the process's end, and nobody comes in from then on.

    Threads may share it. A forked process begins with nobody inside.
    """

    def __init__(self) -> None:
        self._minded = False
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._inside: list[int] = []  # threads; the main one's interrupts may leave it here
        self._closed = False

    def __enter__(self) -> None:
        with self._changed:
            if self._closed:
                raise RuntimeFailure("the process is ending: nothing is read or run any more")
            if not self._minded:
                self._minded = True
                atexit.register(self.close)
                if hasattr(os, "register_at_fork"):
                    os.register_at_fork(after_in_child=self._begin)
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
        """Let nobody in any more and wait until no other thread is inside.

        A signal meanwhile, Ctrl-C a second time or a handler that exits, asks for the end that
        this is part of, so the wait goes on; what else a handler raises is raised afterwards.
        """
        end = time.monotonic() + LONGEST_S
        raised: BaseException | None = None
        waiting = True
        while waiting:
            try:
                waiting = not self._empty(end)
            except (KeyboardInterrupt, SystemExit):
                continue
            except BaseException as error:  # of a signal's handler, whatever that may be
                raised = raised or error
        if raised is not None:
            raise raised

    def _empty(self, end: float) -> bool:
        with self._changed:
            self._closed = True
            empty = self._changed.wait_for(lambda: not self._others(), STEP_S)
            return empty or time.monotonic() >= end

    def _others(self) -> set[int]:
        return set(self._inside) - {threading.get_ident()}


native = Gate()
"""The process's."""
