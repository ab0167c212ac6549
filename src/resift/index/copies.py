"""Which files of a folder on this disk are copies of an index: the rest of it is somebody else's.

``CACHE/resift-copies/`` is the only folder that is written to, and its ``CACHEDIR.TAG`` says that
it was made here. ``PLACE/TABLE/`` in it holds the files of all versions of one index's table that
are there, and ``N.version`` the record of each that is there or on its way. Only what such a
record names is ever replaced or deleted.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from resift.errors import NoCopy, StoreError
from resift.files import check_regular, claim_folder, read_regular
from resift.index.location import TABLE, Location
from resift.index.versions.record import Version, read_object, read_record, write_record

_FOLDER = "resift-copies"
_COMMENT = "Copies of indexes that resift searches. All of it can be fetched again."
_MARKER = re.compile(r"([0-9]{1,18})\.version")
_PART = re.compile(r"[0-9a-f]{8}\.part")
_OURS = b'{"resift_copy_of": '
_MOST_MARKER_BYTES = 64 << 20
# A part of a fetch that broke off; another process may be writing a younger one.
_ABANDONED_S = 3600.0
_OURS_TO_WRITE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Hold:
    """A version's marker, and a lock on it that says that somebody reads the version."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker
        self._descriptor = os.open(marker, _OURS_TO_WRITE, 0o666)
        self.close = weakref.finalize(self, os.close, self._descriptor)
        check_regular(marker, os.fstat(self._descriptor).st_mode)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def write(self, uri: str, version: Version) -> None:
        """Interpolation which files are the version's; the marker's time is that of the last opening."""
        wanted = _marker_text(uri, version)
        there = os.pread(self._descriptor, len(wanted) + 1, 0)
        if not there.startswith(_OURS[: len(there)]):
            raise NoCopy(f"{self.marker}: is there and is none of resift's: move it away")
        if there != wanted:
            os.ftruncate(self._descriptor, 0)
            if os.pwrite(self._descriptor, wanted, 0) < len(wanted):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.utime(self._descriptor)


@dataclass(frozen=True, slots=True)
class Copies:
    """The folder for copies in the one that the user named. Methods raise `NoCopy`."""

    cache: Path

    @property
    def folder(self) -> Path:
        """Where everything is."""
        return self.cache / _FOLDER

    def of(self, location: Location) -> Path:
        """The folder of one index's copies: two indexes never share files, whatever they claim."""
        return self.folder / hashlib.sha256(location.uri.encode()).hexdigest()[:32]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else makes room meanwhile, nor counts on files that are about to go."""
        with usable(self.folder):
            self._claim()
            lock = os.open(self.folder / "lock", _OURS_TO_WRITE, 0o666)
            try:
                check_regular(self.folder / "lock", os.fstat(lock).st_mode)
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                os.close(lock)

    def newest(self, location: Location, number: int | None) -> Version | None:
        """The last version, or the one of this number, of which every file is there."""
        there = []
        for marker in self.of(location).glob("*/*.version"):
            version = read_marker(marker, location.uri)
            if version and number in (None, version.number):
                with suppress(FileNotFoundError):  # it goes just now
                    there.append((version.number, marker.stat().st_mtime, marker, version))
        for _, _, marker, version in sorted(there, key=lambda entry: entry[:2], reverse=True):
            if all(is_there(marker.parent / TABLE, *file) for file in version.files):
                return version
        return None

    def markers(self) -> list[Path]:
        """Versions that are there or on their way, longest unopened first."""
        times = []
        for marker in self.folder.glob("*/*/*.version"):
            with suppress(FileNotFoundError):
                times.append((marker.stat().st_mtime, marker))
        return [marker for _, marker in sorted(times)]

    def size(self) -> int:
        """Bytes of all that is there; files may come and go meanwhile."""
        total = 0
        for root, _, files in os.walk(self.folder):
            for name in files:
                with suppress(FileNotFoundError):
                    total += (Path(root) / name).lstat().st_size
        return total

    def _claim(self) -> None:
        """Make the folder, tag and all at once, or see that it was made here."""
        if not claim_folder(self.folder, _COMMENT):
            raise NoCopy(
                f"{self.folder}: was not made by resift: move it away, or name another "
                "folder for copies (RESIFT_CACHE_DIR)"
            )


def drop(marker: Path) -> None:
    """Delete a version that nobody holds: the files that it names and no other one needs."""
    version = read_marker(marker)
    if version is None:
        return
    descriptor = os.open(marker, _OURS_TO_WRITE & ~os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # somebody reads it
        root = marker.parent
        others = [read_marker(other) for other in root.glob("*.version") if other != marker]
        needed = {path for other in others if other for path, _ in other.files}
        for path, _ in version.files:
            if path not in needed:
                _delete(root / TABLE / path, root)
        _sweep(root)
        marker.unlink(missing_ok=True)  # last: what it names is known until it is gone
        _remove_empty(root)
    finally:
        os.close(descriptor)


def read_marker(marker: Path, uri: str | None = None) -> Version | None:
    """The version that a marker of ours names, of the index at `uri` if one is given; or None."""
    name = _MARKER.fullmatch(marker.name)
    try:
        if not name or marker.is_symlink():
            return None
        head, _, body = read_regular(marker, _MOST_MARKER_BYTES).partition(b"\n")
        facts = read_object(head)
        if facts.keys() != {"resift_copy_of"} or uri not in (None, facts["resift_copy_of"]):
            return None
        return read_record(body, int(name[1]), str(facts["resift_copy_of"]))
    except (OSError, ValueError, StoreError):  # gone, not ours, or of another format
        return None


def is_there(root: Path, name: str, size: int) -> bool:
    """Whether a version's file is there with all its bytes."""
    with suppress(OSError):
        path = root / name
        return path.is_file() and not path.is_symlink() and path.stat().st_size == size
    return False


def _content(path: Path, most: int) -> bytes | None:
    """What is in a file; None where it cannot be read, is none, or is larger."""
    try:
        return read_regular(path, most)
    except OSError:
        return None


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Whatever the disk refuses inside is a `NoCopy` that names the folder."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise NoCopy(f"{folder}: cannot keep a copy there: {reason}") from error


def make_parent(path: Path, root: Path) -> None:
    """The folder of a file below `root`; `NoCopy` where links lead out of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.resolve().is_relative_to(root.resolve()):
        raise NoCopy(f"{path.parent}: a link that leads out of the folder for copies")


def _delete(path: Path, root: Path) -> None:
    if path.parent.resolve().is_relative_to(root.resolve()):
        path.unlink(missing_ok=True)


def _sweep(root: Path) -> None:
    """Delete parts of fetches that broke off long ago."""
    for path in root.rglob("*.part"):
        with suppress(FileNotFoundError):
            if _PART.fullmatch(path.name) and time.time() - path.lstat().st_mtime > _ABANDONED_S:
                _delete(path, root)


def _remove_empty(root: Path) -> None:
    """Remove the folders that hold nothing any more, up to the index's own."""
    for folder, _, _ in os.walk(root, topdown=False):
        with suppress(OSError):  # there is something in it
            os.rmdir(folder)
    with suppress(OSError):
        root.parent.rmdir()


def _marker_text(uri: str, version: Version) -> bytes:
    return _OURS + json.dumps(uri).encode() + b"}" + b"\n" + write_record(version)
