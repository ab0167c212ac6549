"""A folder of the local disk as a source.

File names are decoded as UTF-8, whatever the locale. An entry that cannot be listed or read is
reported, and the rest is read; only files that the system reports as missing count as deleted.
Links are followed only on request. Pipes, sockets and devices are never opened, because reading
them could block a sync.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from resift.errors import SourceError, Unreadable, Vanished
from resift.files import irregular, open_regular, reason
from resift.index.shards.layout import FIRST_TABLE, SHARDS
from resift.index.sources.listing import (
    Fetched,
    RawListing,
    SourceObject,
    UnreadEntry,
    is_part_of_index,
    key_problem,
    refuse_large,
)
from resift.index.storage.location import Location, from_disk, on_disk

_BLOCK_BYTES = 1 << 20
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_Node = tuple[int, int]
_Entry = os.DirEntry[bytes]


@dataclass(frozen=True, slots=True)
class _Subfolder:
    """A folder still to be listed; `ancestors` are the folders above it."""

    path: bytes
    prefix: str
    ancestors: frozenset[_Node] = frozenset()


class _Walk:
    """The listing so far, and the folders still to be listed."""

    def __init__(self, location: Location, follow_links: bool) -> None:
        self._location = location
        self._follow_links = follow_links
        self.listing = RawListing()
        self.pending = [_Subfolder(on_disk(location.path), "")]

    def list_next(self) -> None:
        """List a pending folder; raise `OSError` if the topmost folder cannot be listed."""
        folder = self.pending.pop()
        try:
            with os.scandir(folder.path) as scan:
                entries = list(scan)
            if self._follow_links:
                ancestors = folder.ancestors | {_node(os.stat(folder.path))}
                folder = _Subfolder(folder.path, folder.prefix, ancestors)
        except OSError as error:
            if not folder.prefix:
                raise
            why = f"the folder cannot be listed: {reason(error)}"
            self.listing.unseen.append(UnreadEntry(folder.prefix.rstrip("/"), why, is_folder=True))
            return
        names = {from_disk(entry.name) for entry in entries}
        if SHARDS in names and os.path.isdir(os.path.join(folder.path, on_disk(FIRST_TABLE))):
            names.add(FIRST_TABLE)
        for entry in entries:
            if not entry.name.startswith(b"."):
                self._add(entry, folder, names)

    def _add(self, entry: _Entry, folder: _Subfolder, names: set[str]) -> None:
        name = from_disk(entry.name)
        key = folder.prefix + name
        try:
            # For a link, look at its target. Other entries need no system call.
            is_folder = os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
            why = key_problem(name) or self._why_not_read(entry)
            if why:
                self.listing.unsupported.append(UnreadEntry(key, why, is_folder))
            elif is_folder and is_part_of_index(name, names):
                self.listing.indexes.append(key)
            elif is_folder:
                self._add_folder(entry, key, folder)
            else:
                self.listing.files.append(_object(self._location, key, entry.stat()))
        except FileNotFoundError:
            return  # deleted since the folder was listed
        except OSError as error:
            why = f"cannot be looked at: {reason(error)}"
            self.listing.unseen.append(UnreadEntry(key, why, _is_folder(entry)))

    def _why_not_read(self, entry: _Entry) -> str | None:
        """Return why an entry is not read, or None; raise `OSError` if that is unknown."""
        if entry.is_symlink():
            if not self._follow_links:
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
        if self._follow_links and _node(entry.stat()) in folder.ancestors:
            self.listing.unsupported.append(
                UnreadEntry(key, "a link to a folder that it lies in", is_folder=True)
            )
        else:
            self.pending.append(_Subfolder(entry.path, f"{key}/", folder.ancestors))


class Folder:
    """The files below one folder. Threads may share it."""

    def __init__(self, location: Location) -> None:
        """Store the location; nothing is read yet."""
        self._location = location

    def list(self, follow_links: bool) -> RawListing:
        """List all files except hidden ones; raise `SourceError` if the folder cannot be listed."""
        walk = _Walk(self._location, follow_links)
        with _source_errors(self._location.uri):
            while walk.pending:
                walk.list_next()
        return walk.listing

    def stat(self, key: str) -> SourceObject:
        """Look up one file; raise `SourceError` if it does not exist."""
        with _source_errors(self._location.child(key)):
            return _object(self._location, key, os.stat(self._path(key)))

    def check(self) -> None:
        """Raise `SourceError` if the folder cannot be listed now."""
        with _source_errors(self._location.uri), os.scandir(self._path()) as entries:
            next(entries, None)

    def read(self, key: str, max_bytes: int | None, version: str | None = None) -> Fetched:
        """Read a file; raise `Vanished`, `Unreadable`, or `SourceError` for a large file.

        The ETag is taken before the read, so a file that is written meanwhile gets another one.
        """
        try:
            with open_regular(self._path(key)) as stream:
                state = os.fstat(stream.fileno())
                refuse_large(state.st_size, max_bytes)
                blocks, size = [], 0
                while block := stream.read(_BLOCK_BYTES):
                    blocks.append(block)
                    size += len(block)
                    refuse_large(size, max_bytes)  # the file may grow, or have no size, as in /proc
                return Fetched(b"".join(blocks), file_etag(state), None)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Vanished("gone since the source was listed") from error
        except OSError as error:
            raise Unreadable(f"cannot be read: {reason(error)}") from error

    def _path(self, key: str = "") -> bytes:
        return os.path.join(on_disk(self._location.path), on_disk(key))


def kind_of(path: str) -> str | None:
    """Return the kind of a canonical path: ``file``, ``folder``, "a pipe", …; None if missing.

    Raise `SourceError` if the kind cannot be determined.
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


@contextmanager
def _source_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(f"{uri}: {reason(error)}") from error


def _object(location: Location, key: str, state: os.stat_result) -> SourceObject:
    return SourceObject(key, location.child(key), file_etag(state), state.st_size)


def file_etag(state: os.stat_result) -> str:
    """The ETag of a file: another one after each write, and of each other file."""
    return f"{state.st_ino:x}-{state.st_mtime_ns:x}-{state.st_size:x}"


def _node(state: os.stat_result) -> _Node:
    return state.st_dev, state.st_ino


def _is_folder(entry: _Entry) -> bool | None:
    """Whether an entry is a folder, by the listing of its parent; None if that does not show it."""
    try:
        return None if entry.is_symlink() else entry.is_dir()
    except OSError:
        return None
