"""Lines of text from a pipe and to a pipe, in an event loop. Knows no protocol.

Reads and writes of a pipe may block for ever, so they run in threads that do not keep the process
from ending.
"""

import asyncio
import os
import threading
from contextlib import suppress

from resift.background import Background

STDIN, STDOUT, STDERR = 0, 1, 2
_CHUNK = 1 << 16


def taken_stdout() -> int:
    """A descriptor of stdout for the caller alone: what others print goes to stderr from now on."""
    descriptor = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    return descriptor


class LineReader:
    """The lines of a descriptor, for ``async for``; bytes that are no UTF-8 become U+FFFD."""

    def __init__(self, descriptor: int) -> None:
        """Start to read. The caller is in an event loop."""
        self.has_ended = asyncio.Event()
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        threading.Thread(target=self._read, name="resift-stdin", daemon=True).start()

    def end(self) -> None:
        """Give no more lines than are read already. The caller is in the event loop."""
        self._lines.put_nowait(None)
        self.has_ended.set()

    def __aiter__(self) -> "LineReader":
        return self

    async def __anext__(self) -> str:
        line = await self._lines.get()
        if line is None:
            raise StopAsyncIteration
        return line.decode("utf-8", "replace")

    def _read(self) -> None:
        rest = bytearray()
        with suppress(RuntimeError):  # the loop has ended
            while data := self._next_bytes():
                rest += data
                if b"\n" in data:
                    *lines, rest = rest.split(b"\n")
                    for line in lines:
                        self._loop.call_soon_threadsafe(self._lines.put_nowait, bytes(line))
            if rest:
                self._loop.call_soon_threadsafe(self._lines.put_nowait, bytes(rest))
            self._loop.call_soon_threadsafe(self.end)

    def _next_bytes(self) -> bytes:
        try:
            return os.read(self._descriptor, _CHUNK)
        except OSError:  # a terminal that was closed
            return b""


class TextWriter:
    """Writes text to a descriptor as UTF-8. Raises `OSError` if that fails."""

    def __init__(self, descriptor: int) -> None:
        """The caller is in an event loop."""
        self._descriptor = descriptor
        self._background = Background(1, "resift-stdout")
        self._given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def write(self, text: str) -> None:
        """Write all of the text. Raises `BrokenPipeError` after `give_up`."""
        data = memoryview(text.encode("utf-8", "replace"))
        job = asyncio.wrap_future(self._background.run(lambda: self._write(data)))
        await asyncio.wait([job, self._given_up], return_when=asyncio.FIRST_COMPLETED)
        if not job.done():
            job.add_done_callback(lambda job: job.cancelled() or job.exception())  # nobody asks
            raise BrokenPipeError("the reader of the pipe does not read")
        job.result()

    async def flush(self) -> None:
        """Nothing is buffered."""

    def give_up(self) -> None:
        """Wait no longer for a reader that does not read."""
        if not self._given_up.done():
            self._given_up.set_result(None)

    def _write(self, data: memoryview) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]
