"""Published versions opened for searching: in place, or as a copy on this machine's disk."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resift.errors import IndexMismatch, IndexNotFound, NoCopy, StoreError
from resift.extras import require
from resift.index.faults import is_down
from resift.index.location import Location
from resift.index.snapshot import Snapshot, reading
from resift.index.table import open_table
from resift.index.versions import Version, Versions
from resift.settings import Settings, StorageSettings

if TYPE_CHECKING:
    from resift.index.hydrate import Cache, Local

# What Lance may keep in memory of indexes and file footers; its own defaults are gigabytes.
_READER_CACHE = {"index_cache_size_bytes": 1 << 30, "metadata_cache_size_bytes": 128 << 20}


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


def open_latest(
    place: Location,
    settings: Settings,
    versions: Versions,
    number: int | None,
    fingerprint: Callable[[Version], str],
) -> Snapshot:
    """Open the version asked for, or the newest; `fingerprint` is of the embedder it is read with.

    A store that is down is no reason not to answer where a copy lies on this machine's disk: then
    that is opened, and `Snapshot.notes` say so. Raises as `find_version` and `open_version` do.
    """
    try:
        version = find_version(place, versions, number)
        return open_version(place, settings, version, fingerprint(version))
    except StoreError as error:
        cache = _cache(place, settings) if is_down(error.__cause__) else None
        version_there = cache.newest(place, number) if cache else None
        if version_there is None:
            raise
        note = (
            f"{error}; version {version_there.number} was read from its copy on this disk, "
            "and there may be a newer one"
        )
        return open_version(place, settings, version_there, fingerprint(version_there), (note,))


def open_version(
    location: Location,
    settings: Settings,
    version: Version,
    fingerprint: str,
    notes: tuple[str, ...] = (),
) -> Snapshot:
    """Open a version; raise `IndexMismatch` if its vectors come from another embedder."""
    if version.fingerprint != fingerprint:
        raise IndexMismatch(
            f"{location.uri}: made by embedder {version.embedder} ({version.fingerprint}), "
            f"not by {fingerprint}: set RESIFT_EMBEDDER={version.embedder}"
        )
    session = require("lance", "index").Session(**_READER_CACHE)
    options: dict[str, Any] = {"version": version.table_version, "session": session}
    if cache := _cache(location, settings):
        try:
            with reading(location.uri, version):
                local = cache.hydrate(location, settings.storage, version)
        except NoCopy as error:
            local, notes = None, (*notes, f"{error}; the index was read in place")
        if local is not None:
            return _snapshot_of_copy(location.uri, version, local, options, notes)
    return Snapshot(
        location.uri,
        version,
        lambda: open_table(location, settings.storage, **options),
        is_local=location.bucket is None,
        notes=notes,
    )


def _snapshot_of_copy(
    uri: str, version: Version, local: "Local", options: dict[str, Any], notes: tuple[str, ...]
) -> Snapshot:
    def open_copy() -> Any:
        # `local` goes with the snapshot, and with it the lock on this version.
        return open_table(Location(None, local.path), StorageSettings(), **options)

    return Snapshot(uri, version, open_copy, is_local=True, notes=notes)


def _cache(location: Location, settings: Settings) -> "Cache | None":
    """The folder for copies, where one is named and there is anything to copy."""
    if not location.bucket or not settings.cache_dir:
        return None
    from resift.index.hydrate import Cache  # only here: it needs file locks, which not all have

    return Cache(Path(settings.cache_dir).expanduser(), settings.cache_gb << 30)
