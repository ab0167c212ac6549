"""`resift serve` in processes of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class ServerProcess:
    """A server that has said that it is ready."""

    process: "subprocess.Popen[str]"
    line: str
    url: str
    log: Path

    def children(self) -> list[int]:
        """The process ids of workers."""
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [int(pid) for pid in task.read_text().split()]
        return [pid for pid in pids if b"spawn_main" in _command(pid)]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def started(log: Path, *arguments: str, **environment: str) -> Iterator[ServerProcess]:
    """`resift serve` at a free port; killed at the end if it still runs."""
    command = [sys.executable, "-m", "resift", "serve", "--port", "0", *arguments]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = re.search(r"https?://[^;\s]+", line)
        assert url is not None, f"it did not start: {line!r}, {log.read_text()[-2000:]}"
        yield ServerProcess(process, line, url[0], log)
    finally:
        process.kill()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
