"""Stdout and stderr as they come: closed, full, a pipe whose reader is gone, of any encoding."""

import errno
import io
import os
import sys
from contextlib import suppress
from typing import BinaryIO, NoReturn, TextIO, cast

from resift.errors import InputError

STDIN, STDOUT, STDERR = 0, 1, 2
_FAILURES = {errno.EPIPE, errno.ENOSPC, errno.EBADF, errno.EIO}


class _Closed(io.TextIOBase):
    """Stdout where the caller has closed it: Python has none then, and prints into the void."""

    def write(self, text: str) -> int:
        self._refuse()

    @property
    def buffer(self) -> BinaryIO:
        self._refuse()

    def _refuse(self) -> NoReturn:
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
    """Make both fit to be printed to; what is closed stays so, and its number is nobody else's."""
    for number, flags in ((STDIN, os.O_WRONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_RDONLY)):
        _occupy(number, flags)
    if sys.stdout is None:
        sys.stdout = _Closed()
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # no text is too odd to be shown
    if sys.stderr is None or isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _Lenient(sys.stderr)


def _occupy(number: int, flags: int) -> None:
    """Let no file that is opened later have a stream's number, and be written to as if it were."""
    try:
        os.fstat(number)
    except OSError:
        nowhere = os.open(os.devnull, flags)  # it may have got the number already
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)


def stdin() -> io.BufferedIOBase:
    """Stdin for bytes; raises `InputError` where whoever started this process has closed it."""
    if sys.stdin is None:
        raise InputError("-: stdin is closed; name a file")
    return cast(io.BufferedIOBase, sys.stdin.buffer)


def finish() -> None:
    """Write out what was printed: `OSError` where stdout does not take it."""
    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None and not isinstance(stream, _Closed) and not stream.closed:
            stream.flush()


def is_of_output(error: Exception) -> bool:
    """Whether that is what writing to stdout fails with, and not a verb's own file."""
    return isinstance(error, OSError) and error.errno in _FAILURES and not error.filename


def discard(descriptor: int) -> None:
    """What is still to be written goes nowhere, so that the interpreter's end does not fail."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
