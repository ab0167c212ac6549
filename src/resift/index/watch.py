"""Watches a local folder, so that a sync is due when its documents change.

The system reports changes of files, but not all: other machines' changes on network drives, changes
after its queue is full, folders beyond its limit. So a sync is also due every so often.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from resift.errors import ResiftError
from resift.extras import require
from resift.files import reason
from resift.index.shards.layout import FIRST_TABLE
from resift.index.sources.listing import is_part_of_index, is_table
from resift.index.sources.patterns import ALL, Globs
from resift.index.sources.source import is_document, is_hidden
from resift.index.storage.location import TABLE, Location

LIST_EVERY_S = 600.0
"""The default for how often a watched folder is listed without a reported change."""

POLL_S = 30.0
"""The same for a folder that cannot be watched, or that is on a network drive."""

_QUIET_S = 0.5  # a sync waits until nothing has changed for this long,
_MAX_SETTLE_S = 30.0  # but no longer than this
_STEP_MS = 50
_TICK_MS = 200
_NETWORK_DRIVES = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.")
_MOUNTS = Path("/proc/self/mountinfo")

_UNWATCHABLE = (OSError, RuntimeError)  # no inotify, or too many folders for it, at once or later

_log = logging.getLogger(__name__)


class FolderWatch:
    """Makes a sync due when documents below a folder change, and `every_s` seconds after the last.

    Hidden files, files that are no documents or that the patterns exclude, and indexes do not make
    it due. Changes that follow each other closely make one sync due.
    """

    def __init__(
        self,
        location: Location,
        index: Location,
        every_s: float | None = None,
        globs: Callable[[], Globs] = lambda: ALL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch the folder or file at `location`; raise `MissingExtra` without watchfiles.

        `index` is where the index lies. `globs` returns the source's patterns as they are now.
        `every_s` None is `LIST_EVERY_S`, or `POLL_S` where reported changes are not enough.
        """
        self._watch: Callable[..., Iterator[set[tuple[Any, str]]]]
        self._watch = require("watchfiles", "watch").watch
        path = location.folder
        self._only = path.name if path.is_file() else None
        self._root = path.parent if self._only else path
        self._index = None if index.bucket else index.folder
        self._globs = globs
        self._patterns: Globs | None = None
        self._clock = clock
        self._every_s = every_s or LIST_EVERY_S
        self._poll_s = every_s or POLL_S
        self._changes: Iterator[set[tuple[Any, str]]] | None = None
        self._node: tuple[int, int] | None = None
        self._folders: set[str] = set()
        self._has_new_folders = False
        self._last_warning: str | None = None
        if is_network_drive(self._root):
            self._poll("it is on a network drive, where other machines' changes are not reported")

    def prepare(self) -> None:
        self._patterns = None
        node = _node(self._root)
        if node != self._node:
            self.close()
        if node is not None and self._changes is None:
            self._open(node)
        elif self._has_new_folders:
            self._folders, self._has_new_folders = _subfolders(self._root), False

    def wait(self, stop: threading.Event, retry_s: float | None = None) -> None:
        until = self._clock() + min(self._every_s, retry_s or self._every_s)
        while not stop.is_set() and self._clock() < until:
            if self._changes is None and self._node is not None:  # it cannot be watched
                stop.wait(until - self._clock())
            elif _node(self._root) != self._node:
                return  # mounted, unmounted, deleted or replaced: `prepare` opens it again
            elif self._changes is None:  # it is missing
                stop.wait(_TICK_MS / 1000)
            elif self._has_changed(stop):
                self._settle(stop)
                return

    def close(self) -> None:
        changes, self._changes, self._node = self._changes, None, None
        if changes is not None:
            changes.close()  # type: ignore[attr-defined]  # a generator

    def _open(self, node: tuple[int, int]) -> None:
        """Begin to watch; changes from then on are collected until they are asked for."""
        changes = self._watch(
            self._root,
            watch_filter=None,
            debounce=_TICK_MS,
            step=_STEP_MS,
            rust_timeout=_TICK_MS,
            yield_on_timeout=True,
            recursive=self._only is None,
            ignore_permission_denied=True,
        )
        try:
            next(changes)
        except _UNWATCHABLE as error:
            self._node = node
            self._poll(_problem(error))
            return
        self._changes, self._node = changes, node
        if self._only is None:
            self._folders, self._has_new_folders = _subfolders(self._root), False

    def _poll(self, why: str) -> None:
        """List the folder more often, and tell why, once."""
        self._every_s = self._poll_s
        if why != self._last_warning:
            _log.warning(
                "%s: cannot rely on reported changes: %s; it is listed every %g s",
                self._root, why, self._every_s,
            )  # fmt: skip
        self._last_warning = why

    def _has_changed(self, stop: threading.Event) -> bool:
        """Wait a moment for changes; return whether some matter to the index."""
        try:
            changes = next(self._changes, None) if self._changes else None
        except _UNWATCHABLE as error:
            _log.warning("%s: watching is interrupted: %s", self._root, _problem(error))
            changes = None
        if changes is None:
            self.close()
            return True
        if not changes or stop.is_set():
            return False
        if self._patterns is None:
            self._patterns = ALL
            with suppress(ResiftError):  # the index cannot be read now: any document matters
                self._patterns = self._globs()
        globs = self._patterns
        return any([self._matters(path, globs) for _, path in changes])  # all, for new folders

    def _settle(self, stop: threading.Event) -> None:
        """Wait until nothing changes for a moment; files are often written in many steps."""
        since = started = self._clock()
        while not stop.is_set() and self._changes is not None:
            now = self._clock()
            if now - since >= _QUIET_S or now - started >= _MAX_SETTLE_S:
                return
            if self._has_changed(stop):
                since = self._clock()

    def _matters(self, path: str, globs: Globs) -> bool:
        """Whether a change of this path can change the index."""
        changed = Path(path)
        if self._index is not None and (changed == self._index or self._index in changed.parents):
            return False
        try:
            key = changed.relative_to(self._root).as_posix()
        except ValueError:
            return False
        if self._only is not None:
            return key == self._only
        parts = key.split("/")
        if any(_is_ignored(part) for part in parts):
            return False
        if is_document(key, globs):
            return globs.match(key) and not self._is_in_index(changed)
        if key in self._folders or changed.is_dir():
            self._has_new_folders = True
            return globs.may_match_below(key) and not self._is_in_index(changed)
        return key == "."

    def _is_in_index(self, path: Path) -> bool:
        """Whether a path lies in another index below the root."""
        inside = [path, *path.parents]
        inside = inside[: inside.index(self._root)]
        return any(
            is_part_of_index(folder.name, [table]) and (folder.parent / table).is_dir()
            for folder in inside
            for table in (TABLE, FIRST_TABLE)
        )


def is_network_drive(path: Path, mounts: Path = _MOUNTS) -> bool:
    """Whether a path is on a file system that other machines can change.

    `mounts` is the system's list of mounts; without one the result is False.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    kinds = {}
    for line in lines:
        before, separator, after = line.partition(" - ")
        if separator and len(before.split()) > 4:
            mount = _unescape(before.split()[4])
            if mount == path or mount in path.parents:
                kinds[mount] = after.split()[0]  # a later mount hides an earlier one
    if not kinds:
        return False
    return kinds[max(kinds, key=lambda mount: len(mount.parts))].startswith(_NETWORK_DRIVES)


def _unescape(mount: str) -> Path:
    """The path of a mount; blanks, tabs, line ends and backslashes are written in octal."""
    for character in " \t\n\\":
        mount = mount.replace(f"\\{ord(character):03o}", character)
    return Path(mount)


def _problem(error: Exception) -> str:
    return reason(error) if isinstance(error, OSError) else str(error)


def _is_ignored(part: str) -> bool:
    return is_hidden(part) or is_table(part)


def _node(path: Path) -> tuple[int, int] | None:
    """The identity of a folder, which changes when another is mounted or renamed to its path."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _subfolders(root: Path) -> set[str]:
    """The keys of all folders below `root` that a sync lists."""
    folders = set()
    for folder, names, _ in os.walk(root):
        names[:] = [name for name in names if not _is_ignored(name)]
        below = Path(folder).relative_to(root)
        folders |= {(below / name).as_posix() for name in names}
    return folders
