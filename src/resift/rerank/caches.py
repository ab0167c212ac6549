"""Caches: scores of (query, document) pairs, and token states of documents.

A cache never makes a call fail: a file that cannot be used is refused when it is opened, and a
later fault is a warning.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from resift.files import from_home
from resift.rerank.cache_file import CacheFile, Score
from resift.rerank.precompute import EncodedDocument
from resift.settings import Settings

DEFAULT_MB = 64
"""Size of the cache if the settings name a file and no size."""

ENTRY_BYTES = 2_000
"""Memory of a score: key, numbers, vector and dictionary together (measured)."""

ROW_BYTES = 2_100
"""Size of a score in the file (measured)."""

STATES_BYTES = 400
"""Memory of an encoded document besides its arrays (estimated)."""

Value = TypeVar("Value")


class _LeastRecentlyUsed(Generic[Value]):
    """Values by key, of limited total size; the least recently used are dropped.

    Threads may share it.
    """

    def __init__(self, capacity: float, size_of: Callable[[Value], int]) -> None:
        self._capacity = capacity
        self._size_of = size_of
        self._size = 0
        self._values: OrderedDict[bytes, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, Value]:
        """The cached values, by key."""
        with self._lock:
            values = {key: self._values[key] for key in keys if key in self._values}
            for key in values:
                self._values.move_to_end(key)
        return values

    def put(self, values: Mapping[bytes, Value]) -> None:
        with self._lock:
            for key, value in values.items():
                replaced = self._values.pop(key, None)
                self._size -= 0 if replaced is None else self._size_of(replaced)
                self._size += self._size_of(value)
                self._values[key] = value
            while self._size > self._capacity and self._values:
                self._size -= self._size_of(self._values.popitem(last=False)[1])

    def close(self) -> None:
        """Drop all values."""
        with self._lock:
            self._values.clear()
            self._size = 0


class StateCache(_LeastRecentlyUsed[EncodedDocument]):
    """Recently read documents with their token states, by `digest`, at most `megabytes`."""

    def __init__(self, megabytes: float) -> None:
        super().__init__(megabytes * 1e6, _encoded_size)


class PairCache:
    """Scores by key, at most `megabytes` of them in memory and as much again in `file`.

    Threads may share it, and processes may share the file. `logits_key` identifies everything that
    decides a logit besides the pair: model and runtime.
    """

    def __init__(self, logits_key: str, megabytes: float, file: Path | None = None) -> None:
        self._seed = _length_prefixed(logits_key)
        capacity = int(megabytes * 1e6 / ENTRY_BYTES)
        self._memory: _LeastRecentlyUsed[Score] = _LeastRecentlyUsed(capacity, lambda score: 1)
        self._file = CacheFile(file, int(megabytes * 1e6 / ROW_BYTES)) if file else None

    def keys(self, query: str, texts: Iterable[str]) -> list[bytes]:
        """A key of 16 bytes for each pair of the query and a text."""
        seed = hashlib.blake2b(self._seed + _length_prefixed(query), digest_size=16)
        keys = []
        for text in texts:
            digest = seed.copy()
            digest.update(text.encode("utf-8", "surrogatepass"))  # a late lone surrogate
            keys.append(digest.digest())
        return keys

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Score]:
        """The cached scores, by key."""
        scores = self._memory.get(keys)
        missing = [key for key in keys if key not in scores]
        if self._file is None or not missing:
            return scores
        from_file = self._file.get(missing)
        self._memory.put(from_file)
        return scores | from_file

    def put(self, scores: Mapping[bytes, Score]) -> None:
        """Add scores. The least recently used are dropped, in the file the oldest."""
        self._memory.put(scores)
        if self._file is not None and scores:
            self._file.put(scores)

    def close(self) -> None:
        """Drop all scores, and close the file."""
        self._memory.close()
        if self._file is not None:
            self._file.close()


def open_cache(settings: Settings, logits_key: str) -> PairCache | None:
    """A cache if the settings name a size or a file."""
    if not (settings.cache_mb or settings.cache_file):
        return None
    file = from_home(settings.cache_file) if settings.cache_file else None
    return PairCache(logits_key, settings.cache_mb or DEFAULT_MB, file)


def _length_prefixed(text: str) -> bytes:
    content = text.encode()
    return len(content).to_bytes(8, "little") + content


def _encoded_size(document: EncodedDocument) -> int:
    arrays = (document.tokens.ids, document.tokens.ends, document.states)
    return STATES_BYTES + sum(array.nbytes for array in arrays if array is not None)
