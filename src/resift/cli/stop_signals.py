"""SIGTERM and Ctrl-C for verbs that run until a signal ends them."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

from resift.cli.output import errors

GRACE_S = 1.5
"""Seconds that the process has to end after a signal, before `StopSignals` ends it."""

INTERRUPTED = 130
_EXIT_CODES = {signal.SIGTERM: 0, signal.SIGINT: INTERRUPTED}


class StopSignals:
    """Sets `stop` at the first SIGTERM or Ctrl-C, and has the process end soon after.

    For a ``with`` statement in the main thread, around work that may be cut off at any time. A
    second signal, and a process that has not ended after `GRACE_S` (in native code, or waiting for
    a server), end it at once.

    A thread waits for the signals, because Python's handlers run in the main thread, which may be
    in native code, or hold the lock of the event that they would set.
    """

    def __init__(self, end_process: Callable[[int], Any] = os._exit) -> None:
        """Call `end_process` with an exit code to end the process at once."""
        self.stop = threading.Event()
        self.exit_code = 0
        self._end_process = end_process

    def __enter__(self) -> Self:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        with ExitStack() as undo:
            undo.callback(self._writer.close)  # ends the thread, unless a signal has come
            before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            undo.callback(signal.set_wakeup_fd, before)
            for number in _EXIT_CODES:
                handler = signal.getsignal(number)
                if number == signal.SIGINT and handler is signal.SIG_IGN:
                    continue  # started in the background of a shell, which Ctrl-C does not mean
                signal.signal(number, _ignore)
                undo.callback(signal.signal, number, handler)
            threading.Thread(target=self._wait, name="resift-signals", daemon=True).start()
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.stop.is_set():  # else signals stay ignored: the process is ending
            self._undo.close()

    def _wait(self) -> None:
        with self._reader:
            number = self._next_signal()
            if number is None:
                return
            self.exit_code = _EXIT_CODES[number]
            self.stop.set()
            self._reader.settimeout(GRACE_S)
            with suppress(TimeoutError):
                self._next_signal()
            if errors.is_terminal:
                errors.show_cursor()  # a progress bar hides it
            self._end_process(self.exit_code)

    def _next_signal(self) -> signal.Signals | None:
        """Wait for the next of the signals; None if none will come any more."""
        while data := self._reader.recv(1):
            if data[0] in _EXIT_CODES:
                return signal.Signals(data[0])
        return None


def _ignore(number: int, frame: object) -> None:
    """Do nothing: the signal's number has been written to the socket."""
