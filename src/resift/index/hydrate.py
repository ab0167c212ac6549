"""A version's files on local disk: fetched once, never changed, shared by all that read them.

``CACHE/TABLE/`` holds the files of all versions of a table that are there, and ``N.version``, the
names of its own, for each that is there or on its way. Files of a version are fetched beside those
of the versions before it, so that only what is new moves. What was not opened for longest goes
first when there is too much; a version that a process holds open stays.
"""

import fcntl
import hashlib
import os
import shutil
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex

from resift.errors import StoreError
from resift.extras import require
from resift.index.background import Background
from resift.index.bucket import open_bucket
from resift.index.faults import store_errors
from resift.index.location import Location
from resift.index.table import TABLE
from resift.index.versions import Version
from resift.settings import StorageSettings

_FETCHERS = 8
# Larger files are fetched in parts, so that memory does not grow with them.
_PART = 16 << 20
_MD5 = 32
# A part of a fetch that broke off; another process may be writing a younger one.
_ABANDONED_S = 3600.0


class _Hold:
    """A version's marker, and a lock on it that says that somebody reads the version."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker
        marker.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(marker, os.O_RDWR | os.O_CREAT, 0o666)
        self.close = weakref.finalize(self, os.close, self._descriptor)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def write(self, text: str) -> None:
        """Say which files are the version's; its time is that of the last opening."""
        self.marker.write_text(text)


@dataclass(frozen=True, slots=True)
class Local:
    """A version's table on this disk; it is not evicted while `hold` lives and is not closed."""

    path: str
    hold: _Hold
    fetched_files: int
    fetched_bytes: int


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder for copies of indexes, of at most `max_bytes`."""

    folder: Path
    max_bytes: int

    def hydrate(
        self, location: Location, storage: StorageSettings, version: Version
    ) -> Local | None:
        """Fetch what is not there of a version; None if it does not fit.

        Raise `StoreError` if a file cannot be fetched; what was fetched until then stays.
        """
        if sum(size for _, size in version.files) > self.max_bytes:
            return None
        root = self.folder / version.table
        try:
            with _alone(self.folder):
                hold = _Hold(root / f"{version.number}.version")
                hold.write("\n".join(path for path, _ in version.files))
                missing = [file for file in version.files if not _is_there(root / TABLE, *file)]
                self._evict(sum(size for _, size in missing), hold.marker)
            _Fetch(location, storage, root / TABLE).all(missing)
        except OSError as error:
            raise StoreError(f"{self.folder}: cannot keep a copy there: {error}") from error
        return Local(str(root), hold, len(missing), sum(size for _, size in missing))

    def _evict(self, coming: int, own: Path) -> None:
        """Make room: versions that nobody holds, longest unopened first."""
        markers = sorted(self.folder.glob("*/*.version"), key=lambda path: path.stat().st_mtime)
        for marker in markers:
            if _size(self.folder) + coming <= self.max_bytes:
                return
            if marker != own:
                _drop(marker)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else evicts meanwhile, nor counts on files that are about to go."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _drop(marker: Path) -> None:
    """Delete a version that nobody holds, and the files that no other one needs."""
    with marker.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # somebody reads it
        root = marker.parent
        marker.unlink()
        others = list(root.glob("*.version"))
        needed = {line for other in others for line in other.read_text().splitlines()}
        if not others:
            shutil.rmtree(root, ignore_errors=True)
            return
        for path in _files(root / TABLE):
            name = path.relative_to(root / TABLE).as_posix()
            is_young = time.time() - path.stat().st_mtime < _ABANDONED_S
            if name not in needed and not (path.suffix == ".part" and is_young):
                path.unlink(missing_ok=True)


class _Fetch:
    """Files on their way, several at once."""

    def __init__(self, location: Location, storage: StorageSettings, root: Path) -> None:
        self._location = location
        self._store = open_bucket(location, storage)
        self._root = root
        self._etags_are_md5 = True

    def all(self, files: Sequence[tuple[str, int]]) -> None:
        """Fetch them; raise `StoreError` for one that cannot be fetched."""
        # Not a pool that the interpreter's end would wait for, for gigabytes.
        background = Background(_FETCHERS, "resift-hydrate")
        with store_errors(self._location.uri):
            jobs = [background.run(partial(self._one, path, size)) for path, size in files]
            try:
                for job in jobs:
                    job.result()
            finally:
                background.end()
                background.rest()

    def _one(self, name: str, size: int) -> None:
        """One file, under another name until it is whole and known to be right."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{token_hex(4)}.part")
        try:
            found, digest, etag = self._save(name, size, part)
            if self._etags_are_md5 and len(etag) == _MD5 and digest != etag:
                # Wrong bytes, or a store whose ETags are no MD5 (SSE-KMS): then the same again.
                found, again, _ = self._save(name, size, part)
                if again not in (etag, digest):
                    raise StoreError(f"{name}: was fetched twice and was not the same: try again")
                self._etags_are_md5 = again == etag
            if found != size:
                raise StoreError(f"{name}: has {found:,} bytes there, expected {size:,}: damaged")
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)

    def _save(self, name: str, size: int, part: Path) -> tuple[int, str, str]:
        """(bytes, MD5, ETag) of what was fetched."""
        obstore = require("obstore", "index")
        digest = hashlib.md5(usedforsecurity=False)
        etag = ""
        with part.open("wb") as out:
            for at in range(0, size, _PART):
                span = (at, min(at + _PART, size))
                answer = obstore.get(self._store, f"{TABLE}/{name}", options={"range": span})
                data = bytes(answer.bytes())
                etag = (answer.meta["e_tag"] or "").strip('"')
                digest.update(data)
                out.write(data)
        return part.stat().st_size, digest.hexdigest(), etag


def _is_there(root: Path, name: str, size: int) -> bool:
    path = root / name
    return path.is_file() and path.stat().st_size == size


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in _files(folder))
