"""Pipes: all lines arrive, odd bytes too, and a reader that does not read can be given up."""

import asyncio
import os
import threading
from collections.abc import Iterator

import pytest

from resift.serve.pipes import LineReader, TextWriter


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            continue  # the test has closed it


def lines_of(pipe: tuple[int, int], data: bytes) -> list[str]:
    """The lines that come of data and the end of the pipe."""
    reading, writing = pipe

    def write() -> None:
        with os.fdopen(writing, "wb") as stream:
            stream.write(data)

    async def read() -> list[str]:
        lines = LineReader(reading)
        threading.Thread(target=write).start()
        return [line async for line in lines]

    return asyncio.run(read())


def test_long_lines_empty_lines_and_one_without_an_end_arrive(pipe: tuple[int, int]) -> None:
    long = "é" * 500_000
    assert lines_of(pipe, f"one\n\n{long}\r\nlast".encode()) == ["one", "", f"{long}\r", "last"]


def test_bytes_that_are_no_text_are_replaced(pipe: tuple[int, int]) -> None:
    assert lines_of(pipe, b"a\xffb\n\xe2\x82\n") == ["a\ufffdb", "\ufffd"]


def test_a_reader_can_be_ended_before_its_pipe(pipe: tuple[int, int]) -> None:
    async def read() -> list[str]:
        lines = LineReader(pipe[0])
        assert not lines.has_ended.is_set()
        lines.end()
        assert lines.has_ended.is_set()
        return [line async for line in lines]

    assert asyncio.run(read()) == []
    os.close(pipe[1])  # ends the thread that reads
    for thread in threading.enumerate():
        if thread.name == "resift-stdin":
            thread.join(30)


def test_text_is_written_whole_and_in_order(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = pipe
    write_all = os.write
    monkeypatch.setattr(os, "write", lambda number, data: write_all(number, data[:70_000]))
    received: list[bytes] = []

    def read() -> None:
        with os.fdopen(reading, "rb") as stream:
            received.append(stream.read())

    thread = threading.Thread(target=read)
    thread.start()

    async def write() -> None:
        writer = TextWriter(writing)
        await asyncio.gather(*(writer.write(sign * 200_000) for sign in "aé\ud800"))
        await writer.flush()

    asyncio.run(write())
    os.close(writing)
    thread.join()
    assert received[0].decode() == "a" * 200_000 + "é" * 200_000 + "?" * 200_000


def test_a_pipe_without_a_reader_and_one_that_is_given_up_raise(pipe: tuple[int, int]) -> None:
    async def write_without_a_reader() -> None:
        os.close(pipe[0])
        await TextWriter(pipe[1]).write("a")

    async def write_and_give_up() -> None:
        reading, writing = os.pipe()
        writer = TextWriter(writing)
        task = asyncio.create_task(writer.write("a" * 1_000_000))
        await asyncio.sleep(0.05)
        assert not task.done()
        writer.give_up()
        try:
            await task
        finally:
            os.close(reading)  # ends the thread that writes

    for write in (write_without_a_reader, write_and_give_up):
        with pytest.raises(BrokenPipeError):
            asyncio.run(write())
