"""Scores in a SQLite file that outlives the process, and the proof that a file is ours.

A file is ours where its header carries our `application_id` and it holds our table and no other.
Nothing else is ever written, renamed or deleted: neither the file nor what SQLite would put beside
it. So a file is looked at as plain bytes before SQLite, which would write to it, may open it.
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
from resift.files import open_regular
from resift.rerank.hints import warn

BUSY_S = 0.005
"""How long to wait for another process's writing: callers have budgets."""

SCHEMA = 2
APPLICATION_ID = int.from_bytes(b"rsft")
"""Where SQLite keeps the kind of a file: bytes 68 to 72 of its header."""

_ID_AT = 68
_MAGIC = b"SQLite format 3\0"
_BESIDE = {
    "-wal": (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"),
    "-shm": (b"\x18\xe2\x2d\x00", b"\x00\x2d\xe2\x18", b"\0\0\0\0"),
    "-journal": (b"\xd9\xd5\x05\xf9", b"\0\0\0\0"),
}
"""What SQLite puts beside a file, and how each of these begins."""

REMEDY = "name another file as cache_file (RESIFT_CACHE_FILE), or delete it yourself"


@dataclass(frozen=True, slots=True)
class Score:
    """A pair's logit after each stage, and what of the document was read for it.

    `tokens` are the row's, special ones too: what it counts for where rows are taken in portions.
    `mean` is the document's mean vector in float32, as it was computed; empty where the model has
    none.
    """

    logits: tuple[float, ...]
    seen: int
    dropped: int
    end: int
    mean: bytes = b""
    tokens: int = 0


class CacheFile:
    """Scores by key on disk, in the order of writing: the oldest rows make room.

    Threads may share it, and processes may share the file. Raises `SettingsError` for a file that
    is not ours or that cannot be used; what goes wrong later is said once, as a warning, and the
    file is done without.
    """

    def __init__(self, file: Path, most: int) -> None:
        self._path = file
        self._most = most
        self._turn = threading.Lock()
        self._open: tuple[int, sqlite3.Connection] | None = None  # this process's, never a fork's
        self._broken = False
        try:
            self._connection()
        except sqlite3.Error as error:
            if _is_broken(error):
                self._fault(error)
            elif not _is_busy(error):
                reason = f"cache_file={file}: cannot be used ({error}); {REMEDY}"
                raise SettingsError(reason) from error

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Score]:
        """Those that are known. A row that is not as it was written is passed over."""
        scores: dict[bytes, Score] = {}
        with self._turn:
            try:
                if (connection := self._connection()) is not None:
                    for key in keys:
                        row = connection.execute(_GET, (key,)).fetchone()
                        if row is not None and (score := _score(key, row)) is not None:
                            scores[key] = score
            except (sqlite3.Error, SettingsError) as error:
                self._fault(error)
        return scores

    def put(self, scores: Mapping[bytes, Score]) -> None:
        """Remember; the oldest make room."""
        with self._turn:
            try:
                if (connection := self._connection()) is not None:
                    with connection:
                        rows = [_row(key, score) for key, score in scores.items()]
                        connection.executemany(_PUT, rows)
                        connection.execute(_TRIM, (self._most,))
            except (sqlite3.Error, SettingsError) as error:
                self._fault(error)

    def close(self) -> None:
        """Close the connection; nothing is read or written from then on."""
        with self._turn:
            if self._open is not None and self._open[0] == os.getpid():
                self._open[1].close()
            self._open, self._broken = None, True

    def _connection(self) -> sqlite3.Connection | None:
        """Raises `sqlite3.Error` and `SettingsError`."""
        if self._broken:
            return None
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), _connected(self._path))
        return self._open[1]

    def _fault(self, error: Exception) -> None:
        """A broken file of ours is begun anew; any other fault leaves it alone, for good.

        Where another process writes, this once is done without: its pairs are read again.
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
            _say(f"{self._path}: the cache was broken ({error}) and was begun anew")
        except (OSError, sqlite3.Error, SettingsError) as left:
            _say(f"{self._path}: the cache cannot be used any more ({left}); going on without it")
            self._broken = True


_CREATE = """
CREATE TABLE pairs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB UNIQUE NOT NULL, logits BLOB NOT NULL,
    seen INTEGER NOT NULL, dropped INTEGER NOT NULL, "end" INTEGER NOT NULL, mean BLOB NOT NULL,
    tokens INTEGER NOT NULL, checksum BLOB NOT NULL
)"""
_COLUMNS = ["number", "key", "logits", "seen", "dropped", "end", "mean", "tokens", "checksum"]
_GET = 'SELECT logits, seen, dropped, "end", mean, tokens, checksum FROM pairs WHERE key = ?'
_PUT = (
    'INSERT OR REPLACE INTO pairs (key, logits, seen, dropped, "end", mean, tokens, checksum) '
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_TRIM = "DELETE FROM pairs WHERE number <= (SELECT max(number) FROM pairs) - ?"


def _row(key: bytes, score: Score) -> tuple[bytes | int, ...]:
    logits = struct.pack(f"<{len(score.logits)}d", *score.logits)
    values = (logits, score.seen, score.dropped, score.end, score.mean, score.tokens)
    return key, *values, _checksum(key, values)


def _score(key: bytes, row: Sequence[Any]) -> Score | None:
    """A row as a score; None where anything in it is not what was written."""
    *values, checksum = row
    if checksum != _checksum(key, values):
        return None
    logits, seen, dropped, end, mean, tokens = values
    numbers = struct.unpack(f"<{len(logits) // 8}d", logits)  # of the kinds that were written
    return Score(numbers, seen, dropped, end, mean, tokens)


def _checksum(key: bytes, values: Sequence[object]) -> bytes:
    return hashlib.blake2b(repr((key, *values)).encode(), digest_size=8).digest()


def _connected(file: Path) -> sqlite3.Connection:
    """Open our file, or make it. A write-ahead log survives a process killed in mid-write.

    Raises `SettingsError` for what is not ours and `sqlite3.Error` for what cannot be used.
    """
    target = checked(file)
    is_new = not target.exists() or not target.stat().st_size
    connection = sqlite3.connect(target, timeout=BUSY_S, check_same_thread=False)
    try:
        if is_new:  # no journal on disk: what lies there is whole or empty
            connection.execute("PRAGMA journal_mode = MEMORY")
        _prepare(connection, file)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    connection.text_factory = bytes  # a row that was tampered with need not be text
    return connection


def _prepare(connection: sqlite3.Connection, file: Path) -> None:
    """Make our table where there is none, or one of another version."""
    names = {name for (name,) in connection.execute(_NAMES)}
    if names - {"pairs"}:
        raise not_ours(file)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    columns = [row[1] for row in connection.execute("PRAGMA table_info(pairs)")]
    if (version, columns) == (SCHEMA, _COLUMNS):
        return
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        connection.execute("DROP TABLE IF EXISTS pairs")
        connection.execute(_CREATE)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA}")


_NAMES = "SELECT name FROM sqlite_master WHERE type <> 'index' AND substr(name, 1, 7) <> 'sqlite_'"


def checked(file: Path) -> Path:
    """The file that would be opened, links followed; nothing is opened for writing here.

    Raises `SettingsError` where it is there and not ours, where something else lies at a name that
    SQLite would use beside it, and where it cannot be made or written.
    """
    try:
        target = Path(os.path.realpath(file))
        beside = {end: _head(Path(f"{target}{end}")) for end in _BESIDE}
        head = _head(target)  # after those: of ours, none of them is there before it
        folder = target.parent
        if not folder.is_dir():
            raise SettingsError(f"cache_file={file}: there is no folder {folder}; make it first")
        if not os.access(folder, os.W_OK | os.X_OK) or (
            head is not None and not os.access(target, os.W_OK)
        ):
            raise SettingsError(f"cache_file={file}: cannot be written; {REMEDY}")
    except (OSError, ValueError) as error:  # a NUL in the name is a ValueError
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"cache_file={file}: cannot be used ({reason}); {REMEDY}") from error
    for end, start in beside.items():
        if start and not (head and start.startswith(_BESIDE[end])):
            raise SettingsError(
                f"cache_file={file}: {target}{end} is there and is not the cache's; {REMEDY}"
            )
    if head and not _is_ours(head):
        raise not_ours(file)
    return target


def not_ours(file: Path) -> SettingsError:
    """What is said of a file that holds anything else."""
    return SettingsError(f"cache_file={file}: is there and is no cache of this resift; {REMEDY}")


def _is_ours(head: bytes) -> bool:
    return head.startswith(_MAGIC) and head[_ID_AT : _ID_AT + 4] == APPLICATION_ID.to_bytes(4)


def _head(file: Path) -> bytes | None:
    """How a file begins; None where there is none. Raises `OSError` for what is no regular file."""
    try:
        with open_regular(file) as stream:
            return stream.read(_ID_AT + 4)
    except FileNotFoundError:
        return None


def _delete(file: Path) -> None:
    """Delete a broken file of ours, what is beside it first: looked at once more."""
    target = checked(file)
    for end in (*_BESIDE, ""):
        Path(f"{target}{end}").unlink(missing_ok=True)


def _code(error: Exception) -> int:
    """SQLite's code without its extension; 0 for what is no error of the library's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_busy(error: Exception) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _is_broken(error: Exception) -> bool:
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _say(message: str) -> None:
    warn(message, RuntimeWarning, stacklevel=2)
