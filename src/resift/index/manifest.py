"""The manifest of a version: an entry for each object, with which a sync compares the source."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex

from resift.extras import require
from resift.index.table.rows import ORIGIN_COLUMNS, Origin

_COLUMNS = ("passages", "precomputed_by", "problems")


@dataclass(frozen=True, slots=True)
class Entry:
    """One object: how it was read, and the result.

    `passages` is 0 for an object that could not be indexed; `problems` tell why, or which of its
    parts could not be indexed. `precomputed_by` is the model of its token states, if it has any.
    """

    origin: Origin
    passages: int
    precomputed_by: str | None = None
    problems: tuple[str, ...] = ()


def new_attempt() -> str:
    """Make the id of a sync that begins now; later ids of this machine are greater."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{token_hex(3)}"


def attempt_after(entries: Iterable[Entry], attempt: str) -> str:
    """Return `attempt`, or a greater id if another machine's clock is ahead of this one's."""
    last = max((entry.origin.attempt for entry in entries), default="")
    return attempt if attempt > last else f"{last}~{token_hex(3)}"


def to_parquet(entries: Mapping[str, Entry]) -> bytes:
    """Write entries as a Parquet file, ordered by URI."""
    arrow = require("pyarrow", "index")
    parquet = require("pyarrow.parquet", "index")
    ordered = [entries[uri] for uri in sorted(entries)]
    columns = {name: [getattr(entry.origin, name) for entry in ordered] for name in ORIGIN_COLUMNS}
    columns |= {name: [getattr(entry, name) for entry in ordered] for name in _COLUMNS}
    kinds = {"size": arrow.int64(), "passages": arrow.int64(), "content": arrow.binary()}
    kinds["problems"] = arrow.list_(arrow.string())
    schema = arrow.schema([(name, kinds.get(name, arrow.string())) for name in columns])
    buffer = io.BytesIO()
    parquet.write_table(arrow.table(columns, schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(data: bytes) -> dict[str, Entry]:
    """Read entries, by URI."""
    # `read_table` always scans in Arrow's threads. They release `data` late; if Python is ending
    # then, the process is aborted (6 runs of 80).
    parquet = require("pyarrow.parquet", "index")
    table = parquet.ParquetFile(io.BytesIO(data), pre_buffer=False).read(use_threads=False)
    origins = map(Origin, *(table[name].to_pylist() for name in ORIGIN_COLUMNS))
    columns = zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True)
    return {
        origin.uri: Entry(origin, passages, precomputed_by, tuple(problems))
        for origin, (passages, precomputed_by, problems) in zip(origins, columns, strict=True)
    }


def latest_attempts(entries: Iterable[Entry]) -> tuple[dict[str, Entry], list[Entry]]:
    """Return the latest entry of each object, by URI, and the entries that these replace."""
    current: dict[str, Entry] = {}
    replaced = []
    for entry in entries:
        other = current.get(entry.origin.uri)
        if other is None:
            current[entry.origin.uri] = entry
        elif other.origin.attempt < entry.origin.attempt:
            current[entry.origin.uri] = entry
            replaced.append(other)
        else:
            replaced.append(entry)
    return current, replaced
