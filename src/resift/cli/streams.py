"""Stdin, stdout and stderr that may be closed, full, a broken pipe, or of any encoding."""

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
    """Stdout that the caller has closed: writing raises, where Python would drop the text."""

    def write(self, text: str) -> int:
        self._refuse()

    @property
    def buffer(self) -> BinaryIO:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


class _Lenient(io.TextIOBase):
    """Stderr that may be unwritable: failed writes are dropped and raise nothing."""

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
    """Make the streams safe to print to; closed streams stay closed and keep their number."""
    for number, flags in ((STDIN, os.O_WRONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_RDONLY)):
        _occupy(number, flags)
    if sys.stdout is None:
        sys.stdout = _Closed()
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # no text is too odd to be shown
    if sys.stderr is None or isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _Lenient(sys.stderr)


def _occupy(number: int, flags: int) -> None:
    """Occupy the number of a closed stream, so that no file opened later gets it."""
    try:
        os.fstat(number)
    except OSError:
        nowhere = os.open(os.devnull, flags)  # it may have got the number already
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)


def stdin() -> io.BufferedIOBase:
    """Stdin as bytes; raises `InputError` where it is closed."""
    if sys.stdin is None:
        raise InputError("-: stdin is closed; name a file")
    return cast(io.BufferedIOBase, sys.stdin.buffer)


def finish() -> None:
    """Flush stdout; `OSError` where that fails."""
    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None and not isinstance(stream, _Closed) and not stream.closed:
            stream.flush()


def is_of_output(error: Exception) -> bool:
    """Whether the error comes from writing to stdout and not to a named file."""
    return isinstance(error, OSError) and error.errno in _FAILURES and not error.filename


def discard(descriptor: int) -> None:
    """Redirect a broken stream to the null device, so that the last flush does not fail."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
