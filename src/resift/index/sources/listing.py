"""The listing of a folder or a bucket: files, entries that are not read, and indexes.

Does no I/O.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from resift.errors import SourceError
from resift.index.shards.layout import FIRST_TABLE, SHARDS
from resift.index.storage.location import TABLE

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_INVALID_PARTS = {"": "an empty part", ".": "the part '.'", "..": "the part '..'"}
_BESIDE_TABLE = ("manifests", "versions")
_OF_SHARDS = (SHARDS, "versions")


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One file. `key` is its path below the source; `etag` changes when its content does."""

    key: str
    uri: str
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class UnreadEntry:
    """An entry that is not read, with the reason. `is_folder` is None if that is unknown."""

    key: str
    reason: str
    is_folder: bool | None = False


@dataclass(slots=True)
class RawListing:
    """The entries of a folder or a bucket's prefix.

    `unsupported` entries are never read: links, pipes, files with invalid names. `unseen` entries
    exist but could not be examined this time, such as folders without access rights; files below
    them do not count as deleted. `indexes` are folders of an index; they hold no documents.
    """

    files: list[SourceObject] = field(default_factory=list)
    unsupported: list[UnreadEntry] = field(default_factory=list)
    unseen: list[UnreadEntry] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    requests: int = 1


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object's bytes, with its ETag and, if the store keeps versions, its version.

    The ETag comes from the read, because the object may have changed since it was listed.
    """

    data: bytes
    etag: str
    version: str | None


def key_problem(key: str) -> str | None:
    """Return why an object with this key is not read; None for a valid key.

    Stores accept any bytes as a key. A key with an empty or dotted part would be the same path as
    another key, and control characters break lines, tables and terminals.
    """
    if _SURROGATE.search(key):
        return "its name is not UTF-8: rename it"
    if control := _CONTROL.search(key):
        return f"its name has the control character {control[0]!r}: rename it"
    part = next((part for part in key.split("/") if part in _INVALID_PARTS), None)
    return None if part is None else f"its name has {_INVALID_PARTS[part]}: rename it"


def escape_key(key: str) -> str:
    """Convert a key to text that can be stored: bytes that are not UTF-8 are escaped."""
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def refuse_large(size: int, max_bytes: int | None) -> None:
    """Raise `SourceError` if a file has too many bytes."""
    if max_bytes is not None and size > max_bytes:
        raise SourceError(f"{size:,} bytes, over the limit of {max_bytes:,} (max_bytes)")


# An index inside its own source must not be indexed: each sync would change it again.


def is_table(name: str) -> bool:
    """Whether a folder with this name is a Lance table, of resift or of another program."""
    return name.lower().endswith(".lance")


def is_part_of_index(name: str, siblings: Collection[str]) -> bool:
    """Whether a folder with these siblings is a part of an index.

    In an index of shards, the path `FIRST_TABLE` is one of the siblings.
    """
    if is_table(name) or (name in _BESIDE_TABLE and TABLE in siblings):
        return True
    return name in _OF_SHARDS and FIRST_TABLE in siblings


def index_folders(keys: Iterable[str]) -> set[str]:
    """Find the prefixes, without a slash at the end, that are parts of an index."""
    folders: set[str] = set()
    for key in keys:
        parts = key.split("/")[:-1]
        table = next((depth for depth, name in enumerate(parts) if is_table(name)), None)
        if table is not None:
            folders.add("/".join(parts[: table + 1]))
            if parts[table] == TABLE:
                folders |= {"/".join([*parts[:table], name]) for name in _BESIDE_TABLE}
            if parts[max(0, table - 2) : table + 1] == FIRST_TABLE.split("/"):
                folders |= {"/".join([*parts[: table - 2], name]) for name in _OF_SHARDS}
    return folders


def folder_of(key: str, folders: Collection[str]) -> str | None:
    """Find which of `folders` a key lies in."""
    end = key.find("/")
    while folders and end >= 0:
        if key[:end] in folders:
            return key[:end]
        end = key.find("/", end + 1)
    return None
