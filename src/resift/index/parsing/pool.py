"""Parses many files in parser processes, which are killed if a file exceeds a limit.

`ParserPool` returns results in the order of the files. Each `_ParserProcess` starts a `worker` when
needed, and another one when it dies.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Generic, Self, TypeVar, cast

from resift.errors import InputError, ResiftError, SourceError
from resift.index.parsing import protocol
from resift.index.parsing.documents import ChunkedDocument, ChunkedFile
from resift.index.parsing.options import DEFAULTS, ParseOptions

T = TypeVar("T")
FileResult = ChunkedFile | SourceError

_MAX_PROCESSES = 4
# The limits for waiting files and for results that have not been read yet.
_QUEUE_FILES = 256
_QUEUE_BYTES = 64 << 20
_SECONDS_BETWEEN_CHECKS = 0.1
# The time that a parser process may take to load Python, numpy and a tokenizer.
_START_SECONDS = 60.0
# The environment variables that a parser gets, without credentials.
_ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH",
                "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")  # fmt: skip
# A process uses one core; the memory that more threads reserve would count for its limit.
_SINGLE_THREADED = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(slots=True)
class _Job(Generic[T]):
    """A file to parse. `size` is the bytes of the file or, once it is parsed, of its result."""

    item: T
    size: int
    future: Future[FileResult] = field(default_factory=Future)


class ParserPool:
    """A pool of parser processes, started when needed; use it in a ``with`` statement.

    A file that is too large, takes too long, or kills its parser is skipped with a reason; the
    other files are not affected.
    """

    def __init__(self, options: ParseOptions = DEFAULTS, *, processes: int | None = None) -> None:
        self._limits = options.limits
        count = processes or min(os.cpu_count() or 1, _MAX_PROCESSES)
        self._processes = [_ParserProcess(options) for _ in range(count)]
        self._idle: SimpleQueue[_ParserProcess] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(count, "resift-parse")
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="resift-watch", daemon=True)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        for process in self._processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        self._watcher.join()
        for process in self._processes:
            process.end()

    def map(
        self, files: Iterable[tuple[T, str, bytes | SourceError]]
    ) -> Iterator[tuple[T, FileResult]]:
        """Parse each (item, key, bytes); yield (item, result) in the same order.

        About 64 MB of files are read ahead. An item whose bytes are an error keeps the error. Raise
        `ResiftError` if no process starts, and `InputError` outside of a ``with`` statement.
        """
        if not self._watcher.is_alive():
            raise InputError("this ParserPool is not open: use it in a with statement")
        queue: deque[_Job[T]] = deque()
        try:
            for item, key, data in files:
                queue.append(self._submit(item, key, data))
                while queue and (queue[0].future.done() or _is_full(queue)):
                    job = queue.popleft()
                    yield job.item, job.future.result()
            while queue:
                job = queue.popleft()
                yield job.item, job.future.result()
        finally:
            for job in queue:
                job.future.cancel()

    def _submit(self, item: T, key: str, data: bytes | SourceError) -> _Job[T]:
        if isinstance(data, bytes):
            job = _Job(item, len(data))
            try:
                self._limits.check_bytes(len(data))
                job.future = self._threads.submit(self._parse, job, key, data)
            except SourceError as error:
                job.future.set_result(error)
        else:
            job = _Job(item, 0)
            job.future.set_result(data)
        return job

    def _parse(self, job: _Job[T], key: str, data: bytes) -> FileResult:
        process = self._idle.get()
        try:
            result, job.size = process.parse(key, data)
            return result
        finally:
            self._idle.put(process)

    def _watch(self) -> None:
        while not self._closed.wait(_SECONDS_BETWEEN_CHECKS):
            for process in self._processes:
                process.kill_if_late()


def _is_full(queue: deque[_Job[T]]) -> bool:
    return len(queue) > _QUEUE_FILES or sum(job.size for job in queue) > _QUEUE_BYTES


class _ParserProcess:
    """A parser process with a deadline.

    One thread calls `parse`; another may call `kill_if_late` or `kill` meanwhile.
    """

    def __init__(self, options: ParseOptions) -> None:
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._results = 0  # since the current process was started
        self._lock = threading.Lock()
        self._deadline: float | None = None
        self._was_late = False
        self._is_closed = False

    def parse(self, key: str, data: bytes) -> tuple[FileResult, int]:
        """Parse a file; return its result, and the bytes of the result.

        A file that kills its process is skipped with the reason. If the process had parsed other
        files before, they may be the cause, and the file is sent to a new process.
        """
        reason = None
        while reason is None:
            process = self._running_process()
            try:
                self._set_deadline(self._options.limits.max_seconds)
                protocol.write(_pipe(process.stdin), [key, len(data)], data)
                result = self._result(process)
                self._results += 1
                if self._clear_deadline():  # killed just after it had sent the result
                    self.end()
                return result
            except (OSError, EOFError):
                self.end()
                reason = self._skip_reason(process.returncode, self._clear_deadline())
            except (ValueError, RecursionError):
                self._clear_deadline()
                self.end()
                reason = "its parser gave no answer that can be read"
        return SourceError(reason), 0

    def kill_if_late(self) -> None:
        """Kill the process if its file has taken too long."""
        with self._lock:
            is_late = self._deadline is not None and time.monotonic() > self._deadline
            if self._process and is_late:
                self._was_late = True
                self._deadline = None
                self._process.kill()

    def kill(self) -> None:
        """Kill the process, and do not start another one."""
        with self._lock:
            self._is_closed = True
            if self._process:
                self._process.kill()

    def end(self) -> None:
        """End the process and close its pipes; no other thread may be using it."""
        process = self._process
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            try:
                _pipe(pipe).close()
            except OSError:
                continue  # a part that was not sent yet is lost
        with self._lock:
            self._process = None

    def _result(self, process: subprocess.Popen[bytes]) -> tuple[FileResult, int]:
        """Receive one file's result, in one or more parts with a deadline each."""
        documents: list[ChunkedDocument] = []
        # A result cannot be larger than the parser's memory.
        max_bytes = bytes_left = self._options.limits.memory_mb << 20
        while True:
            self._set_deadline(self._options.limits.max_seconds)
            message, size = protocol.read_untrusted(_pipe(process.stdout), bytes_left)
            bytes_left -= size
            if isinstance(message, dict) and isinstance(message.get("error"), str):
                return SourceError(message["error"]), max_bytes - bytes_left
            part = protocol.from_json(message)
            documents += part.documents
            if message.get("more") is not True:
                return ChunkedFile(tuple(documents), part.problems), max_bytes - bytes_left

    def _skip_reason(self, exit_code: int, was_late: bool) -> str | None:
        """Return why to skip a file whose process died; None to send it to a new process."""
        limits = self._options.limits
        if was_late or exit_code == -getattr(signal, "SIGXCPU", 0):
            return limits.too_slow
        if self._results:  # earlier files may be the cause
            return None
        if exit_code in (protocol.EXIT_NO_MEMORY, protocol.EXIT_GROWN):
            return limits.too_large
        return (
            f"its parser {_describe_exit(exit_code)}: the file is damaged, hostile or needs over "
            f"{limits.memory_mb:,} MB"
        )

    def _set_deadline(self, seconds: float) -> None:
        with self._lock:
            self._deadline = time.monotonic() + seconds

    def _clear_deadline(self) -> bool:
        """Remove the deadline; return whether the process was killed for being late."""
        with self._lock:
            was_late, self._was_late, self._deadline = self._was_late, False, None
            return was_late

    def _running_process(self) -> subprocess.Popen[bytes]:
        if self._process and self._process.poll() is None:
            return self._process
        try:
            return self._start()
        except ResiftError:  # the process may have been killed while it started: try once more
            return self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self.end()
        with self._lock:
            if self._is_closed:
                raise ResiftError("the parsers are closed: open new ones")
            self._process = process = _start_worker()
            self._results = 0
        try:
            self._set_deadline(_START_SECONDS)
            protocol.write(_pipe(process.stdin), asdict(self._options))
            protocol.read_untrusted(_pipe(process.stdout), 1 << 10)
        except (OSError, EOFError, ValueError) as error:
            self.end()
            raise ResiftError(
                f"no parser process starts (it {_describe_exit(process.returncode)}): run "
                f"{sys.executable} -m resift.index.parsing.worker  to see why"
            ) from error
        finally:
            self._clear_deadline()
        return process


def _start_worker() -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # The same packages as here, in the same order, but nothing from the current folder.
    packages = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "resift.index.parsing.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment | _SINGLE_THREADED | packages,
    )


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    return cast(IO[bytes], stream)  # Popen was given PIPE for both


def _describe_exit(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with code {exit_code}"
    try:
        return f"was ended by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was ended by signal {-exit_code}"
