"""Proves when the next sync comes, after success and after failure, and what ends the loop."""

import errno
import os
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.errors import (
    EmbedderError,
    HubError,
    IndexBusy,
    IndexMismatch,
    InputError,
    MassDeletion,
    MissingExtra,
    ModelNotFound,
    ResiftError,
    RuntimeFailure,
    SettingsError,
    SourceError,
    SourceLost,
    StoreError,
    UnsafeStore,
)
from resift.index.follow import (
    Interval,
    SyncFailure,
    Trigger,
    backoff_s,
    follow,
    next_time,
    open_trigger,
)
from resift.index.report import SyncReport
from resift.index.run import Progress, ProgressCallback
from resift.index.storage.location import locate

REPORT = SyncReport(1, 0, 0, 0, 0, 0, 1, 1, (), 0.1, 1)
PROGRESS = Progress(1, 2, 3, 4, 5, 0.5)
Step = Callable[[], None]


class Time(threading.Event):
    """A clock and a stop event in which waiting takes no time; stops after so many waits."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.now = 100.0
        self.waits: list[float] = []
        self._left = waits

    def clock(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.now += timeout
        self._left -= 1
        if not self._left:
            self.set()
        return self.is_set()


class Recorder:
    """Syncs that take so many seconds, or raise; a trigger that counts what is asked of it."""

    def __init__(self, time: Time, *outcomes: float | Exception) -> None:
        self.time = time
        self.outcomes: Iterator[float | Exception] = iter(outcomes)
        self.started: list[float] = []
        self.failures: list[SyncFailure] = []
        self.waits: list[float | None] = []
        self.closed = 0

    def sync(self, check: ProgressCallback) -> SyncReport:
        self.started.append(self.time.now)
        outcome = next(self.outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        check(PROGRESS)
        self.time.now += outcome
        return REPORT

    def prepare(self) -> None:
        return None

    def wait(self, stop: threading.Event, retry_s: float | None = None) -> None:
        self.waits.append(retry_s)
        stop.wait(1.0)

    def close(self) -> None:
        self.closed += 1

    def follow(self, trigger: Trigger | None = None) -> list[SyncReport]:
        return list(follow(self.sync, trigger or self, self.time, self.failures.append))


@given(
    st.floats(-1e6, 1e6), st.floats(1, 1e6), st.floats(0, 1e8)
)  # a monotonic clock may start anywhere
def test_the_next_time_is_after_now_and_on_the_grid(due: float, every: float, late: float) -> None:
    now = due + late
    following = next_time(due, every, now)
    steps = (following - due) / every
    assert now < following <= now + every * (1 + 1e-6) + 1e-6
    assert abs(steps - round(steps)) < 1e-6 * max(steps, 1) and round(steps) >= 1


def test_a_wait_that_ends_a_moment_early_is_not_followed_by_another_sync() -> None:
    assert next_time(100.0, 10.0, 99.999) == 110.0


def test_times_neither_drift_nor_pile_up() -> None:
    time = Time(waits=5)
    recorder = Recorder(time, 1.5, 3.0, 25.0, 0.25, 10.0)
    recorder.follow(Interval(10.0, time.clock))
    assert recorder.started == [100.0, 110.0, 120.0, 150.0, 160.0]


def test_seconds_between_tries_double_up_to_a_limit() -> None:
    longest = [backoff_s(failures, lambda: 0.0) for failures in range(1, 12)]
    assert longest == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert [backoff_s(failures, lambda: 1.0) for failures in (1, 2, 9)] == [1.0, 2.0, 150.0]
    assert backoff_s(10**9, lambda: 0.0) == 300
    assert len({backoff_s(5) for _ in range(10)}) > 1


def test_a_failing_store_is_tried_again_later_each_time_and_success_resets_that() -> None:
    time = Time(waits=6)
    down = StoreError("s3://b: the store is down")
    recorder = Recorder(time, 1.0, down, down, OSError(errno.EMFILE, "too many"), 1.0, down)
    assert len(recorder.follow()) == 2
    retries = [failure.retry_s for failure in recorder.failures]
    assert all(retry is not None for retry in retries)
    assert [round(seconds) for seconds in time.waits[:1]] == [1]
    first, second, third, again = (retry or 0.0 for retry in retries)
    assert 1 <= first <= 2 <= second <= 4 <= third <= 8 and 1 <= again <= 2
    assert time.waits == [1.0, first, second, third, 1.0, again]
    assert recorder.waits == [None, None] and recorder.closed == 1


def test_a_refused_mass_deletion_resets_the_waits_because_the_store_responds() -> None:
    down = StoreError("s3://b: the store is down")
    recorder = Recorder(Time(waits=4), down, down, MassDeletion("all gone"), down)
    assert recorder.follow() == []
    _, second, refused, again = (failure.retry_s for failure in recorder.failures)
    assert refused is None and second is not None and second >= 2
    assert again is not None and 1 <= again <= 2


def test_a_change_of_the_source_ends_the_wait_after_an_error_of_the_source() -> None:
    recorder = Recorder(Time(waits=2), SourceError("/docs: no such folder"), SourceLost("gone"))
    assert recorder.follow() == []
    assert recorder.waits == [failure.retry_s for failure in recorder.failures]


@pytest.mark.parametrize(
    "error",
    [
        InputError("a"),
        MissingExtra("a"),
        IndexMismatch("a"),
        UnsafeStore("a"),
        ModelNotFound("a"),
        KeyError("a bug"),
    ],
)
@pytest.mark.parametrize("before", [0, 1])
def test_errors_that_no_later_sync_can_mend_are_raised(error: Exception, before: int) -> None:
    recorder = Recorder(Time(waits=9), *[1.0] * before, error)
    with pytest.raises(type(error)):
        recorder.follow()
    assert len(recorder.started) == before + 1
    assert recorder.failures == [] and recorder.closed == 1


def test_settings_are_refused_at_first_and_credentials_that_expire_later_are_waited_for() -> None:
    expired = SettingsError("Azure: no token")
    with pytest.raises(SettingsError):
        Recorder(Time(waits=9), expired).follow()
    recorder = Recorder(Time(waits=3), 1.0, expired, 1.0)
    assert recorder.follow() == [REPORT, REPORT]
    assert [failure.error for failure in recorder.failures] == [expired]


@pytest.mark.parametrize(
    "error", [IndexBusy("a"), EmbedderError("a"), HubError("a"), RuntimeFailure("a")]
)
def test_errors_that_may_pass_are_not_raised(error: ResiftError) -> None:
    recorder = Recorder(Time(waits=2), error, 1.0)
    assert recorder.follow() == [REPORT]
    assert [failure.error for failure in recorder.failures] == [error]


def test_a_mass_deletion_is_reported_each_time_and_syncs_go_on() -> None:
    gone, more = MassDeletion("30 of 30 are gone"), MassDeletion("20 of 30 are gone")
    recorder = Recorder(Time(waits=7), gone, gone, more, 1.0, gone, 1.0, 1.0)
    assert len(recorder.follow()) == 3
    assert [failure.error for failure in recorder.failures] == [gone, gone, more, gone]
    assert {failure.retry_s for failure in recorder.failures} == {None}
    assert recorder.waits == [None] * 7


def test_stop_ends_a_running_sync_at_its_next_progress() -> None:
    stop, steps = threading.Event(), []
    recorder = Recorder(Time(waits=9))

    def sync(check: ProgressCallback) -> SyncReport:
        check(PROGRESS)
        steps.append("embedded")
        stop.set()
        check(PROGRESS)
        steps.append("published")
        return REPORT

    assert list(follow(sync, recorder, stop)) == []
    assert steps == ["embedded"] and recorder.closed == 1


def test_a_failure_that_ending_a_sync_causes_is_not_reported() -> None:
    stop = threading.Event()
    recorder = Recorder(Time(waits=9))

    def sync(check: ProgressCallback) -> SyncReport:
        stop.set()
        raise StoreError("a stream of rows broke off")

    assert list(follow(sync, recorder, stop, recorder.failures.append)) == []
    assert recorder.failures == []


def test_a_loop_that_is_left_closes_the_trigger() -> None:
    recorder = Recorder(Time(waits=9), 1.0, 1.0)
    reports = follow(recorder.sync, recorder, recorder.time)
    assert next(reports) == REPORT
    reports.close()  # type: ignore[attr-defined]
    assert recorder.closed == 1 and len(recorder.started) == 1


def test_failures_are_logged_unless_someone_takes_them(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(Time(waits=1), StoreError("s3://b: down"))
    assert list(follow(recorder.sync, recorder, recorder.time)) == []
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "s3://b: down; next try in" in record.getMessage()


def test_a_failure_is_one_line() -> None:
    assert str(SyncFailure(StoreError("s3://b: down"), 7.6)) == "s3://b: down; next try in 8 s"
    refused = str(SyncFailure(MassDeletion("all are gone: --allow-deletes"), None))
    assert (
        refused == "all are gone: --allow-deletes; until then nothing is added, changed or deleted"
    )
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/index/a")
    assert str(SyncFailure(full, 2)).startswith("/index/a: ")
    assert str(SyncFailure(TimeoutError(), 2)) == "timeouterror; next try in 2 s"


@pytest.mark.parametrize("every", [0, 0.5, -1, float("nan"), float("inf"), 1e12, True, "5m"])
def test_an_impossible_interval_is_refused(every: float) -> None:
    with pytest.raises(InputError, match=r"every_s=.*expected seconds from 1 to"):
        open_trigger(locate("/docs"), locate("/index"), every)


def test_a_bucket_cannot_be_watched_and_nothing_is_followed_without_a_reason() -> None:
    with pytest.raises(InputError, match="--every 5m"):
        open_trigger(locate("s3://b/docs"), locate("/index"), 60, watch=True)
    with pytest.raises(InputError, match="watch=True"):
        open_trigger(locate("/docs"), locate("/index"), None)
    assert isinstance(open_trigger(locate("s3://b"), locate("/index"), 60), Interval)
