"""What somebody names to be read as text: files, pipes and terminals, but no endless device.

Knows no format. Lines have a bound, so that what has no line ends fills no memory.
"""

import os
import stat
from collections.abc import Iterator
from functools import partial
from io import BufferedIOBase, BufferedReader
from pathlib import Path

from resift.descriptors import descriptor
from resift.errors import DatasetError, InputError
from resift.files import check_regular, open_regular

MOST_LINE = 64 << 20
"""Bytes of a line with its end; the longest books have a tenth of it."""

_CHUNK = 1 << 20


def open_input(path: str | os.PathLike[str]) -> BufferedReader:
    """Open for reading what somebody named; a pipe is waited for. Raises `OSError`.

    A device is refused: reading it may never end, or do something. A terminal and the null device
    are read, and so is whatever somebody opened for this process (``/dev/stdin``).
    """
    number = descriptor(path)
    if number is not None:
        os.read(number, 0)  # raises where it is closed, or was opened for writing alone
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        return open_regular(path)
    if number is not None:
        return os.fdopen(os.dup(number), "rb")
    if not (stat.S_ISFIFO(mode) or _ends(path, mode)):
        check_regular(path, mode)
    return Path(path).open("rb")


def _ends(path: str | os.PathLike[str], mode: int) -> bool:
    """Whether a device is one that people read from: a terminal, or the null device."""
    if not stat.S_ISCHR(mode):
        return False
    if os.stat(path).st_rdev == os.stat(os.devnull).st_rdev:
        return True
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        return os.isatty(number)
    finally:
        os.close(number)


def chunks(stream: BufferedIOBase) -> Iterator[bytes]:
    """The bytes of a stream as they come, at most a megabyte at once."""
    return iter(partial(stream.read1, _CHUNK), b"")


def lines(name: str | os.PathLike[str], chunks: Iterator[bytes]) -> Iterator[bytes]:
    r"""Lines by any of the three ends, ``\n``, ``\r\n`` and ``\r``, without these.

    Raises `DatasetError` with `name` for a line of more than `MOST_LINE` bytes.
    """
    number, begun, size = 1, list[bytes](), 0
    for chunk in chunks:
        begun.append(chunk)
        size += len(chunk)
        if _has_end(chunk) or (len(begun) > 1 and begun[-2].endswith(b"\r")):
            whole = b"".join(begun).splitlines(keepends=True)
            # After a last \r the next chunk may go on with \n.
            begun = [] if whole[-1].endswith(b"\n") else [whole.pop()]
            size = sum(map(len, begun))
            for line in whole:
                _check(name, number, len(line))
                yield line.rstrip(b"\r\n")
                number += 1
        _check(name, number, size)
    if size:
        yield b"".join(begun).rstrip(b"\r\n")


def _has_end(chunk: bytes) -> bool:
    return b"\n" in chunk or b"\r" in chunk


def _check(name: str | os.PathLike[str], number: int, size: int) -> None:
    if size > MOST_LINE:
        raise DatasetError(
            f"{os.fspath(name)}:{number}: a line of more than {MOST_LINE >> 20} MB; expected lines "
            "of text"
        )


def read_all(name: str | os.PathLike[str], stream: BufferedIOBase, most: int) -> bytes:
    """All bytes of a stream; raises `InputError` with `name` for more than `most`."""
    parts, size = [], 0
    for chunk in chunks(stream):
        parts.append(chunk)
        size += len(chunk)
        if size > most:
            raise InputError(f"{os.fspath(name)}: more than {most >> 20} MB; expected less")
    return b"".join(parts)
