"""Local copies of an index's versions: fetched once, never changed, shared by all readers.

Only ``CACHE/resift-copies/`` is written to; its ``CACHEDIR.TAG`` says that resift made it. Its
``INDEX/TABLE/`` holds the files of all copied versions of one index's table, and for each version a
marker ``N.version`` with its record. Only files that a record names are ever replaced or deleted.

Versions share files, so only new files are fetched. If the copies are over the limit, the least
recently opened versions are deleted, except those that a process has open.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from resift.background import Background
from resift.errors import NoCopy, StoreError
from resift.files import PART_NAME, check_regular, claim_folder, read_regular, reason, replacing
from resift.index.shards.layout import shard_location
from resift.index.storage.client import fetch, open_bucket
from resift.index.storage.errors import store_errors
from resift.index.storage.location import TABLE, Location
from resift.index.versions.record import Version, read_json_object, read_record, write_record

_FOLDER = "resift-copies"
_COMMENT = "Copies of indexes that resift searches. All of it can be fetched again."
_MARKER_NAME = re.compile(r"([0-9]{1,18})\.version")
_MARKER_START = b'{"resift_copy_of": '
_MAX_MARKER_BYTES = 64 << 20
# The age of a part that an interrupted download has left; others may still be written.
_ABANDONED_S = 3600.0
_OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_DOWNLOADS = 8
# Larger files are fetched in parts, so that memory does not grow with them.
_PART_BYTES = 16 << 20
_MD5_LENGTH = 32


class MarkerLock:
    """A version's marker with a shared lock: a process reads the version."""

    def __init__(self, marker: Path) -> None:
        """Create the marker unless it exists; lock it until `close` or garbage collection."""
        self.marker = marker
        self._descriptor = os.open(marker, _OPEN_FLAGS, 0o666)
        self.close = weakref.finalize(self, os.close, self._descriptor)
        check_regular(marker, os.fstat(self._descriptor).st_mode)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def write(self, uri: str, version: Version) -> None:
        """Write the version's record unless it is there; set the time of the last opening."""
        text = _MARKER_START + json.dumps(uri).encode() + b"}\n" + write_record(version)
        present = os.pread(self._descriptor, len(text) + 1, 0)
        if not present.startswith(_MARKER_START[: len(present)]):
            raise NoCopy(f"{self.marker}: exists and is not resift's: move it away")
        if present != text:
            os.ftruncate(self._descriptor, 0)
            if os.pwrite(self._descriptor, text, 0) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.utime(self._descriptor)


@dataclass(frozen=True, slots=True)
class LocalCopy:
    """A version's table on this disk; it is not deleted while `lock` is held."""

    path: str
    lock: MarkerLock


@dataclass(frozen=True, slots=True)
class CopyCache:
    """The copies below the folder `cache`, limited to `max_bytes`."""

    cache: Path
    max_bytes: int

    @property
    def folder(self) -> Path:
        """The folder that holds all copies."""
        return self.cache / _FOLDER

    def hydrate(self, location: Location, version: Version) -> LocalCopy | None:
        """Fetch the missing files of a version; return None if it is over the limit.

        Of an index of shards only the record is stored: each shard has a copy of its version.

        Raise `NoCopy` if the folder cannot be used, and another `StoreError` if a file cannot be
        fetched; the files fetched before stay.
        """
        if sum(size for _, size in version.files) > self.max_bytes:
            return None
        root = self._index_folder(location) / version.table
        with self._locked():
            _make_parent(root / TABLE, self.folder)
            lock = MarkerLock(root / f"{version.number}.version")
            lock.write(location.uri, version)
            missing = [file for file in _files(version) if not _is_complete(root / TABLE, *file)]
            self._make_room(sum(size for _, size in missing), lock.marker)
        if missing:
            _Download(location, root / TABLE).run(missing)
        return LocalCopy(str(root), lock)

    def newest(self, location: Location, number: int | None) -> Version | None:
        """Find the newest version, or the one with this number, that has all its files here."""
        markers = self._index_folder(location).glob("*/*.version")
        try:
            for marker in sorted(markers, key=_number_and_time, reverse=True):
                version = _read_marker(marker, location.uri)
                if (
                    version
                    and number in (None, version.number)
                    and self._is_whole(location, version, marker.parent / TABLE)
                ):
                    return version
        except OSError:  # the folder is missing or unreadable: there are no copies
            pass
        return None

    def _is_whole(self, location: Location, version: Version, table: Path) -> bool:
        """Whether all files of a version are here, and those of its shards."""
        return all(_is_complete(table, *file) for file in _files(version)) and all(
            self.newest(shard_location(location, shard), number)
            for shard, number in enumerate(version.shards)
            if number
        )

    def markers(self) -> list[Path]:
        """List the markers of all versions, the least recently opened first."""
        times = []
        for marker in self.folder.glob("*/*/*.version"):
            with suppress(FileNotFoundError):
                times.append((marker.stat().st_mtime, marker))
        return [marker for _, marker in sorted(times)]

    def size(self) -> int:
        """Sum the bytes of all copies; files may appear and vanish meanwhile."""
        total = 0
        for root, _, files in os.walk(self.folder):
            for name in files:
                with suppress(FileNotFoundError):
                    total += (Path(root) / name).lstat().st_size
        return total

    def _index_folder(self, location: Location) -> Path:
        """Return the folder of one index; indexes never share files."""
        return self.folder / hashlib.sha256(location.uri.encode()).hexdigest()[:32]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the cache, so that only one process at a time deletes files or relies on them."""
        with _disk_errors(self.folder):
            if not claim_folder(self.folder, _COMMENT):
                raise NoCopy(
                    f"{self.folder}: was not made by resift: move it away, or name another "
                    "folder for copies (RESIFT_CACHE_DIR)"
                )
            path = self.folder / "lock"
            lock = os.open(path, _OPEN_FLAGS, 0o666)
            try:
                check_regular(path, os.fstat(lock).st_mode)
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                os.close(lock)

    def _make_room(self, needed: int, new: Path) -> None:
        for marker in self.markers():
            if self.size() + needed <= self.max_bytes:
                return
            if marker != new:
                delete_copy(marker)


class _Download:
    """Fetches files of a version, several at once."""

    def __init__(self, location: Location, root: Path) -> None:
        self._uri = location.uri
        self._store = open_bucket(location)
        self._root = root
        self._etags_are_md5 = True

    def run(self, files: Sequence[tuple[str, int]]) -> None:
        """Fetch files, given as ``(path, bytes)``; raise `StoreError` if one cannot be fetched."""
        # Not a thread pool: the interpreter would wait at its end for gigabytes to be fetched.
        background = Background(_DOWNLOADS, "resift-hydrate")
        jobs = [background.run(partial(self._fetch_file, *file)) for file in files]
        try:
            for job in jobs:
                job.result()
        finally:
            background.end()
            background.wait()

    def _fetch_file(self, name: str, size: int) -> None:
        """Fetch a file; it gets its name when it is complete and verified."""
        path = self._root / name
        with _disk_errors(self._root):
            _make_parent(path, self._root)
            with replacing(path) as file:
                digest, etag = self._write(name, size, file)
                if not self._etags_are_md5 or len(etag) != _MD5_LENGTH or digest == etag:
                    return
                # Either the bytes are wrong or the store's ETags are not MD5 (SSE-KMS). If they
                # are not MD5, a second fetch gives the same bytes.
                second_digest, _ = self._write(name, size, file)
                if second_digest not in (etag, digest):
                    raise StoreError(
                        f"{self._uri}: {name}: had other content when fetched again: try again"
                    )
                self._etags_are_md5 = second_digest == etag

    def _write(self, name: str, size: int, file: IO[bytes]) -> tuple[str, str]:
        """Fetch a file and write it from the start; return its MD5 and its ETag."""

        def check(meta: Mapping[str, Any]) -> None:
            if int(meta["size"]) != size:
                raise StoreError(
                    f"{self._uri}: {name}: has {int(meta['size']):,} bytes there, expected "
                    f"{size:,}: damaged"
                )

        digest = hashlib.md5(usedforsecurity=False)
        etag = ""
        file.seek(0)
        file.truncate()
        for start in range(0, size, _PART_BYTES):
            span = (start, min(start + _PART_BYTES, size))
            with store_errors(self._uri):
                data, meta = fetch(self._store, f"{TABLE}/{name}", check, {"range": span})
            etag = (meta["e_tag"] or "").strip('"')
            digest.update(data)
            file.write(data)
        if file.tell() != size:
            raise StoreError(f"{self._uri}: {name}: {file.tell():,} bytes of {size:,}: try again")
        return digest.hexdigest(), etag


def delete_copy(marker: Path) -> None:
    """Delete a version's files that no other version needs, unless a process reads the version."""
    version = _read_marker(marker)
    if version is None:
        return
    descriptor = os.open(marker, _OPEN_FLAGS & ~os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # a process reads it
        root = marker.parent
        others = [_read_marker(other) for other in root.glob("*.version") if other != marker]
        needed = {path for other in others if other for path, _ in _files(other)}
        for path, _ in _files(version):
            if path not in needed:
                _delete(root / TABLE / path, root)
        _delete_abandoned(root)
        marker.unlink(missing_ok=True)  # last, because it names the files to delete
        _remove_empty_folders(root)
    finally:
        os.close(descriptor)


def _files(version: Version) -> tuple[tuple[str, int], ...]:
    """The files of a version's table; an index of shards has none beside those of its shards."""
    return () if version.shards else version.files


def _read_marker(marker: Path, uri: str | None = None) -> Version | None:
    """Read a marker; None if resift did not write it, or if it is not of the index at `uri`."""
    name = _MARKER_NAME.fullmatch(marker.name)
    try:
        if not name or marker.is_symlink():
            return None
        head, _, body = read_regular(marker, _MAX_MARKER_BYTES).partition(b"\n")
        header = read_json_object(head)
        if header.keys() != {"resift_copy_of"} or uri not in (None, header["resift_copy_of"]):
            return None
        return read_record(body, int(name[1]), str(header["resift_copy_of"]))
    except (OSError, ValueError, StoreError):  # deleted, not resift's, or of another format
        return None


def _number_and_time(marker: Path) -> tuple[int, float]:
    """The sort key of a marker; low if it was just deleted or is not resift's."""
    name = _MARKER_NAME.fullmatch(marker.name)
    try:
        return (int(name[1]), marker.lstat().st_mtime) if name else (-1, 0.0)
    except FileNotFoundError:
        return (-1, 0.0)


def _is_complete(root: Path, name: str, size: int) -> bool:
    path = root / name
    with suppress(OSError):
        return path.is_file() and not path.is_symlink() and path.stat().st_size == size
    return False


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Convert errors of the disk to `NoCopy`."""
    try:
        yield
    except OSError as error:
        raise NoCopy(f"{folder}: cannot keep a copy there: {reason(error)}") from error


def _is_inside(path: Path, root: Path) -> bool:
    return path.parent.resolve().is_relative_to(root.resolve())


def _make_parent(path: Path, root: Path) -> None:
    """Make the folder of a file below `root`; raise `NoCopy` if links lead out of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not _is_inside(path, root):
        raise NoCopy(f"{path.parent}: a link that leads out of the folder for copies")


def _delete(path: Path, root: Path) -> None:
    if _is_inside(path, root):
        path.unlink(missing_ok=True)


def _delete_abandoned(root: Path) -> None:
    for path in root.rglob("*.part"):
        with suppress(FileNotFoundError):
            is_old = time.time() - path.lstat().st_mtime > _ABANDONED_S
            if is_old and PART_NAME.fullmatch(path.name):
                _delete(path, root)


def _remove_empty_folders(root: Path) -> None:
    """Remove the empty folders below `root`, `root` itself, and the folder of the index."""
    for folder, _, _ in os.walk(root, topdown=False):
        with suppress(OSError):  # not empty
            os.rmdir(folder)
    with suppress(OSError):
        root.parent.rmdir()
