"""Prepare stdin, stdout, stderr and the terminal size: streams may be closed, full or broken."""

import errno
import io
import os
import re
import sys
from contextlib import suppress
from typing import BinaryIO, NoReturn, TextIO, cast

from resift.errors import InputError

STDIN, STDOUT, STDERR = 0, 1, 2
PASSAGE_TABLE, FIGURE_TABLE = 60, 80
"""Minimum widths of a table of passages and of a table of numbers, in columns."""

MAX_SIZE = 1_000
"""Maximum columns and lines of a terminal."""

_SIZES = ("COLUMNS", "LINES")
_HELP = "TERMINAL_WIDTH"  # typer's name for the width of the help
_NUMBER = re.compile("0*([1-9][0-9]{0,17})")
_FAILURES = {errno.EPIPE, errno.ENOSPC, errno.EBADF, errno.EIO}


class _ClosedStdout(io.TextIOBase):
    """Stdout that the caller has closed: writing raises `OSError` instead of losing the text."""

    def write(self, text: str) -> int:
        self._refuse()

    @property
    def buffer(self) -> BinaryIO:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


class _SafeStderr(io.TextIOBase):
    """Stderr that may be unwritable: failed writes are dropped and raise nothing."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if self._stream is not None:
            try:
                return self._stream.write(text)
            except OSError:
                self._discard()
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._discard()

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        return STDERR

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def _discard(self) -> None:
        self._stream = None
        discard(STDERR)


def prepare_streams() -> None:
    """Make the streams safe to print to. Closed streams stay closed and keep their descriptors."""
    for number, flags in ((STDIN, os.O_WRONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_RDONLY)):
        _occupy(number, flags)
    if sys.stdout is None:
        sys.stdout = _ClosedStdout()
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # any text can be written
    if sys.stderr is None or isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _SafeStderr(sys.stderr)


def _occupy(number: int, flags: int) -> None:
    """Occupy the descriptor of a closed stream, so that no later file gets it."""
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, flags)  # may get this number at once
        if null != number:
            os.dup2(null, number)
            os.close(null)


def stdin() -> io.BufferedIOBase:
    """Stdin as bytes; raises `InputError` if it is closed."""
    if sys.stdin is None:
        raise InputError("-: stdin is closed; name a file")
    return cast(io.BufferedIOBase, sys.stdin.buffer)


def flush_stdout() -> None:
    """Flush stdout; raises `OSError` if that fails."""
    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None and not isinstance(stream, _ClosedStdout) and not stream.closed:
            stream.flush()


def is_stdout_failure(error: Exception) -> bool:
    """Whether the error comes from writing to stdout and not to a named file."""
    return isinstance(error, OSError) and error.errno in _FAILURES and not error.filename


def discard(descriptor: int) -> None:
    """Redirect a broken stream to the null device, so that the last flush does not fail."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)


def prepare_size() -> None:
    """Correct the terminal size in the environment for rich and typer; call before importing them.

    An invalid size (0, a word) is removed, so that the terminal's size or 80 is used.
    """
    for variable in (*_SIZES, _HELP):
        number = _NUMBER.fullmatch(os.environ.get(variable, ""))
        if number is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = str(min(int(number[1]), MAX_SIZE))
    columns = int(os.environ.get(_HELP) or os.environ.get(_SIZES[0]) or _columns())
    if columns < PASSAGE_TABLE:
        os.environ[_HELP] = str(PASSAGE_TABLE)


def _columns() -> int:
    """Columns of the terminal; 80 without a terminal."""
    for descriptor in (0, 1, 2):
        try:
            return os.get_terminal_size(descriptor).columns or FIGURE_TABLE
        except (OSError, ValueError):
            continue
    return FIGURE_TABLE
