"""The record of a version, as JSON. Does no I/O.

Anyone who can write to an index's folder or bucket can put anything into a record, for example a
path outside of the index. So each field has a check, which raises `ValueError` with the reason.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from functools import partial
from typing import Any

from resift.errors import IndexMismatch
from resift.index.analysis.spec import ENGLISH_WORDS, AnalyserSpec, check_rules, checked_spec

FORMAT = 5
"""The format of a table and its version. Increase it whenever files or columns change meaning."""
SHARDED_FORMAT = 6
"""The format of a version of an index of shards, whose tables have the format `FORMAT`."""
MAX_SHARDS = 1_000

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
    finds. It was measured at the build, with `sample` short queries taken from indexed texts.
    `spread` is the standard deviation of cosines between sampled passages, 0 for too few of them.
    """

    kind: str = "exact"
    rows: int = 0
    partitions: int = 0
    effort: int = 0
    recall: float = 1.0
    sample: int = 0
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Version:
    """A published version. `number` counts from 1, `created` is UTC in ISO format.

    `table` is the id of the table: an index that is deleted and made again has another id and the
    same version numbers. `files` are the table's files that this version needs, ``(path, bytes)``;
    they never change. `source_options` maps a source's URI to `SourceOptions.to_json`.

    In an index of shards, `shards` has the number of each shard's version, in order; 0 stands for
    a shard that has none, and no documents. `shard_tables` has the id of each shard's table, "" for
    such a shard. A version of the whole has no table of its making:
    `manifest` is "", `files` has the folder of each shard with the bytes of its files, `vectors`
    summarises those of the shards, and `table` is the id of the whole.
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
    analyser: AnalyserSpec = ENGLISH_WORDS
    note: str = ""
    source_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    shards: tuple[int, ...] = ()
    shard_tables: tuple[str, ...] = ()


def write_record(version: Version) -> bytes:
    """Write the record of a version, for `read_record`."""
    record = {"format": SHARDED_FORMAT if version.shards else FORMAT} | asdict(version)
    if not version.shards:
        del record["shards"], record["shard_tables"]
    return json.dumps(record, indent=1).encode()


def read_record(body: bytes, number: int, uri: str) -> Version:
    """Read the record of version `number` of the index at `uri`.

    Raise `IndexMismatch` for another format, or other rules of the analyser, and `ValueError` for
    malformed content.
    """
    record = read_json_object(body)
    format_ = check_count(record.get("format"))
    if format_ != SHARDED_FORMAT:
        check_format(format_, uri)
        record = record | {"shards": [], "shard_tables": []}
    values = _read_fields(record, Version)
    if values["number"] != number:
        raise ValueError(f"number: {values['number']}, expected {number}")
    if bool(values["shards"]) != (format_ == SHARDED_FORMAT):
        raise ValueError("shards: expected the versions of at least 2 shards")
    if list(map(bool, values["shards"])) != list(map(bool, values["shard_tables"])):
        raise ValueError("shard_tables: expected the table of each shard that has a version")
    if bool(values["manifest"]) == bool(values["shards"]):
        raise ValueError("manifest: expected a name, but none for an index of shards")
    check_rules(values["analyser"], uri)
    return Version(**values)


def check_format(number: int | None, uri: str, expected: int | None = None) -> None:
    """Raise `IndexMismatch` unless `number` is the expected format, by default the current one."""
    expected = FORMAT if expected is None else expected
    if number != expected:
        remedy = "update resift" if number and number > expected else "build a new index"
        raise IndexMismatch(f"{uri}: index format {number}, expected {expected}: {remedy}")


def read_json_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object; raise `ValueError` for anything else, and for NaN and Infinity."""
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    return value


def check_relative_path(value: Any) -> str:
    """Return a relative path that stays below the folder it is appended to."""
    name = _check_line(value)
    parts = name.split("/")
    if len(name) > _MAX_NAME or "\\" in name:
        raise ValueError(f"{_shown(name)}: expected a short path without backslashes")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{_shown(name)}: expected a path inside of the index")
    if any(len(part.encode()) > _MAX_PART for part in parts):
        raise ValueError(f"{_shown(name)}: expected parts of at most {_MAX_PART} bytes")
    return name


def check_single_name(value: Any) -> str:
    """Return a name that stays below the folder it is appended to, without a slash."""
    name = check_relative_path(value)
    if "/" in name or name.startswith("."):
        raise ValueError(f"{_shown(name)}: expected one name, without a slash or a dot before it")
    return name


def _check_manifest_name(value: Any) -> str:
    if value == "":
        return ""
    name = check_relative_path(value)
    if not name.startswith("manifests/"):  # `Versions.remove` deletes this file
        raise ValueError("expected a name below manifests/")
    return name


def _check_line(value: Any) -> str:
    """Return a text without control characters and lone surrogates."""
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)}: expected a text")
    if len(value) > _MAX_LINE or _CONTROLS.search(value):
        raise ValueError(f"{_shown(value)}: expected one line without control characters")
    return value


def check_count(value: Any, least: int = 0, most: int = _MAX_COUNT) -> int:
    """Return a whole number from `least` to `most`."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{_shown(value)}: expected a whole number from {least} to {most}")
    return value


def _check_share(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ValueError(f"{_shown(value)}: expected a number from 0 to 1")
    return float(value)


def _check_time(value: Any) -> str:
    if datetime.fromisoformat(_check_line(value)).tzinfo is None:
        raise ValueError(f"{_shown(value)}: expected a time with its zone")
    return str(value)


def _check_mapping(value: Any) -> dict[str, Any]:
    """Return a JSON object; its values are checked where they are used."""
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)}: expected an object")
    return value


def _check_files(value: Any) -> tuple[tuple[str, int], ...]:
    """Return pairs of a path in the table and its size in bytes; no path occurs twice."""
    if not isinstance(value, list) or len(value) > _MAX_FILES:
        raise ValueError("files: expected a list of paths with their sizes")
    pairs = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"{_shown(pair)}: expected a path and a size")
        pairs.append((check_relative_path(pair[0]), check_count(pair[1])))
    if len({path for path, _ in pairs}) < len(pairs):
        raise ValueError("files: one of them is named twice")
    return tuple(pairs)


def _check_shards(value: Any) -> tuple[int, ...]:
    """Return the number of each shard's version; at least one shard has a version."""
    if not isinstance(value, list) or len(value) == 1 or len(value) > MAX_SHARDS:
        raise ValueError(f"{_shown(value)}: expected the versions of 2 to {MAX_SHARDS:,} shards")
    numbers = tuple(map(check_count, value))
    if numbers and not any(numbers):
        raise ValueError("expected a version of at least one shard")
    return numbers


def _check_shard_tables(value: Any) -> tuple[str, ...]:
    """Return the id of each shard's table; "" stands for none."""
    if not isinstance(value, list) or len(value) > MAX_SHARDS:
        raise ValueError(f"{_shown(value)}: expected the tables of 2 to {MAX_SHARDS:,} shards")
    return tuple(table if table == "" else check_single_name(table) for table in value)


def _check_vector_index(value: Any) -> VectorIndex:
    if not isinstance(value, dict) or value.keys() - {item.name for item in fields(VectorIndex)}:
        raise ValueError("expected an object that says how vectors are searched")
    index = VectorIndex(**_read_fields(value, VectorIndex))
    if index.kind != "exact" and not (index.partitions and index.effort):
        raise ValueError("expected partitions and an effort")
    return index


def _check_analyser(value: Any) -> AnalyserSpec:
    names = {item.name for item in fields(AnalyserSpec)}
    if not isinstance(value, dict) or value.keys() != names:
        raise ValueError("expected an object with the analyser's name, language and rules")
    return checked_spec(**value)


_CHECK_BY_TYPE: Mapping[Any, Callable[[Any], Any]] = {
    int: check_count,
    str: _check_line,
    float: _check_share,
}
_CHECK_BY_FIELD: Mapping[str, Callable[[Any], Any]] = {
    "number": partial(check_count, least=1),
    "table": check_single_name,
    "table_version": partial(check_count, least=1),
    "created": _check_time,
    "manifest": _check_manifest_name,
    "files": _check_files,
    "shards": _check_shards,
    "shard_tables": _check_shard_tables,
    "vectors": _check_vector_index,
    "analyser": _check_analyser,
    "source_options": _check_mapping,
    "partitions": partial(check_count, most=_MAX_EFFORT),
    "effort": partial(check_count, most=_MAX_EFFORT),
}


def _read_fields(record: Mapping[str, Any], kind: type[Version | VectorIndex]) -> dict[str, Any]:
    """Check the fields of a `kind`; ignore other fields of `record`."""
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
    raise ValueError(f"{name}: not a number in JSON")


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
