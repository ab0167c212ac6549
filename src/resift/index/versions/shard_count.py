"""The number of shards of an index, in a file that is created once, before its first version.

It decides where each object is while there is no version that says so.
"""

import json
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass

from resift.extras import require
from resift.index.shards.layout import SHARDS
from resift.index.storage.errors import store_errors
from resift.index.storage.local import NotAFile
from resift.index.storage.location import Location
from resift.index.versions.files import IndexFiles
from resift.index.versions.published import Damaged
from resift.index.versions.record import (
    MAX_SHARDS,
    SHARDED_FORMAT,
    check_count,
    check_format,
    check_single_name,
    read_json_object,
)

_FILE = f"{SHARDS}/shards.json"
_MAX_BYTES = 65_536  # larger ones were not written by resift
_REBUILD = "restore it, or build a new index"
_DELETE = "delete it, and the next sync restores it"


@dataclass(frozen=True, slots=True)
class ShardCount:
    """The number of shards of an index, and the id of the whole; both never change."""

    shards: int
    table: str


def claimed_shards(location: Location) -> ShardCount | None:
    """Read how many shards the index has; None if that is not recorded."""
    return _read(location, _REBUILD)


def claim_shards(location: Location, count: int) -> ShardCount:
    """Record the number of shards of a new index; return what is recorded, by whomever.

    The folder of a shard must exist.
    """
    return _create(location, ShardCount(count, uuid.uuid4().hex))


def restore_shard_count(location: Location, count: ShardCount) -> None:
    """Record the number of shards of an index with versions again, if it is lost.

    Raise `Damaged` for anything else than `count`: it is not provably ours, and a sync without
    versions would act on it.
    """
    recorded = _read(location, _DELETE) or _create(location, count)
    if recorded != count:
        raise Damaged(
            f"{location.uri}: {_FILE} names {recorded.shards} shards of {recorded.table}, expected "
            f"{count.shards} of {count.table}, as its versions do: {_DELETE}"
        )


def _create(location: Location, count: ShardCount) -> ShardCount:
    obstore = require("obstore", "index")
    already_exists = require("obstore.exceptions", "index").AlreadyExistsError
    body = json.dumps({"format": SHARDED_FORMAT} | asdict(count), indent=1).encode()
    with store_errors(location), suppress(already_exists):
        obstore.put(IndexFiles(location, patient=True).store, _FILE, body, mode="create")
    claimed = claimed_shards(location)
    if claimed is None:
        raise Damaged(f"{location.uri}: {_FILE} was deleted just now: sync again")
    return claimed


def _read(location: Location, remedy: str) -> ShardCount | None:
    try:
        body = IndexFiles(location).read(_FILE, _MAX_BYTES)
    except FileNotFoundError:
        return None
    except NotAFile as error:
        raise Damaged(f"{location.uri}: {error}: {remedy}") from error
    try:
        record = read_json_object(body)
        check_format(check_count(record.get("format")), location.uri, SHARDED_FORMAT)
        count = check_count(record.get("shards"), 2, MAX_SHARDS)
        return ShardCount(count, check_single_name(record.get("table")))
    except ValueError as error:
        raise Damaged(f"{location.uri}: {_FILE} is damaged ({error}): {remedy}") from error
