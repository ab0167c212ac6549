"""Proves that the doctor tells a correct store from a faulty one, and leaves both clean."""

import json
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import obstore
import pytest

from cli.command import Resift
from resift.errors import InputError, StoreError, UnsafeStore
from resift.index.storage import doctor
from resift.index.storage.client import open_bucket
from resift.index.storage.doctor import (
    CheckFailed,
    Diagnosis,
    ScratchStore,
    examine,
    refuse_unsafe,
)
from resift.index.storage.location import Location
from storage.conftest import Server
from storage.faulty import Faults, faulty_proxy

NAMES = [
    *("reach", "read after write", "overwrite", "create once", "contention", "ranges", "listing"),
    *("deletion", "latency", "clock", "clean up"),
]
SAFE = "safe: an index may be written there"


@pytest.fixture(autouse=True)
def _fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a thousand objects only where listing is tested, and run fewer rounds."""
    monkeypatch.setattr(doctor, "_ROUNDS", 2)
    monkeypatch.setattr(doctor, "_LISTED_OBJECTS", 20)


def doctor_objects(server: Server, bucket: str) -> list[str]:
    """List the doctor's objects, by rclone's disk: it goes on listing deleted files."""
    if server.data:
        files = (str(path) for path in server.data.rglob("*") if path.is_file())
        return [path for path in files if "doctor" in path]
    return [
        meta["path"]
        for page in obstore.list(server.bucket(bucket))
        for meta in page
        if "doctor" in meta["path"]
    ]


def failed(diagnosis: Diagnosis) -> list[str]:
    return [check.name for check in diagnosis.checks if not check.ok]


def test_a_correct_store_is_safe(
    server: Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_LISTED_OBJECTS", 1_001)
    diagnosis = examine(f"s3://{bucket}/some/where/", server.settings())
    assert diagnosis.uri == f"s3://{bucket}/some/where"
    assert [check.name for check in diagnosis.checks] == NAMES and failed(diagnosis) == []
    assert diagnosis.is_safe and diagnosis.verdict == SAFE
    assert (
        set(diagnosis.latency_ms) == {"put", "get", "list"}
        and min(diagnosis.latency_ms.values()) > 0
    )
    assert diagnosis.clock_skew_s == 0
    assert doctor_objects(server, bucket) == []


def test_a_store_that_creates_twice_is_unsafe_and_left_clean(careless_server: Server) -> None:
    diagnosis = examine("s3://kept/index", careless_server.settings())
    assert not diagnosis.is_safe
    assert {"create once", "contention"} <= set(failed(diagnosis))
    assert diagnosis.verdict.startswith("unsafe: create once: an existing object can be created")
    assert "acknowledged writes are lost" in diagnosis.verdict
    contention = diagnosis.checks[NAMES.index("contention")].detail
    assert "writers at once all created one object: two" in contention
    assert doctor_objects(careless_server, "kept") == []


def test_an_unsafe_bucket_is_refused_to_writers_and_left_clean(careless_server: Server) -> None:
    with pytest.raises(UnsafeStore) as refused:
        refuse_unsafe(Location("kept", "index", careless_server.settings()))
    message = str(refused.value)
    assert message.startswith("s3://kept/index: ") and "\n" not in message
    assert message.endswith("run  resift doctor s3://kept/index")
    assert "acknowledged writes are lost" in message
    assert doctor_objects(careless_server, "kept") == []


def test_a_safe_bucket_costs_a_writer_a_handful_of_requests(server: Server, bucket: str) -> None:
    with faulty_proxy(server.endpoint) as proxy:
        refuse_unsafe(Location(bucket, "index", Server(proxy.endpoint).settings()))
        assert len(proxy.seen) == 4
    assert doctor_objects(server, bucket) == []


@pytest.mark.parametrize("path", ["", "below/it"])
def test_a_folder_is_examined_too_and_left_clean(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("mine")
    diagnosis = examine(str(tmp_path / path), Server("http://unused").settings())
    assert [check.name for check in diagnosis.checks] == NAMES and failed(diagnosis) == []
    assert diagnosis.verdict == SAFE
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    refuse_unsafe(Location(None, str(tmp_path), Server("http://unused").settings()))


def test_an_impossible_folder_is_reported_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"^/proc/x: "):
        examine("/proc/x", Server("http://unused").settings())
    with pytest.raises(InputError):
        examine("ftp://x", Server("http://unused").settings())


@pytest.mark.parametrize("path", ["file", "file/below", "file/below/it"])
def test_a_file_at_the_location_is_refused(tmp_path: Path, path: str) -> None:
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
def test_missing_rights_are_reported(
    server: Server, bucket: str, person: str, check: str, reason: str
) -> None:
    diagnosis = examine(f"s3://{bucket}/i", server.settings(person))
    assert not diagnosis.is_safe
    assert diagnosis.verdict.startswith(f"unsafe: {check}: {reason}")
    with pytest.raises(StoreError, match=reason):
        refuse_unsafe(Location(bucket, "i", server.settings(person)))


def test_an_unreachable_store_is_reported_at_once_and_no_other_check_runs() -> None:
    diagnosis = examine("s3://bucket/i", Server("http://127.0.0.1:9").settings())
    assert failed(diagnosis) == ["reach"] and diagnosis.checks[-1].name == "clean up"
    assert "no service listens there" in diagnosis.verdict
    assert diagnosis.latency_ms == {} and diagnosis.clock_skew_s is None


def test_a_store_with_temporary_failures_is_still_safe(server: Server, bucket: str) -> None:
    with faulty_proxy(server.endpoint) as proxy:
        proxy.restart(Faults(slow_down_every=50))
        diagnosis = examine(f"s3://{bucket}/i", Server(proxy.endpoint).settings())
    assert diagnosis.verdict == SAFE
    assert doctor_objects(server, bucket) == []


# Faults that no available server has are simulated here, over a real store.


@pytest.fixture
def store(server: Server, bucket: str) -> Iterator[ScratchStore]:
    store = ScratchStore(open_bucket(Location(bucket, "own", server.settings())))
    yield store
    store.clean_up()


def test_each_fault_is_detected(store: ScratchStore, monkeypatch: pytest.MonkeyPatch) -> None:
    get, names, create = store.get, store.names, store.create
    lock = threading.Lock()
    first_reads: dict[str, Any] = {}

    def stale(key: str) -> bytes:
        return bytes(first_reads.setdefault(key, get(key)))

    def all_win(key: str, data: bytes) -> bool:
        with lock:
            create(key, data)
        return True

    def another_wins(key: str, data: bytes) -> bool:
        won = create(key, data)
        if won:
            store.put(key, b"another's")
        return won

    wrong: list[tuple[str, Any, Any, str]] = [
        ("get", lambda _: b"odd", doctor.check_read_after_write, "read back with another content"),
        ("get", stale, doctor.check_overwrite, "an older content"),
        ("create", all_win, doctor.check_create_once, "can be created again"),
        ("get", lambda _: b"again", doctor.check_create_once, "is refused, and changes it"),
        ("create", all_win, doctor.check_contention, "8 writers at once all"),
        ("create", lambda *_: False, doctor.check_contention, "no writer of several"),
        ("create", another_wins, doctor.check_contention, "has another's data"),
        ("get_range", lambda *_: b"odd", doctor.check_ranges, "read as others"),
        ("names", lambda: names()[:19], doctor.check_listing, "objects are listed of 20"),
        ("names", lambda: [*names(), "deleted"], doctor.check_deletion, "still listed"),
        ("get", lambda _: b"x", doctor.check_deletion, "still read"),
        (
            "names",
            lambda: ["x"],
            ScratchStore.clean_up,
            "1 objects could not be removed, the first x",
        ),
    ]
    for method, replacement, check, message in wrong:
        with monkeypatch.context() as patch, pytest.raises(CheckFailed, match=message):
            patch.setattr(store, method, replacement)
            check(store)
        store.clean_up()


@pytest.mark.parametrize(("off_s", "seen_s"), [(0, 0), (90, 90), (-90, 90), (0.5, 0)])
def test_clock_skew_is_measured_and_is_only_a_warning(
    store: ScratchStore, monkeypatch: pytest.MonkeyPatch, off_s: float, seen_s: float
) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=off_s)
    monkeypatch.setattr(store, "last_modified", lambda _: moment)
    with pytest.raises(CheckFailed, match="NTP") if seen_s else nullcontext():
        doctor.check_clock(store)
    assert store.clock_skew_s == pytest.approx(seen_s, abs=1.5)


def test_a_warning_does_not_make_a_location_unsafe(tmp_path: Path) -> None:
    diagnosis = examine(str(tmp_path), Server("http://unused").settings())
    clock = next(check for check in diagnosis.checks if check.name == "clock")
    warned = replace(diagnosis, checks=(replace(clock, ok=False),))
    assert warned.is_safe
    assert not replace(diagnosis, checks=(replace(clock, ok=False, needed=True),)).is_safe


def test_the_command_reports_in_words_and_by_its_exit_code(
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
