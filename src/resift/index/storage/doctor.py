"""Checks by experiment whether a location is safe for an index. Does not use indexes.

Most important: if several writers create the same object, exactly one may succeed. A store that
overwrites the object instead silently loses a published version.
"""

import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median
from threading import Barrier
from typing import Any

from resift.errors import StoreError, UnsafeStore
from resift.extras import require
from resift.index.storage.client import open_bucket
from resift.index.storage.errors import describe, is_panic, store_errors
from resift.index.storage.location import Location, locate_index
from resift.settings import StorageSettings

_ROUNDS, _WRITERS = 5, 8
_LISTED_OBJECTS = 1_001  # S3 lists a thousand in a page
_THREADS = 32
_SAMPLES = 9
_MAX_SKEW_S = 5
_LOST = "two writers can both believe that they published, and acknowledged writes are lost"


class CheckFailed(Exception):
    """A store lacks a property that an index relies on; the message is for the user."""


class ScratchStore:
    """An obstore store for experiments, which can remove everything that it has written.

    It also holds the measurements: `latency_ms` by request, and `clock_skew_s` if it is known.
    """

    def __init__(self, store: Any, where: Location | str = "") -> None:
        """Use `store`, which must be empty; `where` is its location or URI."""
        self.where = where
        self._obstore = require("obstore", "index")
        self._exceptions = require("obstore.exceptions", "index")
        self._store = store
        self._written: set[str] = set()
        self.latency_ms: dict[str, float] = {}
        self.clock_skew_s: float | None = None

    def put(self, key: str, data: bytes) -> None:
        self._written.add(key)
        self._obstore.put(self._store, key, data)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless it exists; return whether the store says that it created it."""
        self._written.add(key)
        try:
            self._obstore.put(self._store, key, data, mode="create")
        except (self._exceptions.AlreadyExistsError, self._exceptions.PreconditionError):
            return False
        return True

    def get(self, key: str) -> bytes:
        return bytes(self._obstore.get(self._store, key).bytes())

    def get_range(self, key: str, start: int, end: int) -> bytes:
        return bytes(self._obstore.get_range(self._store, key, start=start, end=end))

    def last_modified(self, key: str) -> datetime:
        """Return the time of an object by the store's clock."""
        modified: datetime = self._obstore.head(self._store, key)["last_modified"]
        return modified

    def delete(self, key: str) -> None:
        with suppress(FileNotFoundError):  # GCS and Azure report an object that is not there
            self._obstore.delete(self._store, key)
        self._written.discard(key)

    def names(self, prefix: str | None = None) -> list[str]:
        """List all names, over all pages."""
        return [meta["path"] for page in self._obstore.list(self._store, prefix) for meta in page]

    def clean_up(self) -> str:
        """Remove everything that was written, listed or not."""
        if self._written:
            try:
                self._obstore.delete(self._store, sorted(self._written))
            except FileNotFoundError:
                for key in sorted(self._written):
                    self.delete(key)
            names = self.names()
            if names:
                raise CheckFailed(
                    f"{len(names):,} objects could not be removed, the first {names[0]}"
                )
        return "everything that was written is removed"


# Each check returns its observation in one line, or raises `CheckFailed`.


def check_reach(store: ScratchStore) -> str:
    """Check that the location can be listed, by network, bucket and access rights."""
    store.names()
    return "the location can be listed"


def check_read_after_write(store: ScratchStore) -> str:
    """Check that a new object can be read at once, with its content."""
    for number in range(_ROUNDS):
        key, data = f"read-{number}", b"%d" % number
        store.put(key, data)
        if store.get(key) != data:
            raise CheckFailed("a new object is read back with another content")
    return "a new object is read at once"


def check_overwrite(store: ScratchStore) -> str:
    """Check that the old content is not read again after an overwrite."""
    for number in range(_ROUNDS):
        data = b"%d" % number
        store.put("object", data)
        if store.get("object") != data:
            raise CheckFailed("an older content is read after an overwrite")
    return "an overwrite is read at once"


def check_create_once(store: ScratchStore) -> str:
    """Check that an existing object is not created again. Takes three or four requests."""
    store.put("object", b"first")
    if store.create("object", b"again"):
        raise CheckFailed(f"an existing object can be created again: {_LOST}")
    if store.get("object") != b"first":
        raise CheckFailed(f"creating an existing object is refused, and changes it: {_LOST}")
    return "an existing object is not created again"


def check_contention(store: ScratchStore) -> str:
    """Check that exactly one of several writers creates an object at the same moment."""
    start = Barrier(_WRITERS)

    def write(key: str, writer: int) -> bool:
        start.wait()
        return store.create(key, b"%d" % writer)

    with ThreadPoolExecutor(_WRITERS, "resift-doctor") as pool:
        for number in range(_ROUNDS):
            key = f"contended-{number}"
            created = list(pool.map(write, [key] * _WRITERS, range(_WRITERS)))
            if not any(created):
                raise CheckFailed("no writer of several at once could create an object: try again")
            if sum(created) > 1:
                raise CheckFailed(f"{sum(created)} writers at once all created one object: {_LOST}")
            if store.get(key) != b"%d" % created.index(True):
                raise CheckFailed(
                    f"one writer created an object, which has another's data: {_LOST}"
                )
    return f"{_ROUNDS} times out of {_ROUNDS}, one of {_WRITERS} writers at once created an object"


def check_ranges(store: ScratchStore) -> str:
    """Check that parts of an object can be read, up to its end."""
    data = bytes(range(256)) * 40
    store.put("ranged", data)
    for start, end in ((0, 1), (255, 4_000), (len(data) - 8, len(data))):
        if store.get_range("ranged", start, end) != data[start:end]:
            raise CheckFailed(f"bytes {start} to {end} of an object are read as others")
    return "parts of an object are read"


def check_listing(store: ScratchStore) -> str:
    """Check that objects are listed as soon as they are written, over several pages."""
    names = [f"listed-{number:04d}" for number in range(_LISTED_OBJECTS)]
    with ThreadPoolExecutor(_THREADS, "resift-doctor") as pool:
        list(pool.map(lambda name: store.put(name, b"x"), names))
    listed = [name for name in store.names() if name.startswith("listed-")]
    if sorted(listed) != names:
        raise CheckFailed(f"{len(listed):,} objects are listed of {len(names):,} that were written")
    return f"{len(names):,} objects, more than a page, are listed as soon as they are written"


def check_deletion(store: ScratchStore) -> str:
    """Check that a deleted object is neither listed nor read."""
    store.put("deleted", b"x")
    store.delete("deleted")
    if "deleted" in store.names():
        raise CheckFailed("a deleted object is still listed")
    try:
        store.get("deleted")
    except FileNotFoundError:
        return "a deleted object is gone at once"
    raise CheckFailed("a deleted object is still read")


def measure_latency(store: ScratchStore) -> str:
    """Measure the median milliseconds of each kind of request. Never fails."""
    requests: dict[str, Callable[[], object]] = {
        "put": lambda: store.put("timed", b"x" * 1_000),
        "get": lambda: store.get("timed"),
        "list": lambda: store.names("timed"),
    }
    for name, send in requests.items():
        times = []
        for _ in range(_SAMPLES):
            started = time.perf_counter()
            send()
            times.append(time.perf_counter() - started)
        store.latency_ms[name] = round(median(times) * 1_000, 2)
    return ", ".join(f"{name} {ms:.1f} ms" for name, ms in store.latency_ms.items())


def check_clock(store: ScratchStore) -> str:
    """Check that the store's clock agrees with this one, to a second."""
    before = datetime.now(UTC)
    store.put("clock", b"x")
    after = datetime.now(UTC)
    written = store.last_modified("clock")
    # Stores truncate the time to a second.
    behind, ahead = (before - written).total_seconds() - 1, (written - after).total_seconds()
    store.clock_skew_s = skew = round(max(behind, ahead, 0.0), 1)
    if skew > _MAX_SKEW_S:
        raise CheckFailed(
            f"the store's clock and this one are {skew:,.0f} s apart: set this one by NTP"
        )
    return f"the store's clock and this one agree within {max(skew, 1):.0f} s"


_REQUIRED = {
    "read after write": check_read_after_write,
    "overwrite": check_overwrite,
    "create once": check_create_once,
    "contention": check_contention,
    "ranges": check_ranges,
    "listing": check_listing,
    "deletion": check_deletion,
}


@dataclass(frozen=True, slots=True)
class StoreCheck:
    """The result of a check. The failure of one that is not `needed` is only a warning."""

    name: str
    ok: bool
    detail: str
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The results for a location. `latency_ms` are medians of single requests.

    `clock_skew_s` is the difference between the store's clock and this one, to a second, or None.
    """

    uri: str
    checks: tuple[StoreCheck, ...]
    latency_ms: Mapping[str, float]
    clock_skew_s: float | None

    @property
    def is_safe(self) -> bool:
        """Whether an index may be written there."""
        return all(check.ok for check in self.checks if check.needed)

    @property
    def verdict(self) -> str:
        """One line: safe, or unsafe with the first failure."""
        failed = next((check for check in self.checks if check.needed and not check.ok), None)
        if failed is None:
            return "safe: an index may be written there"
        return f"unsafe: {failed.name}: {failed.detail}"


def examine(uri: str, storage: StorageSettings) -> Diagnosis:
    """Run all checks in a folder or below a bucket's prefix, and remove what they wrote.

    The diagnosis reports failed checks. Raise `InputError` for a malformed URI, `SettingsError` for
    a profile without credentials, `StoreError` for a folder that cannot be written to.
    """
    location = locate_index(uri, storage)
    with _scratch_store(location) as store:
        checks = [_run("reach", check_reach, store)]
        try:
            if checks[0].ok:
                checks += [_run(name, check, store) for name, check in _REQUIRED.items()]
                checks.append(_run("latency", measure_latency, store, needed=False))
                checks.append(_run("clock", check_clock, store, needed=False))
        finally:
            checks.append(_run("clean up", ScratchStore.clean_up, store, needed=False))
    return Diagnosis(location.uri, tuple(checks), store.latency_ms, store.clock_skew_s)


def refuse_unsafe(location: Location) -> None:
    """Raise `UnsafeStore` for a bucket that creates an object twice. Takes a few requests."""
    if location.bucket is None:
        return
    with store_errors(location), _scratch_store(location) as store:
        try:
            check_create_once(store)
        except CheckFailed as failure:
            raise UnsafeStore(
                f"{location.uri}: {failure}: run  resift doctor {location.uri}"
            ) from None
        finally:
            store.delete("object")


@contextmanager
def _scratch_store(location: Location) -> Iterator[ScratchStore]:
    """Open a new prefix in the location, hidden from sources; on a disk, remove it at the end."""
    name = f".resift-doctor-{uuid.uuid4().hex}"
    if location.bucket:
        scratch_location = replace(location, path=f"{location.prefix}{name}")
        yield ScratchStore(open_bucket(scratch_location), location)
        return
    folder = location.folder
    try:
        nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
        scratch = nearest / name
        scratch.mkdir()  # fails where `nearest` is a file
    except OSError as error:
        raise StoreError(f"{location.uri}: {describe(error, location)}") from error
    try:
        yield ScratchStore(require("obstore.store", "index").LocalStore(scratch))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run(
    name: str, check: Callable[[ScratchStore], str], store: ScratchStore, *, needed: bool = True
) -> StoreCheck:
    try:
        return StoreCheck(name, True, check(store), needed)
    except CheckFailed as failure:
        return StoreCheck(name, False, str(failure), needed)
    except BaseException as error:  # obstore raises its own classes and built-in ones
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        return StoreCheck(name, False, describe(error, store.where), needed)
