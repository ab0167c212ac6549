"""Opens published versions for searching, in the store or as a copy on the local disk."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from resift.background import Background
from resift.errors import IndexMismatch, NoCopy, StoreError
from resift.extras import require
from resift.files import from_home
from resift.index.shards.layout import shard_location
from resift.index.storage import local
from resift.index.storage.errors import is_down
from resift.index.storage.location import TABLE, Location
from resift.index.table.dataset import open_table
from resift.index.table.sharded import OpenVersion, ShardedSnapshot, whole_errors
from resift.index.table.snapshot import Snapshot, version_errors
from resift.index.versions.published import Versions
from resift.index.versions.record import Version
from resift.settings import Settings

if TYPE_CHECKING:
    from resift.index.storage.copies import CopyCache

# Lance's caches of indexes and file footers; its defaults are gigabytes.
_CACHE_SIZES = {"index_cache_size_bytes": 1 << 30, "metadata_cache_size_bytes": 128 << 20}
GIGABYTE = 1 << 30
_SHARDS_AT_ONCE = 16


def import_lance() -> None:
    """Import Lance, which takes much of the time of a first search."""
    require("lance", "index")


@dataclass(frozen=True, slots=True)
class Choice:
    """The version to read: the newest, or `pinned`. If it is neither, `notes` have the reason."""

    version: Version
    pinned: int | None = None
    notes: tuple[str, ...] = ()


def choose_version(
    location: Location, settings: Settings, versions: Versions, pinned: int | None
) -> Choice:
    """Find the version to read: `pinned`, or the newest.

    If the store is down, choose the newest version that has a copy on this machine's disk.
    """
    try:
        return Choice(versions.find(pinned), pinned)
    except StoreError as error:
        copy = _newest_copy(location, settings, pinned, error)
        if copy is None:
            raise
        return copy


def open_choice(location: Location, settings: Settings, choice: Choice) -> OpenVersion:
    """Open the chosen version, or an older copy if the store has gone down since it was chosen."""
    try:
        return open_version(location, settings, choice.version, notes=choice.notes)
    except StoreError as error:
        copy = _newest_copy(location, settings, choice.pinned, error)
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
    location: Location, settings: Settings, version: Version, notes: tuple[str, ...] = ()
) -> OpenVersion:
    """Open a version for searching. `notes` tell that it is a copy, if the store is down."""
    cache = _cache(location, settings)
    if not version.shards:
        return _open_table_version(location, cache, version, notes)
    copy = None
    if cache:
        try:
            copy = cache.hydrate(location, version)  # of the record: shards have copies of theirs
        except NoCopy as error:
            notes = (*notes, f"{error}; the index was read in place")
    opener = _ShardOpener(location, cache if copy else None, version, is_down=bool(notes and copy))
    return ShardedSnapshot(location.uri, version, opener.run(), notes, copy)


def _open_table_version(
    location: Location, cache: "CopyCache | None", version: Version, notes: tuple[str, ...] = ()
) -> Snapshot:
    session = require("lance", "index").Session(**_CACHE_SIZES)
    options: dict[str, Any] = {"version": version.table_version, "session": session}
    copy = None
    if cache:
        try:
            with version_errors(location.uri, version):
                copy = cache.hydrate(location, version)
        except NoCopy as error:
            notes = (*notes, f"{error}; the index was read in place")
    if copy is None and not location.bucket:
        with version_errors(location.uri, version):
            local.check_files(location.folder / TABLE, (name for name, _ in version.files))

    def open_snapshot_table() -> Any:
        if copy is None:
            return open_table(location, **options)
        # The snapshot keeps `copy`, and with it the lock on this version.
        return open_table(Location(None, copy.path), **options)

    is_local = copy is not None or location.bucket is None
    return Snapshot(location.uri, version, open_snapshot_table, is_local, notes)


@dataclass(frozen=True, slots=True)
class _ShardOpener:
    """Opens the shards of a version side by side, each at the version that it names.

    If the store is down, a shard's version is read from its copy on this machine's disk.
    """

    location: Location
    cache: "CopyCache | None"
    version: Version
    is_down: bool

    def run(self) -> dict[int, Snapshot]:
        """Open the shards that have a version, by number."""
        # Not a thread pool: the interpreter would wait at its end for downloads.
        background = Background(_SHARDS_AT_ONCE, "resift-open-shards")
        jobs = {
            shard: background.run(partial(self._open, shard))
            for shard, number in enumerate(self.version.shards)
            if number
        }
        try:
            return {shard: job.result() for shard, job in jobs.items()}
        finally:
            background.end()

    def _open(self, shard: int) -> Snapshot:
        whole = self.version
        version = self._version(shard)
        location = shard_location(self.location, shard)
        if (version.fingerprint, version.analyser) != (whole.fingerprint, whole.analyser):
            raise IndexMismatch(
                f"{location.uri}: made by embedder {version.embedder} and {version.analyser}, "
                f"expected {whole.embedder} and {whole.analyser}, as the other shards: roll back, "
                "or build a new index"
            )
        with whole_errors(self.location.uri, whole, shard):
            return _open_table_version(location, self.cache, version)

    def _version(self, shard: int) -> Version:
        if self.cache and self.is_down:
            location = shard_location(self.location, shard)
            copy = self.cache.newest(location, self.version.shards[shard])
            if copy and copy.table == self.version.shard_tables[shard]:
                return copy
        return Versions(self.location).named_shard(self.version, shard)[1]


def _newest_copy(
    location: Location, settings: Settings, pinned: int | None, error: StoreError
) -> Choice | None:
    """Choose a copy on this machine's disk, if `error` says that the store is down."""
    cache = _cache(location, settings) if is_down(error.__cause__) else None
    version = cache.newest(location, pinned) if cache else None
    if version is None:
        return None
    note = (
        f"{error}; version {version.number} was read from its copy on this disk, "
        "and there may be a newer one"
    )
    return Choice(version, pinned, (note,))


def _cache(location: Location, settings: Settings) -> "CopyCache | None":
    """Return the cache of copies, if the settings name one and the index is in a bucket."""
    if not location.bucket or not settings.cache_dir:
        return None
    from resift.index.storage.copies import CopyCache  # needs fcntl, which Windows lacks

    return CopyCache(from_home(settings.cache_dir), settings.cache_gb * GIGABYTE)
