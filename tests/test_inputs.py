"""Text input: lines with any ends in any chunks, bounded; no endless device."""

import io
import os
import pty
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.errors import DatasetError, InputError
from resift.inputs import chunks, open_input, read_all, split_lines

pieces = st.lists(st.text("ab\r\n", max_size=6).map(str.encode), max_size=6)


@given(pieces)
def test_lines_are_the_same_however_the_bytes_come(parts: list[bytes]) -> None:
    assert list(split_lines("f", iter(parts))) == b"".join(parts).splitlines()


def test_a_line_is_bounded_and_the_number_of_lines_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resift.inputs._MAX_LINE_BYTES", 1 << 20)
    fits = b"x" * ((1 << 20) - 2)
    assert list(split_lines("f", iter([fits + b"\n", fits]))) == [fits, fits]
    for parts in ([b"a\n", fits, b"xyz"], [b"a\n" + fits + b"xy\nb"], [b"a\r", fits, b"xy\r"]):
        with pytest.raises(DatasetError, match=r"f:2: a line of more than 1 MB"):
            list(split_lines("f", iter([*parts, b"\n"])))


def test_a_line_is_yielded_before_the_next_arrives() -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stream, os.fdopen(write, "wb", buffering=0) as sender:
        sender.write(b"first\n")
        numbered = split_lines("f", chunks(stream))
        assert next(numbered) == b"first"


def test_a_stream_that_is_read_whole_is_bounded() -> None:
    assert read_all("f", io.BytesIO(b"12345"), 5) == b"12345"
    with pytest.raises(InputError, match="f: more than"):
        read_all("f", io.BytesIO(b"123456"), 5)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/urandom", "/dev/full"])
def test_an_endless_device_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    for name in (path, tmp_path / "link"):
        with pytest.raises(OSError, match="is a device, expected a file"):
            open_input(name)


def test_a_terminal_a_pipe_and_the_null_device_are_read(tmp_path: Path) -> None:
    with open_input(os.devnull) as stream:
        assert stream.read() == b""
    master, terminal = pty.openpty()
    os.write(master, b"typed\n")
    with open_input(os.ttyname(terminal)) as stream:
        assert next(split_lines("f", chunks(stream))) == b"typed"
    os.close(master)
    os.close(terminal)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"sent\n",))
    writer.start()
    with open_input(tmp_path / "pipe") as stream:
        assert stream.read() == b"sent\n"
    writer.join(10)
