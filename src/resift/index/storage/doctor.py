"""Whether a place keeps what an index relies on, tried out. Knows nothing of indexes."""

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from resift.errors import StoreError, UnsafeStore
from resift.extras import require
from resift.index.storage import store_checks
from resift.index.storage.client import open_bucket
from resift.index.storage.errors import is_panic, meaning, store_errors
from resift.index.storage.location import Location, locate
from resift.index.storage.store_checks import Broken, ScratchStore
from resift.settings import StorageSettings

_NEEDED = {
    "read after write": store_checks.read_after_write,
    "overwrite": store_checks.overwrite,
    "create once": store_checks.create_once,
    "contention": store_checks.contention,
    "ranges": store_checks.ranges,
    "listing": store_checks.listing,
    "deletion": store_checks.deletion,
}


@dataclass(frozen=True, slots=True)
class StoreCheck:
    """One thing that was tried. One that is not `needed` is worth knowing and endangers nothing."""

    name: str
    ok: bool
    detail: str
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found at a place; milliseconds are medians of single requests.

    `clock_skew_s` is how far the store's clock is from this one, to a second; None: not found out.
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
        """The same in a line, with what goes wrong."""
        failed = next((check for check in self.checks if check.needed and not check.ok), None)
        if failed is None:
            return "safe: an index may be written there"
        return f"unsafe: {failed.name}: {failed.detail}"


def examine(uri: str, storage: StorageSettings) -> Diagnosis:
    """Try everything in a folder or below an ``s3://`` prefix, and take away what was written.

    What goes wrong there is said in the diagnosis and raises nothing. Raise `InputError` for a URI
    that is none, `SettingsError` for a profile without credentials, `StoreError` for a folder that
    cannot be written to.
    """
    location = locate(uri, storage)
    latency: dict[str, float] = {}
    skews: list[float] = []

    def timing(place: ScratchStore) -> str:
        latency.update(store_checks.latency_ms(place))
        return ", ".join(f"{name} {ms:.1f} ms" for name, ms in latency.items())

    def clock(place: ScratchStore) -> str:
        skews.append(store_checks.clock_skew_s(place))
        return store_checks.judge_skew(skews[0])

    with _own_place(location) as place:
        checks = [_tried("reach", store_checks.reach, place)]
        try:
            if checks[0].ok:
                checks += [_tried(name, trial, place) for name, trial in _NEEDED.items()]
                checks.append(_tried("latency", timing, place, needed=False))
                checks.append(_tried("clock", clock, place, needed=False))
        finally:
            checks.append(_tried("clean up", ScratchStore.clean_up, place, needed=False))
    return Diagnosis(location.uri, tuple(checks), latency, skews[0] if skews else None)


def refuse_unsafe(location: Location) -> None:
    """Raise `UnsafeStore` for a bucket that creates an object twice. A handful of requests."""
    if location.bucket is None:
        return
    with store_errors(location.uri), _own_place(location) as place:
        try:
            store_checks.create_once(place)
        except Broken as broken:
            raise UnsafeStore(
                f"{location.uri}: {broken}: run  resift doctor {location.uri}"
            ) from None
        finally:
            place.delete("object")


@contextmanager
def _own_place(location: Location) -> Iterator[ScratchStore]:
    """A new prefix inside of the place, hidden from sources. A folder is removed at the end."""
    name = f".resift-doctor-{uuid.uuid4().hex}"
    if location.bucket:
        prefix = f"{location.path}/{name}".lstrip("/")
        yield ScratchStore(open_bucket(replace(location, path=prefix)))
        return
    there = location.folder
    try:
        nearest = next(folder for folder in (there, *there.parents) if folder.exists())
        own = nearest / name
        own.mkdir()  # fails where it is a file
    except OSError as error:
        raise StoreError(f"{location.uri}: {meaning(error)}") from error
    try:
        yield ScratchStore(require("obstore.store", "index").LocalStore(own))
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _tried(
    name: str, trial: Callable[[ScratchStore], str], place: ScratchStore, *, needed: bool = True
) -> StoreCheck:
    try:
        return StoreCheck(name, True, trial(place), needed)
    except Broken as broken:
        return StoreCheck(name, False, str(broken), needed)
    except Exception as error:  # obstore raises its own classes and built-in ones
        return StoreCheck(name, False, meaning(error), needed)
    except BaseException as error:
        if not is_panic(error):
            raise
        return StoreCheck(name, False, meaning(error), needed)
