"""Published versions opened for searching: in place, or as a copy on this machine's disk."""

from typing import TYPE_CHECKING, Any

from resift.errors import IndexMismatch, IndexNotFound
from resift.extras import require
from resift.files import from_home
from resift.index.faults import store_errors
from resift.index.location import Location
from resift.index.snapshot import Snapshot
from resift.index.table import open_table
from resift.index.versions import Version, Versions
from resift.settings import Settings

if TYPE_CHECKING:
    from resift.index.hydrate import Local

# What Lance may keep in memory of indexes and file footers; its own defaults are gigabytes.
_READER_CACHE = {"index_cache_size_bytes": 1 << 30, "metadata_cache_size_bytes": 128 << 20}


def load() -> None:
    """Import what opening takes, which is a good part of a first search; nothing is read."""
    require("lance", "index")


def find_version(location: Location, versions: Versions, number: int | None) -> Version:
    """The version asked for, or the newest; raise `IndexNotFound` if there is none."""
    if number is not None:
        return versions.get(number)
    version = versions.newest()
    if version is None:
        raise IndexNotFound(
            f"{location.uri}: no index there: make one with  "
            f"resift index SOURCE --index {location.uri}"
        )
    return version


def check_embedder(location: Location, version: Version, fingerprint: str) -> None:
    """Raise `IndexMismatch` if a version's vectors come from another embedder."""
    if version.fingerprint != fingerprint:
        raise IndexMismatch(
            f"{location.uri}: made by embedder {version.embedder} ({version.fingerprint}), "
            f"not by {fingerprint}: set RESIFT_EMBEDDER={version.embedder}"
        )


def open_version(
    location: Location, settings: Settings, version: Version, fingerprint: str | None = None
) -> Snapshot:
    """Open a version; with `fingerprint` check first that it has that embedder's vectors."""
    if fingerprint is not None:
        check_embedder(location, version, fingerprint)
    session = require("lance", "index").Session(**_READER_CACHE)
    options: dict[str, Any] = {"version": version.table_version, "session": session}
    if location.bucket and settings.cache_dir:
        local = _hydrate(location, settings, version)
        if local is not None:

            def open_copy() -> Any:
                # `local` goes with the snapshot, and with it the lock on this version.
                return open_table(Location(None, local.path), settings.storage, **options)

            return Snapshot(location.uri, version, open_copy, is_local=True)
    return Snapshot(
        location.uri,
        version,
        lambda: open_table(location, settings.storage, **options),
        is_local=location.bucket is None,
    )


def _hydrate(location: Location, settings: Settings, version: Version) -> "Local | None":
    from resift.index.hydrate import Cache  # only here: it needs file locks, which not all have

    cache = Cache(from_home(str(settings.cache_dir)), settings.cache_gb << 30)
    with store_errors(location.uri):
        return cache.hydrate(location, settings.storage, version)
