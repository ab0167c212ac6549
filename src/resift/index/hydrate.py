"""A version's files on local disk: fetched once, never changed, shared by all that read them.

Files of a version are fetched beside those of the versions before it, so that only what is new
moves. What was not opened for longest goes first when there is too much; a version that a process
holds open stays.
"""

import errno
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from secrets import token_hex
from typing import Any

from resift.errors import StoreError
from resift.index.background import Background
from resift.index.bucket import open_bucket
from resift.index.copies import Copies, Hold, drop, is_there, make_parent, usable
from resift.index.location import TABLE, Location
from resift.index.store_errors import store_errors
from resift.index.transfer import fetch
from resift.index.versions.record import Version
from resift.settings import StorageSettings

_FETCHERS = 8
# Larger files are fetched in parts, so that memory does not grow with them.
_PART = 16 << 20
_MD5 = 32


@dataclass(frozen=True, slots=True)
class Local:
    """A version's table on this disk; it is not evicted while `hold` lives and is not closed."""

    path: str
    hold: Hold
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

        Raise `NoCopy` if the folder cannot be used and another `StoreError` if a file cannot be
        fetched; what was fetched until then stays.
        """
        if sum(size for _, size in version.files) > self.max_bytes:
            return None
        copies = Copies(self.folder)
        root = copies.of(location) / version.table
        with copies.alone():
            make_parent(root / TABLE, copies.folder)
            hold = Hold(root / f"{version.number}.version")
            hold.write(location.uri, version)
            missing = [file for file in version.files if not is_there(root / TABLE, *file)]
            self._evict(copies, sum(size for _, size in missing), hold.marker)
        if missing:
            _Fetch(location, storage, root / TABLE).all(missing)
        return Local(str(root), hold, len(missing), sum(size for _, size in missing))

    def newest(self, location: Location, number: int | None) -> Version | None:
        """The last version, or the one of this number, that needs no store any more."""
        try:
            return Copies(self.folder).newest(location, number)
        except OSError:  # no folder, or none that can be read: no copies
            return None

    def _evict(self, copies: Copies, coming: int, new: Path) -> None:
        """Make room: versions that nobody holds, longest unopened first."""
        for marker in copies.markers():
            if copies.size() + coming <= self.max_bytes:
                return
            if marker != new:
                drop(marker)


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
        part = path.with_name(f"{token_hex(4)}.part")
        with usable(self._root):
            make_parent(path, self._root)
            file = part.open("xb", buffering=0)  # nothing is left for its end to write in vain
        try:
            with file:
                self._save_right(name, size, file)
            with usable(self._root):
                os.replace(part, path)
        finally:
            with usable(self._root):
                part.unlink(missing_ok=True)

    def _save_right(self, name: str, size: int, file: FileIO) -> None:
        digest, etag = self._save(name, size, file)
        if self._etags_are_md5 and len(etag) == _MD5 and digest != etag:
            # Wrong bytes, or a store whose ETags are no MD5 (SSE-KMS): then the same again.
            again, _ = self._save(name, size, file)
            if again not in (etag, digest):
                raise StoreError(f"{name}: was fetched twice and was not the same: try again")
            self._etags_are_md5 = again == etag

    def _save(self, name: str, size: int, file: FileIO) -> tuple[str, str]:
        """(MD5, ETag) of what was fetched, which has `size` bytes or is refused."""

        def check(meta: Mapping[str, Any]) -> None:
            there = int(meta["size"])
            if there != size:
                raise StoreError(f"{name}: has {there:,} bytes there, expected {size:,}: damaged")

        digest = hashlib.md5(usedforsecurity=False)
        etag = ""
        with usable(self._root):
            file.seek(0)
            file.truncate()
        for at in range(0, size, _PART):
            span = (at, min(at + _PART, size))
            data, meta = fetch(self._store, f"{TABLE}/{name}", check, {"range": span})
            etag = (meta["e_tag"] or "").strip('"')
            digest.update(data)
            with usable(self._root):
                if file.write(data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with usable(self._root):
            if file.tell() != size:
                raise StoreError(f"{name}: {file.tell():,} bytes came of {size:,}: try again")
        return digest.hexdigest(), etag
