"""Many files to pieces, in processes that may be killed: what a sync reads its files through.

Files go out in batches and come back in the order in which they came in. Knows nothing of where
they are from or of what becomes of them.
"""

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, Self, TypeVar

from resift.errors import InputError, SourceError
from resift.index.parsing.columns import Columns
from resift.index.parsing.cut import CutFile
from resift.index.parsing.limits import ParseLimits
from resift.index.parsing.parser_process import Answer, ParserProcess

T = TypeVar("T")

_MOST_PROCESSES = 4
# Small files share a way through the pipe.
_BATCH_FILES = 32
_BATCH_BYTES = 1 << 18
# Files and answers that wait for their turn, beside those that are being read.
_WINDOW_BYTES = 64 << 20
_WINDOW_BATCHES = 64
# How often somebody looks for files that take too long.
_WATCH_SECONDS = 0.1


@dataclass(slots=True)
class _FileBatch(Generic[T]):
    """Files on their way; `files` are those of `items` that are not skipped already."""

    items: list[tuple[T, SourceError | None]] = field(default_factory=list)
    files: list[tuple[str, bytes]] = field(default_factory=list)
    bytes: int = 0
    answers: "Future[list[Answer]] | None" = None

    @property
    def is_full(self) -> bool:
        return len(self.items) >= _BATCH_FILES or self.bytes >= _BATCH_BYTES

    @property
    def is_done(self) -> bool:
        return self.answers is None or self.answers.done()

    @property
    def held(self) -> int:
        """Bytes in memory for it, by what was sent or came back."""
        done = self.answers.result() if self.answers and self.answers.done() else []
        return sum(answer.bytes for answer in done) or self.bytes

    def outcomes(self) -> Iterator[tuple[T, CutFile | SourceError]]:
        """Wait, and give each item with what became of it."""
        answers = iter(self.answers.result() if self.answers else ())
        for item, skipped in self.items:
            yield item, skipped or next(answers).outcome


class Parsers:
    """A pool of parser processes, started as they are needed; use it in a ``with``.

    A file that is too large, takes too long, or kills its parser is skipped with its reason, and
    the others go on. With `with_text` documents come with their whole text.
    """

    def __init__(
        self,
        limits: ParseLimits | None = None,
        columns: Columns | None = None,
        *,
        processes: int | None = None,
        with_text: bool = False,
    ) -> None:
        self._limits = limits or ParseLimits()
        count = processes or min(os.cpu_count() or 1, _MOST_PROCESSES)
        setup = (self._limits, columns or Columns(), with_text)
        self._children = [ParserProcess(*setup) for _ in range(count)]
        self._idle: SimpleQueue[ParserProcess] = SimpleQueue()
        for child in self._children:
            self._idle.put(child)
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
        for child in self._children:
            child.kill()
        self._threads.shutdown(cancel_futures=True)
        self._watcher.join()
        for child in self._children:
            child.close()

    def map(
        self, files: Iterable[tuple[T, str, bytes | SourceError]]
    ) -> Iterator[tuple[T, CutFile | SourceError]]:
        """Each (item, key, bytes) as (item, what became of it), in the same order.

        Files are taken from `files` ahead of what was given, some 64 MB of them. An item that
        comes with its error keeps it. Raise `ResiftError` if no process starts at all, and
        `InputError` outside of a ``with``.
        """
        if not self._watcher.is_alive():
            raise InputError("these parsers are not open: use them in a with statement")
        window: deque[_FileBatch[T]] = deque()
        try:
            for batch in self._batches(files):
                if batch.files:
                    batch.answers = self._threads.submit(self._parse, batch.files)
                window.append(batch)
                while window and (window[0].is_done or self._is_over(window)):
                    yield from window.popleft().outcomes()
            while window:
                yield from window.popleft().outcomes()
        finally:
            for batch in window:
                if batch.answers:
                    batch.answers.cancel()

    def _batches(
        self, files: Iterable[tuple[T, str, bytes | SourceError]]
    ) -> Iterator[_FileBatch[T]]:
        batch: _FileBatch[T] = _FileBatch()
        for item, key, data in files:
            skipped = self._refuse(data)
            batch.items.append((item, skipped))
            if not skipped and isinstance(data, bytes):
                batch.files.append((key, data))
                batch.bytes += len(data)
            if batch.is_full:
                yield batch
                batch = _FileBatch()
        if batch.items:
            yield batch

    def _refuse(self, data: bytes | SourceError) -> SourceError | None:
        if isinstance(data, SourceError):
            return data
        try:
            self._limits.check_bytes(len(data))
        except SourceError as error:
            return error
        return None

    def _parse(self, files: list[tuple[str, bytes]]) -> list[Answer]:
        child = self._idle.get()
        try:
            return child.parse(files)
        finally:
            files.clear()  # answered: nobody needs the bytes any more
            self._idle.put(child)

    def _is_over(self, window: deque[_FileBatch[T]]) -> bool:
        if len(window) > _WINDOW_BATCHES:
            return True
        return sum(batch.held for batch in window) > _WINDOW_BYTES

    def _watch(self) -> None:
        while not self._closed.wait(_WATCH_SECONDS):
            for child in self._children:
                child.kill_if_late()
