"""A folder of the local disk as a source: walked and read by the operating system's own means.

Names are bytes, read as UTF-8 whatever the locale. What cannot be listed, looked at or read costs
itself: only what the system says is not there is gone. Links are followed only if that is asked
for; a pipe, a socket or a device is never opened for reading, so none of them can hold up a run.
"""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from resift.errors import SourceError, Unreadable, Vanished
from resift.files import irregular, open_regular, reason
from resift.index.sources.marker import is_part
from resift.index.sources.raw_listing import Fetched, File, Odd, RawListing, refuse_large, why_odd
from resift.index.storage.location import from_disk, on_disk

_AT_ONCE = 1 << 20
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_Node = tuple[int, int]
_Entry = os.DirEntry[bytes]


@dataclass(frozen=True, slots=True)
class _Below:
    """A folder that is still to be walked; `above` are the folders that lead there."""

    path: bytes
    prefix: str
    above: frozenset[_Node] = frozenset()


@dataclass(slots=True)
class _Walk:
    """What a walk has come by."""

    follow_links: bool
    files: list[File] = field(default_factory=list)
    odd: list[Odd] = field(default_factory=list)
    unseen: list[Odd] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    waiting: list[_Below] = field(default_factory=list)

    def enter(self, below: _Below) -> None:
        """Look at each thing in a folder; what cannot be listed is noted."""
        try:
            with os.scandir(below.path) as entries:
                inside = list(entries)
            if self.follow_links:
                below = _Below(below.path, below.prefix, below.above | {_node(os.stat(below.path))})
        except OSError as error:
            if not below.prefix:
                raise
            why = f"the folder cannot be listed: {reason(error)}"
            self.unseen.append(Odd(below.prefix.rstrip("/"), why, is_folder=True))
            return
        names = {from_disk(entry.name) for entry in inside}
        for entry in inside:
            if not entry.name.startswith(b"."):
                self._look(entry, below, names)

    def _look(self, entry: _Entry, below: _Below, names: set[str]) -> None:
        name = from_disk(entry.name)
        key = below.prefix + name
        try:
            # Of what a link leads to, if it leads anywhere. For all else nothing is asked.
            is_folder = os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
            why = why_odd(name) or self._why_not(entry)
            if why:
                self.odd.append(Odd(key, why, is_folder))
            elif is_folder and is_part(name, names):
                self.indexes.append(key)
            elif is_folder:
                self._descend(entry, key, below)
            else:
                state = entry.stat()
                self.files.append(File(key, _etag(state), state.st_size))
        except FileNotFoundError:
            return  # gone since the folder was listed
        except OSError as error:  # it is there, whatever it is
            why = f"cannot be looked at: {reason(error)}"
            self.unseen.append(Odd(key, why, _is_folder(entry)))

    def _why_not(self, entry: _Entry) -> str | None:
        """Why something is no file or folder that is read; raise `OSError` if nobody can say."""
        if entry.is_symlink():
            if not self.follow_links:
                return "a link, and links are followed only with --follow-links"
            try:
                os.stat(entry.path)
            except OSError as error:
                if error.errno not in _NOWHERE:
                    raise
                return "a link that leads nowhere"
        if entry.is_dir() or entry.is_file():
            return None
        return f"{irregular(entry.stat().st_mode) or 'something'}, not a file"

    def _descend(self, entry: _Entry, key: str, below: _Below) -> None:
        if self.follow_links and _node(entry.stat()) in below.above:
            self.odd.append(Odd(key, "a link to a folder that it lies in", is_folder=True))
        else:
            self.waiting.append(_Below(entry.path, f"{key}/", below.above))


class Folder:
    """The files below one folder. Threads may share it."""

    def __init__(self, path: str) -> None:
        """Name the folder by its canonical path; nothing is looked at yet."""
        self._path = path

    def look(self, follow_links: bool) -> RawListing:
        """Everything below, but for hidden files; raise `SourceError` for the folder itself."""
        walk = _Walk(follow_links)
        walk.waiting.append(_Below(on_disk(self._path), ""))
        try:
            while walk.waiting:
                walk.enter(walk.waiting.pop())
        except OSError as error:
            raise SourceError(f"{self._path}: {reason(error)}") from error
        return RawListing(walk.files, walk.odd, walk.unseen, walk.indexes)

    def look_at(self, key: str) -> File:
        """One file; raise `SourceError` if it is not there."""
        try:
            state = os.stat(self._join(key))
        except OSError as error:
            raise SourceError(f"{self._path}/{key}: {reason(error)}") from error
        return File(key, _etag(state), state.st_size)

    def check(self) -> None:
        """Raise `SourceError` if nothing in the folder can be read now."""
        try:
            with os.scandir(on_disk(self._path)) as entries:
                next(entries, None)
        except OSError as error:
            raise SourceError(f"{self._path}: {reason(error)}") from error

    def read(self, key: str, max_bytes: int | None, version: str | None = None) -> Fetched:
        """All bytes of a file; raise `Vanished`, `Unreadable`, or `SourceError` for a large one.

        Its ETag is from before it was read: who writes meanwhile makes another one.
        """
        try:
            with open_regular(self._join(key)) as stream:
                handle = stream.fileno()
                state = os.fstat(handle)
                refuse_large(state.st_size, max_bytes)
                data = b"".join(_blocks(handle, None if max_bytes is None else max_bytes + 1))
                refuse_large(len(data), max_bytes)  # it has grown, or says nothing of its size
                return Fetched(data, _etag(state), None)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Vanished("gone since the source was listed") from error
        except OSError as error:
            raise Unreadable(f"cannot be read: {reason(error)}") from error

    def _join(self, key: str) -> bytes:
        return os.path.join(on_disk(self._path), on_disk(key))


def kind_of(path: str) -> str | None:
    """What is at a canonical path: ``file``, ``folder``, "a pipe" and the like; None for nothing.

    Raise `SourceError` where nobody can say.
    """
    try:
        mode = os.stat(on_disk(path)).st_mode
    except OSError as error:
        if error.errno in _NOWHERE:
            return None
        raise SourceError(f"{path}: {reason(error)}") from error
    if stat.S_ISDIR(mode):
        return "folder"
    return irregular(mode) or "file"


def _blocks(handle: int, most: int | None) -> Iterator[bytes]:
    """What is in an open file, `most` bytes of it."""
    left = most
    while left is None or left > 0:
        block = os.read(handle, _AT_ONCE if left is None else min(left, _AT_ONCE))
        if not block:
            return
        left = None if left is None else left - len(block)
        yield block


def _etag(state: os.stat_result) -> str:
    return f"{state.st_ino:x}-{state.st_mtime_ns:x}-{state.st_size:x}"


def _node(state: os.stat_result) -> _Node:
    return state.st_dev, state.st_ino


def _is_folder(entry: _Entry) -> bool | None:
    """Whether what cannot be looked at is a folder, as far as its folder says so."""
    try:
        return None if entry.is_symlink() else entry.is_dir()
    except OSError:
        return None
