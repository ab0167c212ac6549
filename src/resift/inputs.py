"""Text input from a path of the user: files, pipes and terminals, but no endless device.

Knows no format. The length of lines is limited, so that input without line ends does not fill the
memory.
"""

import os
import stat
from collections.abc import Iterator
from functools import partial
from io import BufferedIOBase, BufferedReader
from pathlib import Path

from resift.errors import DatasetError, InputError
from resift.files import check_regular, descriptor, open_regular

_MAX_LINE_BYTES = 64 << 20  # with its end; the longest books have a tenth of this
_CHUNK = 1 << 20


def open_input(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a path for reading; a pipe waits for its other end. Raises `OSError`.

    Devices are refused, because reading may never end or may have side effects. Exceptions are
    terminals, the null device and descriptors of this process (``/dev/stdin``).
    """
    number = descriptor(path)
    if number is not None:
        os.read(number, 0)  # raises if it is closed or write-only
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        return open_regular(path)
    if number is not None:
        return os.fdopen(os.dup(number), "rb")
    if not (stat.S_ISFIFO(mode) or _is_readable_device(path, mode)):
        check_regular(path, mode)
    return Path(path).open("rb")


def _is_readable_device(path: str | os.PathLike[str], mode: int) -> bool:
    """Whether the path is a terminal or the null device."""
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
    """The bytes of a stream, as soon as they arrive, at most a megabyte at once."""
    return iter(partial(stream.read1, _CHUNK), b"")


def lines(name: str | os.PathLike[str], chunks: Iterator[bytes]) -> Iterator[bytes]:
    r"""Lines that end in ``\n``, ``\r\n`` or ``\r``, without their ends.

    Raises `DatasetError` with `name` for a line of more than `_MAX_LINE_BYTES`.
    """
    number, pending, size = 1, list[bytes](), 0
    for chunk in chunks:
        pending.append(chunk)
        size += len(chunk)
        if b"\n" in chunk or b"\r" in chunk or (len(pending) > 1 and pending[-2].endswith(b"\r")):
            split = b"".join(pending).splitlines(keepends=True)
            # After a last \r the next chunk may begin with \n.
            pending = [] if split[-1].endswith(b"\n") else [split.pop()]
            size = sum(map(len, pending))
            for line in split:
                _check_size(name, number, len(line))
                yield line.rstrip(b"\r\n")
                number += 1
        _check_size(name, number, size)
    if size:
        yield b"".join(pending).rstrip(b"\r\n")


def _check_size(name: str | os.PathLike[str], number: int, size: int) -> None:
    if size > _MAX_LINE_BYTES:
        raise DatasetError(
            f"{os.fspath(name)}:{number}: a line of more than {_MAX_LINE_BYTES >> 20} MB; expected "
            "lines of text"
        )


def read_all(name: str | os.PathLike[str], stream: BufferedIOBase, max_bytes: int) -> bytes:
    """All bytes of a stream; raises `InputError` with `name` for more than `max_bytes`."""
    parts, size = [], 0
    for chunk in chunks(stream):
        parts.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise InputError(f"{os.fspath(name)}: more than {max_bytes >> 20} MB; expected less")
    return b"".join(parts)
