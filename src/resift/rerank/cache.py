"""Scores of pairs that were read before, by a hash of all that decides them.

In memory, the least recently used are dropped first; in a file, where one is named, they outlive
the process. A cache is a help and never a duty: a file that cannot be used is said when it is
opened, and what goes wrong with it later costs no score.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from resift.files import from_home
from resift.rerank.cache_file import CacheFile, Score
from resift.settings import Settings

ENTRY_BYTES = 2_000
"""What an entry takes in memory, hash, numbers, vector and dictionary together (measured)."""

ROW_BYTES = 2_100
"""What an entry takes in the file (measured)."""


DEFAULT_MB = 64
"""Where the settings name a file and no size."""


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
        self._file = CacheFile(file, int(megabytes * 1e6 / ROW_BYTES)) if file else None

    def keys(self, query: str, texts: Iterable[str]) -> list[bytes]:
        """A key for each pair, 16 bytes: lengths stand before texts, so no two pairs share one."""
        seed = hashlib.blake2b(self._seed + _framed([query.encode()]), digest_size=16)
        keys = []
        for text in texts:
            own = seed.copy()
            own.update(text.encode("utf-8", "surrogatepass"))  # half a character far behind
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

    def close(self) -> None:
        """Forget all, and close the file."""
        with self._lock:
            self._kept.clear()
        if self._file is not None:
            self._file.close()

    def _keep(self, scores: Mapping[bytes, Score]) -> None:
        with self._lock:
            self._kept.update(scores)
            for key in scores:
                self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def open_cache(settings: Settings, decisive: str) -> PairCache | None:
    """A cache where the settings name a size or a file."""
    if not (settings.cache_mb or settings.cache_file):
        return None
    file = from_home(settings.cache_file) if settings.cache_file else None
    return PairCache(decisive, settings.cache_mb or DEFAULT_MB, file)


def _framed(parts: Iterable[bytes]) -> bytes:
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)
