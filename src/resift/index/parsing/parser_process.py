"""One parser process, seen from its parent: started when needed, replaced when it dies.

Knows nothing of what a file is, only of what can become of a process that reads one.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import IO, cast

from resift.errors import ResiftError, SourceError
from resift.index.parsing import frames
from resift.index.parsing.columns import Columns
from resift.index.parsing.cut import CutDocument, CutFile, from_json
from resift.index.parsing.limits import ParseLimits

# A parser loads Python, numpy and a tokenizer first.
_START_SECONDS = 60.0
# What a parser needs to know of its surroundings. Credentials are no part of it.
_ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH",
                "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")  # fmt: skip
# One process is one core's work, and what threads reserve counts as memory.
_ALONE = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one file; `bytes` is how much came over the pipe for it."""

    outcome: CutFile | SourceError
    bytes: int


class ParserProcess:
    """A child and its deadline. One thread talks to it, another may `kill_if_late` or `kill`."""

    def __init__(self, limits: ParseLimits, columns: Columns, with_text: bool) -> None:
        self._limits = limits
        self._setup = {
            "limits": asdict(limits),
            "columns": asdict(columns),
            "with_text": with_text,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._answered = 0
        self._lock = threading.Lock()
        self._until: float | None = None
        self._is_late = False
        self._is_closed = False

    def parse(self, files: Sequence[tuple[str, bytes]]) -> list[Answer]:
        """An answer a file. Who kills the child pays for itself; the next one begins anew."""
        answers: list[Answer] = []
        while len(answers) < len(files):
            answers += self._attempt(files[len(answers) :])
        return answers

    def kill_if_late(self) -> None:
        """End a child whose file has had its time."""
        with self._lock:
            if self._process and self._until is not None and time.monotonic() > self._until:
                self._is_late = True
                self._until = None
                self._process.kill()

    def kill(self) -> None:
        """End the child, whatever it does, and start no other."""
        with self._lock:
            self._is_closed = True
            if self._process:
                self._process.kill()

    def close(self) -> None:
        """Let go of a child that nobody talks to any more."""
        if self._process:
            self._end(self._process)

    def _attempt(self, files: Sequence[tuple[str, bytes]]) -> list[Answer]:
        """The answers of one child, until all are there or it is gone."""
        process = self._running()
        answers: list[Answer] = []
        try:
            self._start_clock(self._limits.max_seconds)
            head = [[key, len(data)] for key, data in files]
            frames.write(_pipe(process.stdin), head, [data for _, data in files])
            while len(answers) < len(files):
                answers.append(self._answer(process))
                self._answered += 1
                if self._stop_clock():  # killed, though it had answered in the last moment
                    self._end(process)
                    break
        except (OSError, EOFError):
            self._end(process)
            reason = self._reason(process.returncode, self._stop_clock())
            if reason:
                answers.append(Answer(SourceError(reason), 0))
        except (ValueError, RecursionError):
            self._stop_clock()
            self._end(process)
            answers.append(Answer(SourceError("its parser gave no answer that can be read"), 0))
        return answers

    def _answer(self, process: subprocess.Popen[bytes]) -> Answer:
        """One file's answer, in as many parts as it comes; each part has its own time."""
        documents: list[CutDocument] = []
        left = most = self._limits.memory_mb << 20  # it cannot have to say more than it can hold
        more = True
        while more:
            self._start_clock(self._limits.max_seconds)
            head, _, size = frames.read(_pipe(process.stdout), left)
            left -= size
            if isinstance(head, dict) and isinstance(head.get("error"), str):
                return Answer(SourceError(head["error"]), most - left)
            part = from_json(head)
            documents += part.documents
            more = head.get("more") is True
        return Answer(CutFile(tuple(documents), part.problems), most - left)

    def _reason(self, code: int, was_late: bool) -> str | None:
        """Why the file is skipped that a child died of; None if it is to be sent again."""
        if was_late or code == -getattr(signal, "SIGXCPU", 0):
            return self._limits.too_slow
        if self._answered:  # it may have ailed before: what a new one dies of is the file's doing
            return None
        if code in (frames.NO_MEMORY, frames.FULL):
            return self._limits.too_large
        memory = f"{self._limits.memory_mb:,} MB"
        return f"its parser {_death(code)}: the file is damaged, hostile or needs over {memory}"

    def _start_clock(self, seconds: float) -> None:
        with self._lock:
            self._until = time.monotonic() + seconds

    def _stop_clock(self) -> bool:
        """Whether the child was killed for being late."""
        with self._lock:
            was_late, self._is_late, self._until = self._is_late, False, None
            return was_late

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process and self._process.poll() is None:
            return self._process
        try:
            return self._started()
        except ResiftError:  # killed while it started, perhaps: once is no reason to give up
            return self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        self.close()
        with self._lock:
            if self._is_closed:
                raise ResiftError("the parsers are closed: open new ones")
            self._process = process = _start()
            self._answered = 0
        try:
            self._start_clock(_START_SECONDS)
            frames.write(_pipe(process.stdin), self._setup)
            frames.read(_pipe(process.stdout), 1 << 10)
        except (OSError, EOFError, ValueError) as error:
            self._end(process)
            raise ResiftError(
                f"no parser process starts (it {_death(process.returncode)}): run "
                f"{sys.executable} -m resift.index.parsing.parse_worker  to see why"
            ) from error
        finally:
            self._stop_clock()
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Make sure that a child is gone, with its pipes."""
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            try:
                _pipe(pipe).close()
            except OSError:
                continue  # what was still to be written has nowhere to go
        with self._lock:
            self._process = None


def _start() -> subprocess.Popen[bytes]:
    known = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # The same packages as here, in the same order; but nothing that lies in the current folder.
    packages = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "resift.index.parsing.parse_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=known | _ALONE | packages,
    )


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    return cast(IO[bytes], stream)  # both are pipes: we asked for them


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
