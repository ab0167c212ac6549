"""Published versions opened for searching: in place, or as a copy on this machine's disk."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resift.errors import IndexMismatch, NoCopy, StoreError
from resift.extras import require
from resift.files import from_home
from resift.index.snapshot import Snapshot, reading_version
from resift.index.storage import local
from resift.index.storage.errors import is_down
from resift.index.storage.location import TABLE, Location
from resift.index.table import open_table
from resift.index.versions import Version, Versions
from resift.settings import Settings

if TYPE_CHECKING:
    from resift.index.storage.copies import CopyCache, LocalCopy

# What Lance may keep in memory of indexes and file footers; its own defaults are gigabytes.
_READER_CACHE = {"index_cache_size_bytes": 1 << 30, "metadata_cache_size_bytes": 128 << 20}

GIGABYTE = 1 << 30


def load() -> None:
    """Import what opening takes, which is a good part of a first search; nothing is read."""
    require("lance", "index")


def find_version(location: Location, versions: Versions, number: int | None) -> Version:
    """The version asked for, or the newest; raise `IndexNotFound` if there is none."""
    if number is not None:
        return versions.get(number)
    version = versions.newest()
    if version is None:
        raise versions.no_index()
    return version


@dataclass(frozen=True, slots=True)
class Choice:
    """A version to read: the newest, or `pinned`. `notes` say where it is not as that promises."""

    version: Version
    pinned: int | None = None
    notes: tuple[str, ...] = ()


def choose_version(
    location: Location, settings: Settings, versions: Versions, pinned: int | None
) -> Choice:
    """Find the version to read as `find_version` does.

    A store that is down is no reason not to answer where a copy lies on this machine's disk: then
    it is the version of that.
    """
    try:
        return Choice(find_version(location, versions, pinned), pinned)
    except StoreError as error:
        if (copy := _copy(location, settings, pinned, error)) is None:
            raise
        return copy


def open_choice(location: Location, settings: Settings, choice: Choice) -> Snapshot:
    """Open what was chosen, or an older copy where the store goes down meanwhile."""
    try:
        return open_version(location, settings, choice.version, notes=choice.notes)
    except StoreError as error:
        copy = _copy(location, settings, choice.pinned, error)
        if copy is None or copy.version.fingerprint != choice.version.fingerprint:
            raise
        return open_version(location, settings, copy.version, notes=copy.notes)


def check_embedder(location: Location, version: Version, fingerprint: str) -> None:
    """Raise `IndexMismatch` if a version's vectors come from another embedder."""
    if version.fingerprint != fingerprint:
        raise IndexMismatch(
            f"{location.uri}: made by embedder {version.embedder} ({version.fingerprint}), "
            f"not by {fingerprint}: set RESIFT_EMBEDDER={version.embedder}"
        )


def open_version(
    location: Location,
    settings: Settings,
    version: Version,
    fingerprint: str | None = None,
    notes: tuple[str, ...] = (),
) -> Snapshot:
    """Open a version; with `fingerprint` check first that it has that embedder's vectors."""
    if fingerprint is not None:
        check_embedder(location, version, fingerprint)
    session = require("lance", "index").Session(**_READER_CACHE)
    options: dict[str, Any] = {"version": version.table_version, "session": session}
    if cache := _cache(location, settings):
        try:
            with reading_version(location.uri, version):
                copy = cache.hydrate(location, version)
        except NoCopy as error:
            copy, notes = None, (*notes, f"{error}; the index was read in place")
        if copy is not None:
            return _snapshot_of_copy(location.uri, version, copy, options, notes)
    if not location.bucket:
        with reading_version(location.uri, version):
            local.check_files(location.folder / TABLE, (name for name, _ in version.files))
    return Snapshot(
        location.uri,
        version,
        lambda: open_table(location, **options),
        is_local=location.bucket is None,
        notes=notes,
    )


def _copy(
    location: Location, settings: Settings, pinned: int | None, error: StoreError
) -> Choice | None:
    """What lies on this machine's disk, where `error` says that the store is down."""
    cache = _cache(location, settings) if is_down(error.__cause__) else None
    version = cache.newest(location, pinned) if cache else None
    if version is None:
        return None
    note = (
        f"{error}; version {version.number} was read from its copy on this disk, "
        "and there may be a newer one"
    )
    return Choice(version, pinned, (note,))


def _snapshot_of_copy(
    uri: str, version: Version, copy: "LocalCopy", options: dict[str, Any], notes: tuple[str, ...]
) -> Snapshot:
    def open_copy() -> Any:
        # `copy` goes with the snapshot, and with it the lock on this version.
        return open_table(Location(None, copy.path), **options)

    return Snapshot(uri, version, open_copy, is_local=True, notes=notes)


def _cache(location: Location, settings: Settings) -> "CopyCache | None":
    """The folder for copies, where one is named and there is anything to copy."""
    if not location.bucket or not settings.cache_dir:
        return None
    from resift.index.storage.copies import CopyCache  # it needs fcntl, which Windows lacks

    return CopyCache(from_home(settings.cache_dir), settings.cache_gb * GIGABYTE)
