"""What somebody names to be read: lines by any ends in any chunks, bounded; no endless device."""

import io
import os
import pty
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.descriptors import check_writable, descriptor
from resift.errors import DatasetError, InputError
from resift.inputs import chunks, lines, open_input, read_all

pieces = st.lists(st.text("ab\r\n", max_size=6).map(str.encode), max_size=6)


@given(pieces)
def test_lines_are_the_same_however_the_bytes_come(parts: list[bytes]) -> None:
    assert list(lines("f", iter(parts))) == b"".join(parts).splitlines()


def test_a_line_has_a_bound_and_many_lines_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resift.inputs.MOST_LINE", 1 << 20)
    fits = b"x" * ((1 << 20) - 2)
    assert list(lines("f", iter([fits + b"\n", fits]))) == [fits, fits]
    for parts in ([b"a\n", fits, b"xyz"], [b"a\n" + fits + b"xy\nb"], [b"a\r", fits, b"xy\r"]):
        with pytest.raises(DatasetError, match=r"f:2: a line of more than 1 MB"):
            list(lines("f", iter([*parts, b"\n"])))


def test_a_line_comes_before_the_next_is_there() -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stream, os.fdopen(write, "wb", buffering=0) as asked:
        asked.write(b"first\n")
        numbered = lines("f", chunks(stream))
        assert next(numbered) == b"first"


def test_all_of_a_stream_has_a_bound() -> None:
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
        assert next(lines("f", chunks(stream))) == b"typed"
    os.close(master)
    os.close(terminal)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"sent\n",))
    writer.start()
    with open_input(tmp_path / "pipe") as stream:
        assert stream.read() == b"sent\n"
    writer.join(10)


def test_a_descriptor_is_known_by_any_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept\n")
    (tmp_path / "plain").symlink_to("file")
    with (tmp_path / "file").open("rb") as stream:
        number = stream.fileno()
        (tmp_path / "link").symlink_to(f"/dev/fd/{number}")
        (tmp_path / "further").symlink_to("link")
        for name in (f"/dev/fd/{number}", f"/proc/self/fd/{number}", tmp_path / "further"):
            assert descriptor(name) == number
            with open_input(name) as again:
                assert again.read() == b"kept\n"
        with pytest.raises(OSError, match="Bad file descriptor"):
            check_writable(number)
    (tmp_path / "loop").symlink_to("loop")
    others = ("file", "plain", "absent", "loop", "n\0", "no/such/file", "")
    assert {descriptor(tmp_path / name) for name in others} == {None}
    assert descriptor("/dev/stdout") == 1 and descriptor("/dev/fd/x") is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        open_input(f"/dev/fd/{number}")
