"""Text input from a path of the user: files, pipes and terminals, but no endless device.

Lines may be gzipped, in UTF-8 or UTF-16, with any line ends. Their length is limited, so that input
without line ends does not fill the memory. Knows nothing of what a line contains.
"""

import codecs
import gzip
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import cast

from resift.errors import DatasetError, InputError
from resift.files import STDOUT as STDIN
from resift.files import check_regular, descriptor, open_regular, reason

_MAX_LINE_BYTES = 64 << 20  # including the line end; ten times the longest books
_CHUNK = 1 << 20
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
GZIP_MARK = b"\x1f\x8b"


def open_input(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a path for reading, and wait for the other end of a pipe. Raises `OSError`.

    Devices are refused, because reading one may never end or may change its state. Exceptions are
    terminals, the null device and descriptors that this process was given (``/dev/stdin``).
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
    """The bytes of a stream as they arrive, at most a megabyte at once."""
    return iter(partial(stream.read1, _CHUNK), b"")


def split_lines(name: str | os.PathLike[str], chunks: Iterator[bytes]) -> Iterator[bytes]:
    r"""Split chunks into lines at ``\n``, ``\r\n`` or ``\r``; the ends are removed.

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


def read_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the number of each line, from 1, and its bytes in UTF-8 without the line end.

    ``-`` is stdin. Raises `DatasetError` for a file that cannot be opened or unpacked, and for a
    line that is too long.
    """
    number = 0
    try:
        with ExitStack() as opened:
            for number, line in enumerate(split_lines(file, _open(file, opened)), 1):
                yield number, line.removeprefix(codecs.BOM_UTF8)
    except FileNotFoundError as error:
        raise DatasetError(f"{file}: no such file: check the path") from error
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        where = "" if isinstance(error, OSError) and not number else f" as text after line {number}"
        detail = reason(error) if isinstance(error, OSError) else error
        raise DatasetError(f"{file}: cannot be read{where} ({detail})") from error
    except ValueError as error:  # a NUL in the name
        raise DatasetError(f"{str(file)!r}: not a valid file name") from error


def text_lines(file: Path) -> Iterator[tuple[int, str]]:
    """As `read_lines`, decoded; raises `DatasetError` for a line that is not text."""
    for number, line in read_lines(file):
        yield number, decode_line(file, number, line)


def decode_line(file: Path, number: int, line: bytes) -> str:
    """Decode a line; `DatasetError` names the file and the line's number."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file}:{number}: is not UTF-8 text; save the file as UTF-8") from error
    if "\0" in text:
        raise DatasetError(f"{file}:{number}: contains NUL bytes; expected text in UTF-8")
    return text


def _open(file: Path, opened: ExitStack) -> Iterator[bytes]:
    """Open a file, unpack gzip and convert UTF-16 to UTF-8."""
    if file.is_dir():
        raise DatasetError(f"{file}: is a folder, expected a file")
    if str(file) != STDIN:
        raw = opened.enter_context(open_input(file))
    elif sys.stdin is None:  # closed by the parent process
        raise DatasetError("-: stdin is closed; name a file")
    else:
        raw = cast(BufferedReader, sys.stdin.buffer)
    stream: BufferedReader | gzip.GzipFile = raw
    if raw.peek(2)[:2] == GZIP_MARK:
        stream = opened.enter_context(gzip.open(raw, "rb"))
    elif file.suffix == ".gz" and raw.peek(1):
        raise DatasetError(f"{file}: ends in .gz, but is not gzipped; rename it, or gzip it")
    if stream.peek(2)[:2] in _UTF16_MARKS:
        return (text.encode() for text in codecs.iterdecode(chunks(stream), "utf-16"))
    return chunks(stream)


def read_all(name: str | os.PathLike[str], stream: BufferedIOBase, max_bytes: int) -> bytes:
    """All bytes of a stream; raises `InputError` with `name` for more than `max_bytes`."""
    parts, size = [], 0
    for chunk in chunks(stream):
        parts.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise InputError(f"{os.fspath(name)}: more than {max_bytes >> 20} MB; expected less")
    return b"".join(parts)
