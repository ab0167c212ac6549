"""Does a process end with its own exit code, however it ends, while the model still runs?

    python benchmarks/endings.py [--times 50] [--runtime openvino onnxruntime] [--ways exit ...]

Each way of ending is a process of its own that ends in the middle of a batch. ``signals`` counts
processes that died of a signal other than the one that they got and do not handle.
Last line of stdout: JSON.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

from resift.settings import RUNTIMES

BEGIN = """
import asyncio, os, signal, sys, threading, time
from resift import Reranker
from resift.settings import Settings
texts = [f"{number} a text that is read by the model word by word " * 40 for number in range(600)]
reranker = Reranker(settings=Settings(runtime=os.environ["RESIFT_RUNTIME"]))
def cut(): return reranker.rank("what is read", texts, 10, budget_ms=120)
def whole(): return reranker.rank("what is read", texts, 10)
"""

WAYS: dict[str, tuple[str, int]] = {
    "end": ("cut()", 0),
    "exit": ("cut(); sys.exit(7)", 7),
    "error": ("cut(); raise ValueError('of the script')", 1),
    "wait_for": (
        "asyncio.run(asyncio.wait_for(reranker.arank('what is read', texts, 10), 0.3))",
        1,
    ),
    "cut_arank": ("asyncio.run(reranker.arank('what is read', texts, 10, budget_ms=120))", 0),
    "daemon_thread": ("threading.Thread(target=whole, daemon=True).start(); time.sleep(.3)", 0),
    "many_daemon_threads": (
        "[threading.Thread(target=whole, daemon=True).start() for _ in range(4)]; time.sleep(.1)",
        0,
    ),
    "thread": ("threading.Thread(target=cut).start()", 0),
    "interrupt": ("print('now', flush=True); whole()", -signal.SIGINT),
    "interrupt_twice": ("print('now', flush=True); cut(); whole()", -signal.SIGINT),
    "interrupt_handled": (
        "print('now', flush=True)\ntry: whole()\nexcept KeyboardInterrupt: sys.exit(130)",
        130,
    ),
    "interrupt_loop": (
        "print('now', flush=True); asyncio.run(reranker.arank('what is read', texts, 10))",
        -signal.SIGINT,
    ),
    "terminate": ("print('now', flush=True); whole()", -signal.SIGTERM),
    "terminate_handled": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "print('now', flush=True); whole()",
        143,
    ),
    "fork": (
        "cut(); child = os.fork()\n"
        "if not child: cut(); os._exit(3)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))",
        3,
    ),
    "multiprocessing": (
        "import multiprocessing\n"
        "cut(); child = multiprocessing.get_context('fork').Process(target=cut)\n"
        "child.start(); child.join(); sys.exit(child.exitcode)",
        0,
    ),
    "atexit": ("import atexit; atexit.register(cut); cut()", 0),
}
"""Code, and the exit code that it asks for."""

SIGNALS = {"interrupt": signal.SIGINT, "terminate": signal.SIGTERM}
CALL = "from resift.cli.main import run; run()"
CLI = {"cli": False, "cli_interrupt": True, "cli_pipe": False}
LINES = "".join(f"{number} {'a text that is read word by word ' * 12}\n" for number in range(3_000))


def main() -> None:
    """Print a line a way and runtime."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--runtime", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument("--ways", nargs="+", choices=[*WAYS, *CLI], default=[*WAYS, *CLI])
    options = parser.parse_args()
    rows = []
    for runtime in options.runtime:
        for way in options.ways:
            codes = Counter(exit_code(way, runtime) for _ in range(options.times))
            expected = WAYS[way][1] if way in WAYS else 130 if CLI[way] else 0
            wrong = {str(code): count for code, count in codes.items() if code != expected}
            row = {"runtime": runtime, "way": way, "expected": expected, "wrong": wrong}
            rows.append(row)
            print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    signals = sum(count for row in rows for code, count in row["wrong"].items() if int(code) < 0)
    print(json.dumps({"times": options.times, "signals": signals, "rows": rows}))


def exit_code(way: str, runtime: str) -> int:
    """The exit code of a process that ends in this way; a negative number is a signal."""
    environment = os.environ | {"RESIFT_RUNTIME": runtime}
    if way in CLI:
        return _cli(way, environment)
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + WAYS[way][0]],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    name = way.partition("_")[0]
    if name in SIGNALS:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(SIGNALS[name])
        if way.endswith("twice"):
            time.sleep(0.02)
            process.send_signal(SIGNALS[name])
    return _exit_code(process)


def _cli(way: str, environment: dict[str, str]) -> int:
    command = [sys.executable, "-c", CALL, "rerank", "-q", "what is read"]
    if not CLI[way]:
        command += ["--budget-ms", "300"]
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if way == "cli_pipe" else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(LINES.encode())
    process.stdin.close()
    if way == "cli_pipe":
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
    if CLI[way]:
        time.sleep(3.0)
        process.send_signal(signal.SIGINT)
    return _exit_code(process)


def _exit_code(process: subprocess.Popen[bytes]) -> int:
    if process.stdout is not None and not process.stdout.closed:
        process.stdout.read()
    try:
        return process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        return 999


if __name__ == "__main__":
    main()
