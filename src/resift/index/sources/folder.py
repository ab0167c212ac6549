"""A folder of the local disk as a source.

Names are bytes and read as UTF-8 whatever the locale. An entry that cannot be listed, examined or
read is named, and the rest is read; only what the system reports as missing counts as deleted.
Links are followed only on request. Pipes, sockets and devices are never opened for reading, so
none of them can block a sync.
"""

import errno
import os
import stat
from dataclasses import dataclass, field

from resift.errors import SourceError, Unreadable, Vanished
from resift.files import irregular, open_regular, reason
from resift.index.sources.listing import (
    Fetched,
    File,
    OddEntry,
    RawListing,
    is_part_of_index,
    refuse_large,
    why_odd,
)
from resift.index.storage.location import from_disk, on_disk

_BLOCK_BYTES = 1 << 20
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_Node = tuple[int, int]
_Entry = os.DirEntry[bytes]


@dataclass(frozen=True, slots=True)
class _Subfolder:
    """A folder that is still to be listed; `ancestors` are the folders that lead to it."""

    path: bytes
    prefix: str
    ancestors: frozenset[_Node] = frozenset()


@dataclass(slots=True)
class _Walk:
    """The entries so far, and the folders that are still to be listed."""

    follow_links: bool
    files: list[File] = field(default_factory=list)
    odd: list[OddEntry] = field(default_factory=list)
    unseen: list[OddEntry] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    pending: list[_Subfolder] = field(default_factory=list)

    def enter(self, folder: _Subfolder) -> None:
        """List a folder; raise `OSError` if that is not possible for the topmost one."""
        try:
            with os.scandir(folder.path) as scan:
                entries = list(scan)
            if self.follow_links:
                ancestors = folder.ancestors | {_node(os.stat(folder.path))}
                folder = _Subfolder(folder.path, folder.prefix, ancestors)
        except OSError as error:
            if not folder.prefix:
                raise
            why = f"the folder cannot be listed: {reason(error)}"
            self.unseen.append(OddEntry(folder.prefix.rstrip("/"), why, is_folder=True))
            return
        names = {from_disk(entry.name) for entry in entries}
        for entry in entries:
            if not entry.name.startswith(b"."):
                self._add(entry, folder, names)

    def _add(self, entry: _Entry, folder: _Subfolder, names: set[str]) -> None:
        name = from_disk(entry.name)
        key = folder.prefix + name
        try:
            # For a link: of its target, if there is one. For all else this needs no system call.
            is_folder = os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
            why = why_odd(name) or self._why_not_read(entry)
            if why:
                self.odd.append(OddEntry(key, why, is_folder))
            elif is_folder and is_part_of_index(name, names):
                self.indexes.append(key)
            elif is_folder:
                self._add_folder(entry, key, folder)
            else:
                state = entry.stat()
                self.files.append(File(key, _etag(state), state.st_size))
        except FileNotFoundError:
            return  # deleted since the folder was listed
        except OSError as error:
            why = f"cannot be looked at: {reason(error)}"
            self.unseen.append(OddEntry(key, why, _is_folder(entry)))

    def _why_not_read(self, entry: _Entry) -> str | None:
        """Explain why an entry is not read; raise `OSError` if that is not known."""
        if entry.is_symlink():
            if not self.follow_links:
                return "a link, and links are followed only with --follow-links"
            try:
                os.stat(entry.path)
            except OSError as error:
                if error.errno not in _MISSING:
                    raise
                return "a link that leads nowhere"
        if entry.is_dir() or entry.is_file():
            return None
        return f"{irregular(entry.stat().st_mode) or 'something'}, not a file"

    def _add_folder(self, entry: _Entry, key: str, folder: _Subfolder) -> None:
        if self.follow_links and _node(entry.stat()) in folder.ancestors:
            self.odd.append(OddEntry(key, "a link to a folder that it lies in", is_folder=True))
        else:
            self.pending.append(_Subfolder(entry.path, f"{key}/", folder.ancestors))


class Folder:
    """The files below one folder. Threads may share it."""

    def __init__(self, path: str) -> None:
        """Name the folder by its canonical path; it is not read yet."""
        self._path = path

    def list(self, follow_links: bool) -> RawListing:
        """List all files but hidden ones; raise `SourceError` if the folder cannot be listed."""
        walk = _Walk(follow_links)
        walk.pending.append(_Subfolder(on_disk(self._path), ""))
        try:
            while walk.pending:
                walk.enter(walk.pending.pop())
        except OSError as error:
            raise SourceError(f"{self._path}: {reason(error)}") from error
        return RawListing(walk.files, walk.odd, walk.unseen, walk.indexes)

    def stat(self, key: str) -> File:
        """Look up one file; raise `SourceError` if it does not exist."""
        try:
            state = os.stat(self._join(key))
        except OSError as error:
            raise SourceError(f"{self._path}/{key}: {reason(error)}") from error
        return File(key, _etag(state), state.st_size)

    def check(self) -> None:
        """Raise `SourceError` if the folder cannot be listed now."""
        try:
            with os.scandir(on_disk(self._path)) as entries:
                next(entries, None)
        except OSError as error:
            raise SourceError(f"{self._path}: {reason(error)}") from error

    def read(self, key: str, max_bytes: int | None, version: str | None = None) -> Fetched:
        """Read a file; raise `Vanished`, `Unreadable`, or `SourceError` for a large one.

        The ETag is from before the read: a file that is written meanwhile gets another one.
        """
        try:
            with open_regular(self._join(key)) as stream:
                state = os.fstat(stream.fileno())
                refuse_large(state.st_size, max_bytes)
                blocks, size = [], 0
                while block := stream.read(_BLOCK_BYTES):
                    blocks.append(block)
                    size += len(block)
                    refuse_large(size, max_bytes)  # it has grown, or has no size, as in /proc
                return Fetched(b"".join(blocks), _etag(state), None)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Vanished("gone since the source was listed") from error
        except OSError as error:
            raise Unreadable(f"cannot be read: {reason(error)}") from error

    def _join(self, key: str) -> bytes:
        return os.path.join(on_disk(self._path), on_disk(key))


def kind_of(path: str) -> str | None:
    """Tell what a canonical path is: ``file``, ``folder``, "a pipe", …; None if nothing is there.

    Raise `SourceError` where that is not known.
    """
    try:
        mode = os.stat(on_disk(path)).st_mode
    except OSError as error:
        if error.errno in _MISSING:
            return None
        raise SourceError(f"{path}: {reason(error)}") from error
    if stat.S_ISDIR(mode):
        return "folder"
    return irregular(mode) or "file"


def _etag(state: os.stat_result) -> str:
    return f"{state.st_ino:x}-{state.st_mtime_ns:x}-{state.st_size:x}"


def _node(state: os.stat_result) -> _Node:
    return state.st_dev, state.st_ino


def _is_folder(entry: _Entry) -> bool | None:
    """Whether an entry is a folder, as far as the listing of its parent says so."""
    try:
        return None if entry.is_symlink() else entry.is_dir()
    except OSError:
        return None
