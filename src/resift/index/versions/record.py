"""The record of a version: what it names, as JSON that is checked where it is read. Does no I/O.

Anyone who can write to an index's folder or bucket can put anything into a record, and a name that
leads out of the index must not become a file on this machine. So each field has a check, which
raises `ValueError` that says what is wrong.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from functools import partial
from typing import Any

from resift.errors import IndexMismatch

FORMAT = 4
"""Raised by one whenever files or columns change their meaning."""

_MAX_NAME, _MAX_PART, _MAX_LINE = 1_024, 255, 65_536
_MAX_COUNT = 2**63 - 1
_MAX_EFFORT = 1_000_000
_MAX_FILES = 1_000_000
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """How vectors are searched: `kind` is ``exact`` or Lance's name of an approximate index.

    The index was built from `rows` rows in `partitions` partitions. A search reads all partitions
    with HNSW's ``ef`` set to `effort`. `recall` is the share of the exact 100 nearest rows that it
    finds, measured when it was built with `sample` short queries taken from the index's own texts.
    """

    kind: str = "exact"
    rows: int = 0
    partitions: int = 0
    effort: int = 0
    recall: float = 1.0
    sample: int = 0


@dataclass(frozen=True, slots=True)
class Version:
    """A published version. `number` counts from 1, `created` is UTC in ISO format.

    `table` identifies the table: an index that is deleted and made again has another one, whose
    versions have the same numbers. `files` are the table's files that this version needs,
    ``(path, bytes)``; they never change. `source_options` maps a source's URI to how it was read
    (`SourceOptions.to_json`).
    """

    number: int
    table: str
    table_version: int
    created: str
    embedder: str
    fingerprint: str
    passages: int
    documents: int
    manifest: str
    files: tuple[tuple[str, int], ...]
    vectors: VectorIndex = VectorIndex()
    note: str = ""
    source_options: Mapping[str, Any] = field(default_factory=dict, hash=False)


def write_record(version: Version) -> bytes:
    """The record of a version, as `read_record` reads it."""
    return json.dumps({"format": FORMAT} | asdict(version), indent=1).encode()


def read_record(body: bytes, number: int, uri: str) -> Version:
    """Read the record of version `number` of the index at `uri`.

    Raise `IndexMismatch` for another format and `ValueError` for what resift does not write.
    """
    record = read_object(body)
    check_format(_count(record.get("format")), uri)
    values = _read_fields(record, Version)
    if values["number"] != number:
        raise ValueError(f"number: {values['number']}, expected {number}")
    return Version(**values)


def check_format(number: int | None, uri: str) -> None:
    """Raise `IndexMismatch` for an index of another format, or of none."""
    if number != FORMAT:
        remedy = "update resift" if number and number > FORMAT else "build a new index"
        raise IndexMismatch(f"{uri}: index format {number}, expected {FORMAT}: {remedy}")


def read_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object; raise `ValueError` for anything else, and for NaN and Infinity."""
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    return value


def path_inside(value: Any) -> str:
    """A relative path of plain parts, which cannot lead out of the folder that it is put into."""
    name = _line(value)
    parts = name.split("/")
    if len(name) > _MAX_NAME or "\\" in name:
        raise ValueError(f"{_shown(name)}: expected a short path without backslashes")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{_shown(name)}: expected a path inside of the index")
    if any(len(part.encode()) > _MAX_PART for part in parts):
        raise ValueError(f"{_shown(name)}: expected parts of at most {_MAX_PART} bytes")
    return name


def _single_name(value: Any) -> str:
    name = path_inside(value)
    if "/" in name or name.startswith("."):
        raise ValueError(f"{_shown(name)}: expected one name, without a slash or a dot before it")
    return name


def _manifest_name(value: Any) -> str:
    name = path_inside(value)
    if not name.startswith("manifests/"):  # a clean-up deletes it
        raise ValueError("expected a name below manifests/")
    return name


def _line(value: Any) -> str:
    """A text without control characters and lone surrogates."""
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)}: expected a text")
    if len(value) > _MAX_LINE or _CONTROLS.search(value):
        raise ValueError(f"{_shown(value)}: expected one line without control characters")
    return value


def _count(value: Any, least: int = 0, most: int = _MAX_COUNT) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{_shown(value)}: expected a whole number from {least} to {most}")
    return value


def _share(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ValueError(f"{_shown(value)}: expected a number from 0 to 1")
    return float(value)


def _time(value: Any) -> str:
    if datetime.fromisoformat(_line(value)).tzinfo is None:
        raise ValueError(f"{_shown(value)}: expected a time with its zone")
    return str(value)


def _mapping(value: Any) -> dict[str, Any]:
    """A JSON object, whose values are checked where they are used."""
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)}: expected an object")
    return value


def _files(value: Any) -> tuple[tuple[str, int], ...]:
    """Pairs of a path inside and a size in bytes, each path once."""
    if not isinstance(value, list) or len(value) > _MAX_FILES:
        raise ValueError("files: expected a list of paths with their sizes")
    pairs = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"{_shown(pair)}: expected a path and a size")
        pairs.append((path_inside(pair[0]), _count(pair[1])))
    if len({path for path, _ in pairs}) < len(pairs):
        raise ValueError("files: one of them is named twice")
    return tuple(pairs)


def _vector_index(value: Any) -> VectorIndex:
    if not isinstance(value, dict) or value.keys() - {item.name for item in fields(VectorIndex)}:
        raise ValueError("expected an object that says how vectors are searched")
    index = VectorIndex(**_read_fields(value, VectorIndex))
    if index.kind != "exact" and not (index.partitions and index.effort):
        raise ValueError("expected partitions and an effort")
    return index


_CHECK_BY_TYPE: Mapping[Any, Callable[[Any], Any]] = {int: _count, str: _line, float: _share}
_CHECK_BY_FIELD: Mapping[str, Callable[[Any], Any]] = {
    "number": partial(_count, least=1),
    "table": _single_name,
    "table_version": partial(_count, least=1),
    "created": _time,
    "manifest": _manifest_name,
    "files": _files,
    "vectors": _vector_index,
    "source_options": _mapping,
    "partitions": partial(_count, most=_MAX_EFFORT),
    "effort": partial(_count, most=_MAX_EFFORT),
}


def _read_fields(record: Mapping[str, Any], kind: type[Version | VectorIndex]) -> dict[str, Any]:
    """The fields of a `kind`, each checked; others in `record` are ignored."""
    values = {}
    for item in fields(kind):
        name = item.name
        if name not in record:
            raise ValueError(f"it has no {name}")
        check = _CHECK_BY_FIELD.get(name) or _CHECK_BY_TYPE[item.type]
        try:
            values[name] = check(record[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return values


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name}: no number in JSON")


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
