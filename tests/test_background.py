"""Proves that background jobs can be abandoned and shared, and that a process ends cleanly."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Future
from pathlib import Path

import pytest

from resift.background import Background, Shared, ready, then


def test_jobs_run_in_parallel_up_to_a_limit_and_the_rest_are_queued() -> None:
    background, gate = Background(2, "test"), threading.Event()
    running: list[int] = []

    def work(number: int) -> int:
        running.append(number)
        gate.wait(30)
        return number

    jobs = [background.run(lambda number=number: work(number)) for number in range(4)]  # type: ignore[misc]
    until = time.monotonic() + 30
    while len(running) < 2 and time.monotonic() < until:
        time.sleep(0.001)
    assert sorted(running) == [0, 1]
    assert jobs[3].cancel() and not jobs[0].cancel()
    gate.set()
    assert [job.result(30) for job in jobs[:3]] == [0, 1, 2]
    assert background.wait(30)
    assert 3 not in running and background.run(lambda: "again").result(30) == "again"


def test_a_jobs_exception_is_raised_by_result() -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Background(1, "test").run(fail).result(30)


def test_after_end_no_job_starts() -> None:
    background = Background(1, "test")
    background.end()
    with pytest.raises(CancelledError):
        background.run(lambda: 1).result(30)


def test_a_shared_value_is_made_once_and_again_after_a_failure() -> None:
    made: list[Future[int]] = []

    def begin() -> "Future[int]":
        made.append(Future())
        return made[-1]

    shared = Shared(begin)
    assert shared.job() is shared.job() and len(made) == 1
    made[0].set_exception(OSError("no"))
    again = shared.job()
    assert len(made) == 2
    again.set_result(7)
    assert shared.job().result() == 7 and len(made) == 2
    shared.forget()
    assert not shared.job().done() and len(made) == 3


def test_then_makes_one_job_of_two() -> None:
    begun: list[int] = []

    def double(number: int) -> "Future[int]":
        begun.append(number)
        return ready(2 * number)

    first: Future[int] = Future()
    whole = then(first, double)
    dropped = then(first, double)
    assert dropped.cancel()
    first.set_result(4)
    assert whole.result(0) == 8 and begun == [4]
    failed: Future[int] = Future()
    failed.set_exception(OSError("no"))
    with pytest.raises(OSError, match="no"):
        then(failed, double).result(0)


ENDS = """
import sys, threading, time
from resift import background
background.AT_EXIT_S = 0.2
begun, end = threading.Semaphore(0), threading.Event()
def job():
    begun.release()
    end.wait()
    time.sleep({seconds})
    sys.stdout.write("done\\n")
work = background.Background(2, "t", finite={finite})
for _ in range(5):
    work.run(job)
begun.acquire(), begun.acquire()
sys.stdout.write("end\\n")
sys.stdout.flush()
end.set()
sys.exit(7)
"""


@pytest.mark.parametrize(
    ("finite", "seconds", "out"),
    [
        (False, 60, "end\n"),  # a store that does not answer does not keep the process
        (True, 0.5, "end\ndone\ndone\n"),  # a model that loads is waited for, three more are not
    ],
)
def test_a_process_ends_soon_and_with_its_own_code(finite: bool, seconds: float, out: str) -> None:
    start = time.monotonic()
    program = ENDS.format(finite=finite, seconds=seconds)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (7, out, "")
    assert time.monotonic() - start < 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_forked_child_begins_with_no_jobs(tmp_path: Path) -> None:
    background, gate = Background(1, "test"), threading.Event()
    background.run(lambda: gate.wait(30))
    child = os.fork()
    if not child:
        os._exit(0 if background.run(lambda: 5).result(30) == 5 else 1)
    assert os.waitpid(child, 0)[1] == 0
    gate.set()
