"""Scores of pairs that were read before, by a hash of all that decides them.

In memory, the least recently used are dropped first; in a SQLite file, where one is named, they
outlive the process. A cache is a help and never a duty: what goes wrong with the file is said
once, and scoring goes on without it.
"""

import hashlib
import os
import sqlite3
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

ENTRY_BYTES = 1_200
"""What an entry takes in memory, hash, numbers, vector and dictionary together (measured)."""

ROW_BYTES = 900
"""What an entry takes in the file (measured)."""

BUSY_S = 0.005
"""How long to wait for another process's writing: callers have budgets."""

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Score:
    """A pair's final logit, and what of the document was read for it.

    `mean` is the document's mean vector in 16 bits, empty where the model has none.
    """

    logit: float
    seen: int
    dropped: int
    end: int
    mean: bytes = b""


class PairCache:
    """Scores by key, at most `megabytes` of them in memory and as many again, by size, in `file`.

    Threads may share it, and processes may share the file. `settings` is all that decides a
    logit beside the pair: the model's fingerprint and what runs it.
    """

    def __init__(self, settings: str, megabytes: float, file: Path | None = None) -> None:
        self._seed = _framed([settings.encode()])
        self._most = int(megabytes * 1e6 / ENTRY_BYTES)
        self._kept: OrderedDict[bytes, Score] = OrderedDict()
        self._lock = threading.Lock()
        self._file = _File(file, int(megabytes * 1e6 / ROW_BYTES)) if file else None

    def keys(self, query: str, texts: Iterable[str]) -> list[bytes]:
        """A key for each pair, 16 bytes: lengths stand before texts, so no two pairs share one."""
        seed = hashlib.blake2b(self._seed + _framed([query.encode()]), digest_size=16)
        keys = []
        for text in texts:
            own = seed.copy()
            own.update(text.encode())
            keys.append(own.digest())
        return keys

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Score]:
        """Those that are known."""
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
            for key in found:
                self._kept.move_to_end(key)
        missing = [key for key in keys if key not in found]
        if self._file is None or not missing:
            return found
        more = self._file.get(missing)
        self._keep(more)
        return found | more

    def put(self, scores: Mapping[bytes, Score]) -> None:
        """Remember; the least recently used make room."""
        self._keep(scores)
        if self._file is not None and scores:
            self._file.put(scores)

    def _keep(self, scores: Mapping[bytes, Score]) -> None:
        with self._lock:
            self._kept.update(scores)
            for key in scores:
                self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


class _File:
    """The same on disk, in the order of writing: the oldest rows make room."""

    def __init__(self, file: Path, most: int) -> None:
        self._path = file
        self._most = most
        self._turn = threading.Lock()
        self._open: tuple[int, sqlite3.Connection] | None = None  # a process's own, never a fork's
        self._broken = False

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Score]:
        found: dict[bytes, Score] = {}
        with self._turn:
            if (connection := self._connection()) is not None:
                try:
                    for key in keys:
                        row = connection.execute(_GET, (key,)).fetchone()
                        if row is not None:
                            found[key] = Score(*row)
                except sqlite3.Error as error:
                    self._fault(error)
        return found

    def put(self, scores: Mapping[bytes, Score]) -> None:
        with self._turn:
            if (connection := self._connection()) is not None:
                rows = [(key, *astuple(own)) for key, own in scores.items()]
                try:
                    with connection:
                        connection.executemany(_PUT, rows)
                        connection.execute(_TRIM, (self._most,))
                except sqlite3.Error as error:
                    self._fault(error)

    def _connection(self) -> sqlite3.Connection | None:
        if self._broken:
            return None
        if self._open is None or self._open[0] != os.getpid():
            try:
                self._open = (os.getpid(), _connect(self._path))
            except sqlite3.DatabaseError as error:
                self._fault(error)
                return None
        return self._open[1]

    def _fault(self, error: sqlite3.Error) -> None:
        """A file that is no cache is begun anew; any other fault leaves the file alone.

        Where another process writes, this once is done without: its pairs are read again.
        """
        code = getattr(error, "sqlite_errorcode", 0)  # only the library's own errors have one
        if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return
        if self._open is not None:
            self._open[1].close()
            self._open = None
        try:
            if not _is_corrupt(error):
                raise error
            for end in ("", "-wal", "-shm"):
                Path(f"{self._path}{end}").unlink(missing_ok=True)
            _say(f"{self._path}: not a readable cache ({error}); it was begun anew")
        except (OSError, sqlite3.Error) as left:
            _say(f"{self._path}: the cache cannot be used ({left}); going on without it")
            self._broken = True


_CREATE = """
CREATE TABLE IF NOT EXISTS pairs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB UNIQUE NOT NULL,
    logit REAL NOT NULL, seen INTEGER NOT NULL, dropped INTEGER NOT NULL, "end" INTEGER NOT NULL,
    mean BLOB NOT NULL
)"""
_GET = 'SELECT logit, seen, dropped, "end", mean FROM pairs WHERE key = ?'
_PUT = (
    'INSERT OR REPLACE INTO pairs (key, logit, seen, dropped, "end", mean) '
    "VALUES (?, ?, ?, ?, ?, ?)"
)
_TRIM = "DELETE FROM pairs WHERE number <= (SELECT max(number) FROM pairs) - ?"


def _connect(file: Path) -> sqlite3.Connection:
    """Open or make the file. A write-ahead log survives a process that is killed in mid-write."""
    connection = sqlite3.connect(file, timeout=BUSY_S, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, SCHEMA):
        raise sqlite3.DatabaseError(f"file is not a database of version {SCHEMA}")
    with connection:
        connection.execute(_CREATE)
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
    return connection


def _is_corrupt(error: sqlite3.Error) -> bool:
    return type(error) is sqlite3.DatabaseError


def _framed(parts: Iterable[bytes]) -> bytes:
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def _say(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)
