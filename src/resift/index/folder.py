"""A folder of the local disk as a source: walked and read by the operating system's own means.

What cannot be listed or read costs itself. Links are followed only if that is asked for; a pipe,
a socket or a device is never opened for reading, so none of them can hold up a run.
"""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from resift.errors import SourceError, Unreadable, Vanished
from resift.files import irregular, open_regular
from resift.index.marker import is_part, is_table
from resift.index.seen import Fetched, File, Odd, Seen, refuse_large, why_odd

_RIGHTS = "permission denied: check the rights of the files and folders"
_AT_ONCE = 1 << 20
_Node = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Below:
    """A folder that is still to be walked; `above` are the folders that lead there."""

    path: str
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
            reason = f"the folder cannot be listed: {_why(error)}"
            self.unseen.append(Odd(below.prefix.rstrip("/"), reason, is_folder=True))
            return
        names = {entry.name for entry in inside}
        for entry in inside:
            if not entry.name.startswith("."):
                self._look(entry, below, names)

    def _look(self, entry: "os.DirEntry[str]", below: _Below, names: set[str]) -> None:
        key = below.prefix + entry.name
        try:
            # Of what a link leads to, if it leads anywhere. For all else nothing is asked.
            is_folder = os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
            reason = why_odd(entry.name) or self._why_not(entry)
            if reason:
                self.odd.append(Odd(key, reason, is_folder))
            elif is_folder and is_part(entry.name, names):
                self.indexes.append(key)
            elif is_folder:
                self._descend(entry, key, below)
            else:
                state = entry.stat()
                self.files.append(File(key, _etag(state), state.st_size))
        except FileNotFoundError:
            return  # gone since the folder was listed
        except OSError as error:
            self.odd.append(Odd(key, f"cannot be looked at: {_why(error)}"))

    def _why_not(self, entry: "os.DirEntry[str]") -> str | None:
        """Why something is no file or folder that is read."""
        if entry.is_symlink():
            if not self.follow_links:
                return "a link, and links are followed only with --follow-links"
            if not os.path.exists(entry.path):
                return "a link that leads nowhere"
        if entry.is_dir() or entry.is_file():
            return None
        return f"{irregular(entry.stat().st_mode) or 'something'}, not a file"

    def _descend(self, entry: "os.DirEntry[str]", key: str, below: _Below) -> None:
        if self.follow_links and _node(entry.stat()) in below.above:
            self.odd.append(Odd(key, "a link to a folder that it lies in", is_folder=True))
        else:
            self.waiting.append(_Below(entry.path, f"{key}/", below.above))


class Folder:
    """The files below one folder. Threads may share it."""

    def __init__(self, path: str) -> None:
        """Name the folder; nothing is looked at yet."""
        self._path = path

    def look(self, follow_links: bool) -> Seen:
        """Everything below, but for hidden files; raise `SourceError` for the folder itself."""
        walk = _Walk(follow_links)
        walk.waiting.append(_Below(self._path, ""))
        try:
            while walk.waiting:
                walk.enter(walk.waiting.pop())
        except OSError as error:
            raise SourceError(f"{self._path}: {_why(error)}") from error
        return Seen(walk.files, walk.odd, walk.unseen, walk.indexes)

    def look_at(self, key: str) -> File:
        """One file; raise `SourceError` if it is not there."""
        try:
            state = os.stat(self._join(key))
        except OSError as error:
            raise SourceError(f"{self._join(key)}: {_why(error)}") from error
        return File(key, _etag(state), state.st_size)

    def check(self) -> None:
        """Raise `SourceError` if nothing in the folder can be read now."""
        try:
            with os.scandir(self._path) as entries:
                next(entries, None)
        except OSError as error:
            raise SourceError(f"{self._path}: {_why(error)}") from error

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
            raise Unreadable(f"cannot be read: {_why(error)}") from error

    def _join(self, key: str) -> str:
        return str(Path(self._path) / key)


def lies_in_an_index(path: str) -> bool:
    """Whether a folder is a part of an index, by its own name and its neighbours'."""
    folder = Path(path)
    if any(is_table(part) for part in folder.parts):
        return True
    try:
        return is_part(folder.name, {entry.name for entry in os.scandir(folder.parent)})
    except OSError:
        return False  # it says so itself once it is listed


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


def _why(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return _RIGHTS
    return (error.strerror or type(error).__name__).lower()
