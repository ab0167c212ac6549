"""What an index needs of a store, each promise tried out in a place of its own.

A trial returns a line on what was seen, and raises `Broken` with what it means. One promise above
all: of several writers who create the same object, one is told that it did. A store that
overwrites instead loses what a writer was told is kept, in silence.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from statistics import median
from threading import Barrier
from typing import Any

from resift.extras import require

_ROUNDS, _WRITERS = 5, 8
_MORE_THAN_A_PAGE = 1_001  # S3 lists a thousand at a time
_AT_ONCE = 32
_SAMPLES = 9
_MUCH_SKEW_S = 5
_LOST = "two writers can both be told that they published, and acknowledged writes are lost"


class Broken(Exception):
    """A promise that was not kept, in words for the user."""


class ScratchStore:
    """An obstore store in which everything may be written, and is known to be removed again."""

    def __init__(self, store: Any) -> None:
        self._obstore = require("obstore", "index")
        self._refusals = require("obstore.exceptions", "index")
        self._store = store
        self._written: set[str] = set()

    def put(self, key: str, data: bytes) -> None:
        self._written.add(key)
        self._obstore.put(self._store, key, data)

    def create(self, key: str, data: bytes) -> bool:
        """Whether the store says that it made a new object."""
        self._written.add(key)
        try:
            self._obstore.put(self._store, key, data, mode="create")
        except (self._refusals.AlreadyExistsError, self._refusals.PreconditionError):
            return False
        return True

    def get(self, key: str) -> bytes:
        return bytes(self._obstore.get(self._store, key).bytes())

    def get_range(self, key: str, start: int, end: int) -> bytes:
        return bytes(self._obstore.get_range(self._store, key, start=start, end=end))

    def last_modified(self, key: str) -> datetime:
        """When the store says that the object was written."""
        moment: datetime = self._obstore.head(self._store, key)["last_modified"]
        return moment

    def delete(self, key: str) -> None:
        self._obstore.delete(self._store, key)
        self._written.discard(key)

    def names(self, prefix: str | None = None) -> list[str]:
        """Every name that is listed, over all pages."""
        return [meta["path"] for page in self._obstore.list(self._store, prefix) for meta in page]

    def clean_up(self) -> str:
        """Remove what was written, whether it is listed or not."""
        if self._written:
            self._obstore.delete(self._store, sorted(self._written))
            left = self.names()
            if left:
                raise Broken(f"{len(left):,} objects could not be removed, from {left[0]} on")
        return "everything that was written is removed"


def reach(place: ScratchStore) -> str:
    """The place can be listed: there is a way, a bucket, and who asks is let in."""
    place.names()
    return "the place can be listed"


def read_after_write(place: ScratchStore) -> str:
    """What was written is read, at once and whole."""
    for number in range(_ROUNDS):
        key, data = f"read-{number}", b"%d" % number
        place.put(key, data)
        if place.get(key) != data:
            raise Broken("what was written is read back as something else")
    return "what was written is read at once"


def overwrite(place: ScratchStore) -> str:
    """What was overwritten is not read any more."""
    for number in range(_ROUNDS):
        data = b"%d" % number
        place.put("object", data)
        if place.get("object") != data:
            raise Broken("an older content is read after an overwrite")
    return "an overwrite is read at once"


def create_once(place: ScratchStore) -> str:
    """An object that is there is not created again. Three requests, or four."""
    place.put("object", b"first")
    if place.create("object", b"again"):
        raise Broken(f"an object that is there can be created again: {_LOST}")
    if place.get("object") != b"first":
        raise Broken(f"creating an object that is there is refused, and changes it: {_LOST}")
    return "an object that is there is not created again"


def contention(place: ScratchStore) -> str:
    """Of writers who create the same object at the same moment one is told that it did."""
    start = Barrier(_WRITERS)

    def write(key: str, writer: int) -> bool:
        start.wait()
        return place.create(key, b"%d" % writer)

    with ThreadPoolExecutor(_WRITERS, "resift-doctor") as pool:
        for number in range(_ROUNDS):
            key = f"contended-{number}"
            told = list(pool.map(write, [key] * _WRITERS, range(_WRITERS)))
            if not any(told):
                raise Broken("no writer of several at once could create an object: try again")
            if sum(told) > 1:
                raise Broken(f"{sum(told)} writers at once all created one object: {_LOST}")
            if place.get(key) != b"%d" % told.index(True):
                raise Broken(f"one writer was told that it won, another's data is there: {_LOST}")
    return f"{_ROUNDS} times out of {_ROUNDS}, one of {_WRITERS} writers at once created an object"


def ranges(place: ScratchStore) -> str:
    """Parts of an object can be read, up to its end."""
    data = bytes(range(256)) * 40
    place.put("ranged", data)
    for start, end in ((0, 1), (255, 4_000), (len(data) - 8, len(data))):
        if place.get_range("ranged", start, end) != data[start:end]:
            raise Broken(f"bytes {start} to {end} of an object are read as others")
    return "parts of an object are read"


def listing(place: ScratchStore) -> str:
    """Everything is listed as soon as it is written, over several pages."""
    names = [f"listed-{number:04d}" for number in range(_MORE_THAN_A_PAGE)]
    with ThreadPoolExecutor(_AT_ONCE, "resift-doctor") as pool:
        list(pool.map(lambda name: place.put(name, b"x"), names))
    found = [name for name in place.names() if name.startswith("listed-")]
    if sorted(found) != names:
        raise Broken(f"{len(found):,} objects are listed of {len(names):,} that were written")
    return f"{len(names):,} objects, more than a page, are listed as soon as they are written"


def deletion(place: ScratchStore) -> str:
    """What was deleted is neither listed nor read."""
    place.put("deleted", b"x")
    place.delete("deleted")
    if "deleted" in place.names():
        raise Broken("what was deleted is still listed")
    try:
        place.get("deleted")
    except FileNotFoundError:
        return "what was deleted is gone at once"
    raise Broken("what was deleted is still read")


def latency_ms(place: ScratchStore) -> dict[str, float]:
    """Milliseconds of a request of each kind, medians of a few."""
    ways: dict[str, Callable[[], object]] = {
        "put": lambda: place.put("timed", b"x" * 1_000),
        "get": lambda: place.get("timed"),
        "list": lambda: place.names("timed"),
    }
    return {name: round(median(map(_timed, [way] * _SAMPLES)), 2) for name, way in ways.items()}


def clock_skew_s(place: ScratchStore) -> float:
    """Seconds between this clock and the store's; up to one cannot be seen."""
    before = datetime.now(UTC)
    place.put("clock", b"x")
    after = datetime.now(UTC)
    written = place.last_modified("clock")
    # Stores cut the moment off to a second.
    behind, ahead = (before - written).total_seconds() - 1, (written - after).total_seconds()
    return round(max(behind, ahead, 0.0), 1)


def judge_skew(seconds: float) -> str:
    """Interpolation how far the clocks are apart; `Broken` where that is much."""
    if seconds > _MUCH_SKEW_S:
        raise Broken(f"the store's clock and this one are {seconds:,.0f} s apart: set this by NTP")
    return f"the store's clock and this one agree within {max(seconds, 1):.0f} s"


def _timed(way: Callable[[], object]) -> float:
    started = time.perf_counter()
    way()
    return (time.perf_counter() - started) * 1_000
