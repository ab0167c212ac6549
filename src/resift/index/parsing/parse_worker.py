"""The process that parses, ``python -m resift.index.parsing.parse_worker``: fed over pipes.

It reads files that may be hostile, so it is told nothing but what to read, and limits itself
before it reads any. Without a parent it ends: at the end of its input, at a closed output, or
when the processor time of one file is used up.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from resift.errors import SourceError
from resift.index.parsing import frames
from resift.index.parsing.columns import Columns
from resift.index.parsing.cut import CutDocument, cut, to_json
from resift.index.parsing.limits import ParseLimits
from resift.index.parsing.measure import token_starts
from resift.index.parsing.parse import parse

try:
    import resource
except ImportError:  # Windows: the parent's clock is the only limit there
    resource = None  # type: ignore[assignment]

# Characters, and documents, after which a sign of life is given: rows may be many.
_PART = 1 << 20
_PART_DOCUMENTS = 1_000


@dataclass(frozen=True, slots=True)
class _ParseRequest:
    limits: ParseLimits
    columns: Columns
    with_text: bool


def main() -> None:
    """Serve until the parent goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it as well, and decides
    requests, replies = sys.stdin.buffer, _own_stdout()
    with suppress(EOFError, BrokenPipeError):
        _serve(requests, replies)
    # Without cleaning up: nobody is there to look at what a library leaves behind.
    os._exit(0)


def _own_stdout() -> IO[bytes]:
    """The pipe to the parent; what libraries print goes nowhere."""
    replies = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    return replies


def _serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    setup, _, _ = frames.read(requests)
    limits = ParseLimits(**setup["limits"])
    orders = _ParseRequest(limits, Columns(**setup["columns"]), setup["with_text"])
    token_starts("ready")
    _limit_memory(limits)
    frames.write(replies, "ready")
    # Half of what was free at the start must be free for each file.
    most = (_address_space() + (limits.memory_mb << 20)) // 2
    while True:
        head, body, _ = frames.read(requests)
        for key, data in _files(head, body):
            if _address_space() > most:
                os._exit(frames.FULL)
            try:
                for part in _answer(key, data, orders):
                    frames.write(replies, part)
            except MemoryError:
                os._exit(frames.NO_MEMORY)


def _files(head: list[list[Any]], body: bytes) -> Iterator[tuple[str, bytes]]:
    if len(head) == 1:  # a large one, perhaps: not twice in memory
        yield head[0][0], body
        return
    at = 0
    for key, size in head:
        yield key, body[at : at + size]
        at += size


def _answer(key: str, data: bytes, orders: _ParseRequest) -> Iterator[dict[str, Any]]:
    """The file cut into pieces, in parts of which the last is no ``more``; or why it is not."""
    try:
        _limit_time(orders.limits)
        parsed = parse(key, data, orders.columns, orders.limits)
        documents: list[CutDocument] = []
        size = 0
        for document in parsed.documents:
            if size > _PART or len(documents) == _PART_DOCUMENTS:
                yield {"more": True, **to_json(documents, ())}
                _limit_time(orders.limits)
                documents, size = [], 0
            documents.append(cut(document, token_starts, orders.with_text))
            size += len(document.text)
        yield to_json(documents, parsed.problems)
    except SourceError as error:
        yield {"error": str(error)}
    except MemoryError:
        raise
    except Exception as error:  # whatever a parser's author did not think of costs one file
        line = str(error).partition("\n")[0][:200]
        yield {"error": f"its parser failed ({type(error).__name__}: {line})"}


def _limit_memory(limits: ParseLimits) -> None:
    if resource:
        _limit(resource.RLIMIT_AS, limits.memory_mb << 20)


def _limit_time(limits: ParseLimits) -> None:
    """Let the system end this process should it outlive its parent in the middle of a file."""
    if resource:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        used = usage.ru_utime + usage.ru_stime
        _limit(resource.RLIMIT_CPU, int(used + limits.max_seconds) + 2)


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    # macOS refuses some; the parent's clock and its pipes are there still.
    with suppress(ValueError, OSError):
        resource.setrlimit(what, (most, hard))


def _address_space() -> int:
    """Bytes that this process has reserved; 0 where the system does not say."""
    # Not the peak that getrusage tells: that one is inherited from the parent.
    try:
        with open("/proc/self/statm", encoding="ascii") as pages:
            return int(pages.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


if __name__ == "__main__":
    main()
