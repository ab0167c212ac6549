"""Stdout and stderr as they come: closed, full, a pipe whose reader is gone, of any encoding."""

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TextIO

STDOUT, STDERR = 1, 2


class _Closed(io.TextIOBase):
    """Stdout where the caller has closed it: Python has none then, and prints into the void."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


class _Lenient(io.TextIOBase):
    """Stderr that nobody may read: what cannot be said is lost, and nothing else."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if self._stream is not None:
            try:
                return self._stream.write(text)
            except OSError:
                self._drop()
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._drop()

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        return STDERR

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def _drop(self) -> None:
        self._stream = None
        discard(STDERR)


def prepare() -> None:
    """Make both fit to be printed to."""
    if sys.stdout is None:
        sys.stdout = _Closed()
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # no text is too odd to be shown
    if sys.stderr is None or isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _Lenient(sys.stderr)


def finish() -> None:
    """Write out what was printed: `OSError` where stdout does not take it."""
    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None and not isinstance(stream, _Closed) and not stream.closed:
            stream.flush()


def discard(descriptor: int) -> None:
    """What is still to be written goes nowhere, so that the interpreter's end does not fail."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
