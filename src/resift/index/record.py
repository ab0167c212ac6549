"""The record of a version: what it names, as JSON that is checked where it is read. Does no I/O."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from resift.errors import IndexMismatch
from resift.index import names

# Raised by one whenever files or columns change their meaning.
FORMAT = 3
_MOST_EFFORT = 1_000_000


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """How vectors are searched: `kind` is ``exact`` or Lance's name of an approximate index.

    `rows` it was made of, in so many `partitions`; all of them are searched, as far as `effort`
    (HNSW's ef). `recall` is the share of the exact 100 nearest that this finds, measured when it
    was made on `sample` short queries out of the index's own texts.
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

    `table` names the table itself: another one may be made in its place some day, with versions of
    the same numbers. `files` are all files of it that are needed, ``(path, bytes)``; none of them
    ever changes. `source_options` says how each source was read, by its URI (`SourceOptions.to_json`).
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
    """Read the record of version `number` at `uri`, whoever has written it.

    Raise `IndexMismatch` for another format and `ValueError` for what no resift has written.
    """
    record = names.read_object(body)
    found = names.count(record.get("format"))
    if found != FORMAT:
        remedy = "update resift" if found > FORMAT else "index into a new place"
        raise IndexMismatch(f"{uri}: index format {found}, expected {FORMAT}: {remedy}")
    record.setdefault("source_options", {})  # of a version that remembers none
    values = names.read_fields(record, _FIELDS)
    if values["number"] != number:
        raise ValueError(f"number: {values['number']}, expected {number}")
    return Version(**values)


def _read_vectors(value: Any) -> VectorIndex:
    if not isinstance(value, dict) or value.keys() - _VECTOR_FIELDS.keys():
        raise ValueError("expected an object that says how vectors are searched")
    how = VectorIndex(**names.read_fields(value, _VECTOR_FIELDS))
    if how.kind != "exact" and not (how.partitions and how.effort):
        raise ValueError("expected partitions and an effort")
    return how


def _read_manifest_name(value: Any) -> str:
    name = names.path_inside(value)
    if not name.startswith("manifests/"):  # a clean-up deletes it
        raise ValueError("expected a name below manifests/")
    return name


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "number": partial(names.count, least=1),
    "table": names.single_name,
    "table_version": partial(names.count, least=1),
    "created": names.moment,
    "embedder": names.line,
    "fingerprint": names.line,
    "passages": names.count,
    "documents": names.count,
    "manifest": _read_manifest_name,
    "files": names.files,
    "vectors": _read_vectors,
    "note": names.line,
    "source_options": names.mapping,
}
_VECTOR_FIELDS: dict[str, Callable[[Any], Any]] = {
    "kind": names.line,
    "rows": names.count,
    "partitions": partial(names.count, most=_MOST_EFFORT),
    "effort": partial(names.count, most=_MOST_EFFORT),
    "recall": names.share,
    "sample": names.count,
}
