"""The program of a parser process, ``python -m resift.index.parsing.worker``. Reads from a pipe.

Files may be hostile, so the process gets nothing else, and first limits its memory and time. It
ends without its parent: at the end of its input, at a closed output, or when a file has used up its
processor time.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import IO, Any

from resift.errors import SourceError
from resift.index.parsing import protocol
from resift.index.parsing.chunking import chunk_document, token_starts
from resift.index.parsing.documents import ChunkedDocument
from resift.index.parsing.formats import parse
from resift.index.parsing.options import ParseOptions

try:
    import resource
except ImportError:  # Windows: only the parent's clock limits a file
    resource = None  # type: ignore[assignment]

# A large file is sent in parts, after this many characters or documents.
_PART_CHARACTERS = 1 << 20
_PART_DOCUMENTS = 1_000


def main() -> None:
    """Parse files until the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and decides
    requests, replies = sys.stdin.buffer, _take_stdout()
    with suppress(EOFError, BrokenPipeError):
        _serve(requests, replies)
    os._exit(0)  # libraries need not clean up


def _take_stdout() -> IO[bytes]:
    """Return the pipe to the parent, and drop the output of libraries."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return replies


def _serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    options = ParseOptions.from_json(protocol.read(requests))
    memory = options.limits.memory_mb << 20
    token_starts("load the tokenizer")
    if resource:
        _set_limit(resource.RLIMIT_AS, memory)
    protocol.write(replies, "ready")
    # Half of the memory that was free at the start must be free for each file.
    max_size = (_address_space() + memory) // 2
    while True:
        key, size = protocol.read(requests)
        data = protocol.read_body(requests, size)
        if _address_space() > max_size:
            os._exit(protocol.EXIT_GROWN)
        try:
            for part in _parts(key, data, options):
                protocol.write(replies, part)
        except MemoryError:
            os._exit(protocol.EXIT_NO_MEMORY)


def _parts(key: str, data: bytes, options: ParseOptions) -> Iterator[dict[str, Any]]:
    """Yield the chunked file in parts, all but the last with ``more``; or its error."""
    try:
        _limit_time(options)
        parsed = parse(key, data, options)
        documents: list[ChunkedDocument] = []
        size = 0
        for document in parsed.documents:
            if size > _PART_CHARACTERS or len(documents) == _PART_DOCUMENTS:
                yield {"more": True, **protocol.to_json(documents, ())}
                _limit_time(options)
                documents, size = [], 0
            documents.append(chunk_document(document, token_starts, options.with_text))
            size += len(document.text)
        yield protocol.to_json(documents, parsed.problems)
    except SourceError as error:
        yield {"error": str(error)}
    except MemoryError:
        raise
    except Exception as error:  # an unforeseen error of a parser costs one file
        line = str(error).partition("\n")[0][:200]
        yield {"error": f"its parser failed ({type(error).__name__}: {line})"}


def _limit_time(options: ParseOptions) -> None:
    """Let the system end this process if its parent ends while it parses a file."""
    if resource:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        used = usage.ru_utime + usage.ru_stime
        _set_limit(resource.RLIMIT_CPU, int(used + options.limits.max_seconds) + 2)


def _set_limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    # macOS refuses some limits; the parent's clock still limits the file.
    with suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, hard))


@cache
def _statm() -> int | None:
    """Open Linux's file of this process's memory."""
    with suppress(OSError):
        return os.open("/proc/self/statm", os.O_RDONLY)
    return None


def _address_space() -> int:
    """Return the bytes that this process has reserved; 0 if the system does not report it."""
    # `getrusage` reports a peak that is inherited from the parent.
    statm = _statm()
    if statm is None:
        return 0
    return int(os.pread(statm, 100, 0).split()[0]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
