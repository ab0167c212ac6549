"""Scores in a SQLite file that outlives the process, and the check that a file is ours.

A file is ours if its header has our `application_id` and our table is its only one. No other file
is ever written, renamed or deleted, neither under this name nor under the names that SQLite uses
beside it. SQLite may write to a file that it opens, so its bytes are checked before.
"""

import hashlib
import os
import sqlite3
import struct
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resift.errors import SettingsError
from resift.files import open_regular, reason
from resift.rerank.hints import warn

BUSY_S = 0.005
"""How long to wait while another process writes; short, because callers have budgets."""

SCHEMA = 4
APPLICATION_ID = int.from_bytes(b"rsft")
"""Stored by SQLite in bytes 68 to 72 of a file's header."""

_ID_OFFSET = 68
_MAGIC = b"SQLite format 3\0"
_SIDE_FILES = {
    "-wal": (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"),
    "-shm": (b"\x18\xe2\x2d\x00", b"\x00\x2d\xe2\x18", b"\0\0\0\0"),
    "-journal": (b"\xd9\xd5\x05\xf9", b"\0\0\0\0"),
}
"""The files that SQLite puts beside a database, by suffix, and how each may begin."""

REMEDY = "name another file as cache_file (RESIFT_CACHE_FILE), or delete it yourself"


@dataclass(frozen=True, slots=True)
class Score:
    """A pair's logit after each stage, and how much of the document was read.

    The logit is of characters `start` to `end`. A negative `dropped` means "at least so many
    tokens"; `unknown` tokens were left out. `tokens` is the length of the row, or of the rows of
    all `windows` together, special tokens included. `mean` is the document's mean vector in
    float32, empty if the model has none.
    """

    logits: tuple[float, ...]
    seen: int
    dropped: int
    end: int
    mean: bytes = b""
    tokens: int = 0
    unknown: int = 0
    start: int = 0
    windows: int = 0


class CacheFile:
    """Scores by key on disk, at most `max_rows` of them; the oldest are dropped.

    Threads may share it, and processes may share the file. Raises `SettingsError` for a file that
    is not ours or cannot be used. A later fault gives one warning and ends the use of the file.
    """

    def __init__(self, file: Path, max_rows: int) -> None:
        self._path = file
        self._max_rows = max_rows
        self._lock = threading.Lock()
        self._open: tuple[int, sqlite3.Connection] | None = None  # this process's, never a fork's
        self._broken = False
        try:
            self._connection()
        except sqlite3.Error as error:
            if _is_broken(error):
                self._handle(error)
            elif not _is_busy(error):
                message = f"cache_file={file}: cannot be used ({error}); {REMEDY}"
                raise SettingsError(message) from error

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Score]:
        """The cached scores, by key. Damaged rows are skipped."""
        scores: dict[bytes, Score] = {}
        with self._lock:
            try:
                if (connection := self._connection()) is not None:
                    for key in keys:
                        row = connection.execute(_GET, (key,)).fetchone()
                        if row is not None and (score := _unpack(key, row[0])) is not None:
                            scores[key] = score
            except (sqlite3.Error, SettingsError) as error:
                self._handle(error)
        return scores

    def put(self, scores: Mapping[bytes, Score]) -> None:
        """Add scores; the oldest are dropped."""
        with self._lock:
            try:
                if (connection := self._connection()) is not None:
                    with connection:
                        rows = [(key, _pack(key, score)) for key, score in scores.items()]
                        connection.executemany(_PUT, rows)
                        connection.execute(_TRIM, (self._max_rows,))
            except (sqlite3.Error, SettingsError) as error:
                self._handle(error)

    def close(self) -> None:
        """Close the connection; the file is not used from now on."""
        with self._lock:
            if self._open is not None and self._open[0] == os.getpid():
                self._open[1].close()
            self._open, self._broken = None, True

    def _connection(self) -> sqlite3.Connection | None:
        """Raises `sqlite3.Error` and `SettingsError`."""
        if self._broken:
            return None
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), _connect(self._path))
        return self._open[1]

    def _handle(self, error: Exception) -> None:
        """Replace a broken file of ours; after any other fault stop using the file.

        Skip this access while another process writes: the pairs are scored again.
        """
        if _is_busy(error):
            return
        if self._open is not None:
            with suppress(sqlite3.Error):
                self._open[1].close()
            self._open = None
        try:
            if not _is_broken(error):
                raise error
            _delete(self._path)
            warning = f"the cache was broken ({error}) and was replaced by an empty one"
        except (OSError, sqlite3.Error, SettingsError) as fault:
            warning = f"the cache cannot be used any more ({fault}); scoring without it"
            self._broken = True
        warn(f"{self._path}: {warning}", RuntimeWarning, stacklevel=1)


_CREATE = (
    "CREATE TABLE pairs (number INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB UNIQUE NOT NULL, "
    "score BLOB NOT NULL)"
)
_COLUMNS = ["number", "key", "score"]
_GET = "SELECT score FROM pairs WHERE key = ?"
_PUT = "INSERT OR REPLACE INTO pairs (key, score) VALUES (?, ?)"
_TRIM = "DELETE FROM pairs WHERE number <= (SELECT max(number) FROM pairs) - ?"
_HEAD = struct.Struct("<8s8q")  # checksum, numbers of `Score` and of its logits


def _pack(key: bytes, score: Score) -> bytes:
    """A score as bytes, with a checksum of key and content."""
    read = (score.seen, score.dropped, score.end, score.tokens)
    numbers = (*read, score.unknown, score.start, score.windows, len(score.logits))
    logits = struct.pack(f"<{len(score.logits)}d", *score.logits)
    content = _HEAD.pack(b"", *numbers)[8:] + logits + score.mean
    return _checksum(key, content) + content


def _unpack(key: bytes, packed: Any) -> Score | None:
    """A score from its bytes; None if they are damaged."""
    if not isinstance(packed, bytes) or packed[:8] != _checksum(key, packed[8:]):
        return None
    _, seen, dropped, end, tokens, *read, count = _HEAD.unpack_from(packed)
    logits = struct.unpack_from(f"<{count}d", packed, _HEAD.size)
    return Score(logits, seen, dropped, end, packed[_HEAD.size + 8 * count :], tokens, *read)


def _checksum(key: bytes, content: bytes) -> bytes:
    return hashlib.blake2b(key + content, digest_size=8).digest()


def _connect(file: Path) -> sqlite3.Connection:
    """Open our file, or create it. Its write-ahead log survives a process that is killed.

    Raises `SettingsError` for a file that is not ours, `sqlite3.Error` for one that cannot be used.
    """
    target = check_file(file)
    is_new = not target.exists() or not target.stat().st_size
    connection = sqlite3.connect(target, timeout=BUSY_S, check_same_thread=False)
    try:
        if is_new:  # no journal on disk: the file is whole or empty
            connection.execute("PRAGMA journal_mode = MEMORY")
        _prepare(connection, file)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    connection.text_factory = bytes  # a row that was altered may hold any bytes
    return connection


def _prepare(connection: sqlite3.Connection, file: Path) -> None:
    """Create our table if it is missing or of another version."""
    names = {name for (name,) in connection.execute(_NAMES)}
    if names - {"pairs"}:
        raise foreign_file_error(file)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    columns = [row[1] for row in connection.execute("PRAGMA table_info(pairs)")]
    if (version, columns) == (SCHEMA, _COLUMNS):
        return
    if version > SCHEMA:
        raise SettingsError(
            f"cache_file={file}: schema {version}, this resift reads {SCHEMA}; update resift, or "
            "name another file"
        )
    if version:
        warn(f"{file}: the cache of an older resift was emptied", RuntimeWarning, stacklevel=1)
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        connection.execute("DROP TABLE IF EXISTS pairs")
        connection.execute(_CREATE)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA}")


_NAMES = "SELECT name FROM sqlite_master WHERE type <> 'index' AND substr(name, 1, 7) <> 'sqlite_'"


def check_file(file: Path) -> Path:
    """The file to open, with links followed; opens nothing for writing.

    Raises `SettingsError` if the file is not ours, if a name that SQLite uses beside it belongs to
    another file, and if it cannot be created or written.
    """
    try:
        target = Path(os.path.realpath(file))
        side_heads = {suffix: _head(Path(f"{target}{suffix}")) for suffix in _SIDE_FILES}
        head = _head(target)  # after those: SQLite creates our file before them
        folder = target.parent
        if not folder.is_dir():
            raise SettingsError(f"cache_file={file}: there is no folder {folder}; make it first")
        if not os.access(folder, os.W_OK | os.X_OK) or (
            head is not None and not os.access(target, os.W_OK)
        ):
            raise SettingsError(f"cache_file={file}: cannot be written; {REMEDY}")
    except (OSError, ValueError) as error:  # a NUL in the name is a ValueError
        detail = reason(error) if isinstance(error, OSError) else error
        raise SettingsError(f"cache_file={file}: cannot be used ({detail}); {REMEDY}") from error
    for suffix, side_head in side_heads.items():
        if side_head and not (head and side_head.startswith(_SIDE_FILES[suffix])):
            raise SettingsError(
                f"cache_file={file}: {target}{suffix} exists and is not the cache's; {REMEDY}"
            )
    if head and not _is_ours(head):
        raise foreign_file_error(file)
    return target


def foreign_file_error(file: Path) -> SettingsError:
    """The error for a file that is not ours."""
    return SettingsError(f"cache_file={file}: exists and is no cache of this resift; {REMEDY}")


def _is_ours(head: bytes) -> bool:
    return head.startswith(_MAGIC) and head[_ID_OFFSET : _ID_OFFSET + 4] == APPLICATION_ID.to_bytes(
        4
    )


def _head(file: Path) -> bytes | None:
    """The beginning of a file; None if it is missing. Raises `OSError` if it is no regular file."""
    try:
        with open_regular(file) as stream:
            return stream.read(_ID_OFFSET + 4)
    except FileNotFoundError:
        return None


def _delete(file: Path) -> None:
    """Check a broken file of ours once more, and delete it after the files beside it."""
    target = check_file(file)
    for suffix in (*_SIDE_FILES, ""):
        Path(f"{target}{suffix}").unlink(missing_ok=True)


def _code(error: Exception) -> int:
    """SQLite's primary error code; 0 for other errors."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_busy(error: Exception) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _is_broken(error: Exception) -> bool:
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
