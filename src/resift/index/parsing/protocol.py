"""The messages between a parser process and its parent: lines of JSON, and files.

Messages are checked, and are not pickled, because a process that has read hostile files must not be
able to run code in its parent.
"""

import json
from collections.abc import Iterable, Sequence
from typing import IO, Any

from resift.index.parsing.documents import Chunk, ChunkedDocument, ChunkedFile

EXIT_NO_MEMORY = 77
"""The exit code of a parser that could not get the memory for its file."""
EXIT_GROWN = 78
"""The exit code of a parser that has grown too large to parse another file."""


def write(stream: IO[bytes], message: Any, body: bytes = b"") -> None:
    """Send `message` as one line of JSON, then `body`."""
    line = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    # A file's name may hold lone surrogates.
    stream.write(line.encode("utf-8", "surrogatepass") + b"\n")
    stream.write(body)
    stream.flush()


def read(stream: IO[bytes]) -> Any:
    """Wait for a message; raise `EOFError` if the other process has ended."""
    return json.loads(_line(stream, -1))


def read_untrusted(stream: IO[bytes], max_bytes: int) -> tuple[Any, int]:
    """Wait for a message of a parser; return it with its number of bytes.

    Raise `EOFError` if the parser has ended, and `ValueError` for more than `max_bytes`, for
    invalid JSON, and for text that cannot be stored.
    """
    line = _line(stream, max_bytes + 1)
    if len(line) > max_bytes:
        raise ValueError(f"a message of over {max_bytes:,} bytes")
    return json.loads(line.decode("utf-8")), len(line)


def _line(stream: IO[bytes], max_bytes: int) -> bytes:
    line = stream.readline(max_bytes)
    if not line.endswith(b"\n") and len(line) != max_bytes:
        raise EOFError
    return line


def read_body(stream: IO[bytes], size: int) -> bytes:
    """Read `size` bytes after a message; raise `EOFError` if the other process has ended."""
    body = stream.read(size)
    if len(body) != size:
        raise EOFError
    return body


def to_json(documents: Iterable[ChunkedDocument], problems: Sequence[str]) -> dict[str, Any]:
    """Convert a file, or a part of a file with many documents, to JSON types for `from_json`."""
    rows = [
        [
            document.id, document.title, dict(document.metadata), document.row, document.text,
            [[chunk.start, chunk.end, chunk.heading, chunk.page, chunk.text, chunk.after,
              chunk.line]
             for chunk in document.chunks],
        ]
        for document in documents
    ]  # fmt: skip
    return {"documents": rows, "problems": list(problems)}


def from_json(value: Any) -> ChunkedFile:
    """Invert `to_json`; raise `ValueError` for anything that it did not write."""
    try:
        documents = tuple(_document(*fields) for fields in value["documents"])
        problems = tuple(_checked(problem, str) for problem in value["problems"])
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a chunked file ({error})") from error
    return ChunkedFile(documents, problems)


def _document(
    id_: Any, title: Any, metadata: Any, row: Any, text: Any, chunks: Any
) -> ChunkedDocument:
    return ChunkedDocument(
        id=_checked(id_, str),
        title=_checked(title, str),
        metadata=_checked(metadata, dict),
        row=_checked(row, int, type(None)),
        chunks=tuple(_chunk(*fields) for fields in chunks),
        text=_checked(text, str, type(None)),
    )


def _chunk(
    start: Any, end: Any, heading: Any, page: Any, text: Any, after: Any, line: Any
) -> Chunk:
    if not 0 <= _checked(start, int) <= _checked(end, int):
        raise ValueError(f"chunk {start}:{end}: not a slice")
    if len(_checked(text, str)) != end - start:
        raise ValueError(f"chunk {start}:{end}: its text has {len(text)} characters")
    heading, page = _checked(heading, str), _checked(page, int, type(None))
    line = _checked(line, int, type(None))
    return Chunk(start, end, heading, page, text, _checked(after, str), line)


def _checked(value: Any, *types: type) -> Any:
    if type(value) not in types:
        raise ValueError(f"{type(value).__name__} where {types[0].__name__} was expected")
    return value
