"""A process ends by its own exit code while native code runs: that is waited for, and only that."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from resift.errors import RuntimeFailure
from resift.rerank.native import Gate

SOON = 30.0


def test_threads_inside_are_waited_for_and_no_more_may_enter() -> None:
    gate, came, leave = Gate(), threading.Event(), threading.Event()

    def inside() -> None:
        with gate:
            came.set()
            leave.wait(SOON)

    thread = threading.Thread(target=inside)
    thread.start()
    came.wait(SOON)
    start = time.monotonic()
    threading.Timer(0.3, leave.set).start()
    gate.close()
    assert time.monotonic() - start >= 0.3 and leave.is_set()
    with pytest.raises(RuntimeFailure, match="the process is ending"), gate:
        pass
    thread.join()


def test_the_thread_that_ends_the_process_does_not_wait_for_itself() -> None:
    gate = Gate()
    gate.__enter__()  # an interrupt may leave it so
    start = time.monotonic()
    gate.close()
    assert time.monotonic() - start < SOON


SCRIPT = """
import asyncio, os, signal, sys, threading, time
from resift import Reranker
from resift.settings import Settings
texts = [f"{place} a text that is read by the model word by word " * 40 for place in range(300)]
reranker = Reranker(settings=Settings(runtime=sys.argv[1]))
def cut(): return reranker.rank("what is read", texts, budget_ms=100)
def whole(): return reranker.rank("what is read", texts)
"""
WAYS = {
    "end": ("cut()", 0),
    "wait_for": ("asyncio.run(asyncio.wait_for(reranker.arank('read', texts), 0.2))", 1),
    "daemons": (
        "[threading.Thread(target=whole, daemon=True).start() for _ in '123']; time.sleep(.2)",
        0,
    ),
    "SIGINT": ("print('now', flush=True); whole()", -signal.SIGINT),
    "SIGTERM": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "print('now', flush=True); whole()",
        143,
    ),
    "multiprocessing": (
        "import multiprocessing\n"
        "cut(); child = multiprocessing.get_context('fork').Process(target=cut)\n"
        "child.start(); child.join(); sys.exit(child.exitcode)",
        0,
    ),
}
"""A process in the middle of a batch, and the exit code that is its own."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks")
@pytest.mark.parametrize("way", WAYS)
def test_a_process_ends_by_its_own_exit_code(way: str, runtime: str) -> None:
    """More ways, more often: ``benchmarks/endings.py``."""
    code, expected = WAYS[way]
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT + code, runtime]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        if way.startswith("SIG"):
            assert process.stdout is not None and process.stdout.readline() == "now\n"
            time.sleep(0.3)
            process.send_signal(signal.Signals[way])
            if way == "SIGINT":  # once more, while the end waits for the batch
                time.sleep(0.02)
                process.send_signal(signal.SIGINT)
        stderr = process.communicate(timeout=60)[1]
    assert process.returncode == expected, stderr
    assert "terminate called" not in stderr
