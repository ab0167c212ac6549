"""What parent and parser say to each other: JSON and bytes, each with its length before it.

Never pickle: what comes from a process that has read hostile files must not be able to run.
"""

import json
import struct
from collections.abc import Sequence
from typing import IO, Any

NO_MEMORY = 77
"""The exit code of a parser that could not get the memory that its file needs."""
FULL = 78
"""The exit code of a parser that has grown too large to begin another file."""

_LENGTHS = struct.Struct("!QQ")


def write(stream: IO[bytes], head: Any, bodies: Sequence[bytes] = ()) -> None:
    """Send one frame: `head` as JSON and `bodies` one behind the other."""
    text = json.dumps(head, separators=(",", ":"), ensure_ascii=False)
    encoded = text.encode("utf-8", "surrogatepass")  # a file's name may be no text
    stream.write(_LENGTHS.pack(len(encoded), sum(map(len, bodies))))
    stream.write(encoded)
    for body in bodies:
        stream.write(body)
    stream.flush()


def read(stream: IO[bytes], most: int | None = None) -> tuple[Any, bytes, int]:
    """Wait for one frame: its head, its body, and how long it is.

    Raise `EOFError` where the other end is gone. With `most` the other end is not trusted: raise
    `ValueError` for more bytes than that, for what is no JSON, and for what cannot be stored.
    """
    head, body = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    if most is not None and head + body > most:
        raise ValueError(f"a frame of {head + body:,} bytes: at most {most:,} were expected")
    encoded = _exactly(stream, head)
    value = json.loads(encoded if most is None else encoded.decode("utf-8"))
    return value, _exactly(stream, body), head + body


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError
    return data
