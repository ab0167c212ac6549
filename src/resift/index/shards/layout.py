"""Where the shards of an index lie, and which shard an object belongs to. Does no I/O.

``URI/versions/`` has the versions of the whole, each of which names a version of each shard;
``URI/shards/000/`` is an ordinary index, and so are the others. All passages of an object are in
one shard. The number of shards never changes, because it decides where each object is.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import TypeVar

from resift.errors import IndexMismatch
from resift.index.storage.location import TABLE, Location

SHARDS = "shards"
"""The folder of the shards, below the index's location."""
FIRST_TABLE = f"{SHARDS}/000/{TABLE}"
"""The table of the first shard, which is made first: each index of shards has it."""

_SHARD_PATH = re.compile(rf"/{SHARDS}/[0-9]{{3,}}$")

T = TypeVar("T")


def shard_name(number: int) -> str:
    """The path of a shard below the index's location; `number` counts from 0."""
    return f"{SHARDS}/{number:03}"


def shard_location(location: Location, number: int) -> Location:
    """The location of a shard, which is that of an ordinary index; `number` counts from 0."""
    return replace(location, path=f"{location.prefix}{shard_name(number)}")


def whole_location(location: Location) -> Location | None:
    """The location that would be the whole's if this were that of a shard, by its path."""
    match = _SHARD_PATH.search(f"/{location.path}")
    return replace(location, path=f"/{location.path}"[: match.start()][1:]) if match else None


def shard_of(uri: str, count: int) -> int:
    """The shard of the object with this URI, from 0; always the same one."""
    digest = blake2b(uri.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count


def check_shard_count(uri: str, recorded: int, chosen: int | None) -> None:
    """Raise `IndexMismatch` if the chosen number of shards is not that of the index."""
    if chosen not in (None, recorded):
        has = f"it has {recorded}" if recorded > 1 else "it has none"
        raise IndexMismatch(
            f"{uri}: shards={chosen}: {has}, and this never changes: leave the choice out, or "
            "build a new index"
        )


def shards_of(uris: Iterable[str], count: int) -> set[int]:
    """The shards of the objects with these URIs."""
    return {shard_of(uri, count) for uri in uris}


def by_shard(items: Mapping[str, T], count: int) -> list[dict[str, T]]:
    """Split what is known of objects, by URI, into that of each shard."""
    parts: list[dict[str, T]] = [{} for _ in range(count)]
    for uri, item in items.items():
        parts[shard_of(uri, count)][uri] = item
    return parts
