"""Proves that a store which keeps its promises is told from one that does not, and left clean."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import obstore
import pytest

from cli.command import Resift
from resift.errors import InputError, StoreError, UnsafeStore
from resift.index.storage import store_checks
from resift.index.storage.client import open_bucket
from resift.index.storage.doctor import Diagnosis, examine, refuse_unsafe
from resift.index.storage.location import Location
from resift.index.storage.store_checks import Broken, ScratchStore
from storage.conftest import Server
from storage.faulty import Faults, faulty_proxy

NAMES = [
    *("reach", "read after write", "overwrite", "create once", "contention", "ranges", "listing"),
    *("deletion", "latency", "clock", "clean up"),
]
SAFE = "safe: an index may be written there"


@pytest.fixture(autouse=True)
def _fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand objects are written where listing them is the matter, and fewer rounds run."""
    monkeypatch.setattr(store_checks, "_ROUNDS", 2)
    monkeypatch.setattr(store_checks, "_MORE_THAN_A_PAGE", 20)


def left(server: Server, bucket: str) -> list[str]:
    """What is there of the doctor's. rclone goes on listing files that are gone: so by its disk."""
    if server.data:
        files = (str(path) for path in server.data.rglob("*") if path.is_file())
        return [path for path in files if "doctor" in path]
    return [
        meta["path"]
        for page in obstore.list(server.bucket(bucket))
        for meta in page
        if "doctor" in meta["path"]
    ]


def failed(found: Diagnosis) -> list[str]:
    return [check.name for check in found.checks if not check.ok]


def test_a_store_that_keeps_its_promises_is_safe(
    server: Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_checks, "_MORE_THAN_A_PAGE", 1_001)
    found = examine(f"s3://{bucket}/some/where/", server.settings())
    assert found.uri == f"s3://{bucket}/some/where"
    assert [check.name for check in found.checks] == NAMES and failed(found) == []
    assert found.is_safe and found.verdict == SAFE
    assert set(found.latency_ms) == {"put", "get", "list"} and min(found.latency_ms.values()) > 0
    assert found.clock_skew_s == 0
    assert left(server, bucket) == []


def test_a_store_that_creates_twice_is_unsafe_and_left_clean(careless_server: Server) -> None:
    found = examine("s3://kept/index", careless_server.settings())
    assert not found.is_safe
    assert {"create once", "contention"} <= set(failed(found))
    assert found.verdict.startswith("unsafe: create once: an object that is there can be created")
    assert "acknowledged writes are lost" in found.verdict
    contention = found.checks[NAMES.index("contention")].detail
    assert "writers at once all created one object: two" in contention
    assert left(careless_server, "kept") == []


def test_an_unsafe_bucket_is_refused_to_writers_and_left_clean(careless_server: Server) -> None:
    with pytest.raises(UnsafeStore) as refused:
        refuse_unsafe(Location("kept", "index", careless_server.settings()))
    said = str(refused.value)
    assert said.startswith("s3://kept/index: ") and "\n" not in said
    assert said.endswith("run  resift doctor s3://kept/index")
    assert "acknowledged writes are lost" in said
    assert left(careless_server, "kept") == []


def test_a_safe_bucket_costs_a_writer_a_handful_of_requests(server: Server, bucket: str) -> None:
    with faulty_proxy(server.endpoint) as proxy:
        refuse_unsafe(Location(bucket, "index", Server(proxy.endpoint).settings()))
        assert len(proxy.seen) == 4
    assert left(server, bucket) == []


@pytest.mark.parametrize("path", ["", "below/it"])
def test_a_folder_is_examined_too_and_nothing_stays_there(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("mine")
    found = examine(str(tmp_path / path), Server("http://unused").settings())
    assert [check.name for check in found.checks] == NAMES and failed(found) == []
    assert found.verdict == SAFE
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    refuse_unsafe(Location(None, str(tmp_path), Server("http://unused").settings()))


def test_a_folder_that_cannot_be_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"^/proc/x: "):
        examine("/proc/x", Server("http://unused").settings())
    with pytest.raises(InputError):
        examine("ftp://x", Server("http://unused").settings())


@pytest.mark.parametrize("path", ["file", "file/below", "file/below/it"])
def test_where_a_file_is_there_can_be_no_index(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=f"^{tmp_path / path}: Not a directory"):
        examine(str(tmp_path / path), Server("http://unused").settings())
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "mine")]


@pytest.mark.parametrize(
    ("person", "check", "reason"),
    [
        ("nobody", "reach", "the access key is not known there"),
        ("stranger", "reach", "access denied"),
        ("reader", "read after write", "access denied"),
    ],
)
def test_who_may_not_write_there_is_told_so(
    server: Server, bucket: str, person: str, check: str, reason: str
) -> None:
    found = examine(f"s3://{bucket}/i", server.settings(person))
    assert not found.is_safe
    assert found.verdict.startswith(f"unsafe: {check}: {reason}")
    with pytest.raises(StoreError, match=reason):
        refuse_unsafe(Location(bucket, "i", server.settings(person)))


def test_what_cannot_be_reached_is_told_at_once_and_nothing_else_is_tried() -> None:
    found = examine("s3://bucket/i", Server("http://127.0.0.1:9").settings())
    assert failed(found) == ["reach"] and found.checks[-1].name == "clean up"
    assert "nobody listens there" in found.verdict
    assert found.latency_ms == {} and found.clock_skew_s is None


def test_a_stumbling_store_is_still_safe(server: Server, bucket: str) -> None:
    with faulty_proxy(server.endpoint) as proxy:
        proxy.restart(Faults(slow_down_every=50))
        found = examine(f"s3://{bucket}/i", Server(proxy.endpoint).settings())
    assert found.verdict == SAFE
    assert left(server, bucket) == []


# What no server at hand does wrong is done wrong here, over a real store.


@pytest.fixture
def place(server: Server, bucket: str) -> Iterator[ScratchStore]:
    place = ScratchStore(open_bucket(Location(bucket, "own", server.settings())))
    yield place
    place.clean_up()


def test_each_broken_promise_is_seen(place: ScratchStore, monkeypatch: pytest.MonkeyPatch) -> None:
    get, names, create = place.get, place.names, place.create
    lock = threading.Lock()
    some: dict[str, Any] = {}

    def stale(key: str) -> bytes:
        return bytes(some.setdefault(key, get(key)))

    def all_win(key: str, data: bytes) -> bool:
        with lock:
            create(key, data)
        return True

    def another_wins(key: str, data: bytes) -> bool:
        won = create(key, data)
        if won:
            place.put(key, b"another's")
        return won

    wrong: list[tuple[str, Any, Any, str]] = [
        ("get", lambda _: b"odd", store_checks.read_after_write, "read back as something else"),
        ("get", stale, store_checks.overwrite, "an older content"),
        ("create", all_win, store_checks.create_once, "can be created again"),
        ("get", lambda _: b"again", store_checks.create_once, "is refused, and changes it"),
        ("create", all_win, store_checks.contention, "8 writers at once all"),
        ("create", lambda *_: False, store_checks.contention, "no writer of several"),
        ("create", another_wins, store_checks.contention, "another's data is there"),
        ("get_range", lambda *_: b"odd", store_checks.ranges, "read as others"),
        ("names", lambda: names()[:19], store_checks.listing, "objects are listed of 20"),
        ("names", lambda: [*names(), "deleted"], store_checks.deletion, "still listed"),
        ("get", lambda _: b"x", store_checks.deletion, "still read"),
        (
            "names",
            lambda: ["x"],
            ScratchStore.clean_up,
            "1 objects could not be removed, from x on",
        ),
    ]
    for method, instead, trial, said in wrong:
        with monkeypatch.context() as patch, pytest.raises(Broken, match=said):
            patch.setattr(place, method, instead)
            trial(place)
        place.clean_up()


@pytest.mark.parametrize(("off_s", "seen_s"), [(0, 0), (90, 90), (-90, 90), (0.5, 0)])
def test_clocks_apart_are_measured_and_are_a_warning_only(
    place: ScratchStore, monkeypatch: pytest.MonkeyPatch, off_s: float, seen_s: float
) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=off_s)
    monkeypatch.setattr(place, "last_modified", lambda _: moment)
    assert store_checks.clock_skew_s(place) == pytest.approx(seen_s, abs=1.5)
    if seen_s:
        with pytest.raises(Broken, match="NTP"):
            store_checks.judge_skew(seen_s)


def test_a_warning_does_not_make_a_place_unsafe(tmp_path: Path) -> None:
    found = examine(str(tmp_path), Server("http://unused").settings())
    clock = next(check for check in found.checks if check.name == "clock")
    warned = replace(found, checks=(replace(clock, ok=False),))
    assert warned.is_safe
    assert not replace(found, checks=(replace(clock, ok=False, needed=True),)).is_safe


def test_the_command_says_so_in_words_and_by_its_exit_code(
    resift: Resift, careless_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = resift("doctor", tmp_path)
    assert done.code == 0 and done.out == f"{tmp_path}: {SAFE}\n"
    assert [line.split()[0] for line in done.err.splitlines()] == ["ok"] * len(NAMES)
    monkeypatch.setenv("AWS_ENDPOINT_URL", careless_server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "owner")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "owner-secret")
    done = resift("doctor", "s3://kept/index")
    assert done.code == 1 and done.out.startswith("s3://kept/index: unsafe: create once: ")
    assert "FAILS   create once" in done.err and "owner-secret" not in done.err + done.out
    done = resift("doctor", "s3://kept/index", "--json")
    shown = json.loads(done.out)
    assert (done.code, done.err, shown["is_safe"]) == (1, "", False)
    assert shown["checks"][3]["name"] == "create once" and shown["latency_ms"]["put"] > 0
