"""A file that somebody named is written whole, and never over what is not of its kind."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from resift.errors import OutputError
from resift.files import check_output, open_regular, output, read_regular

WHAT = "a note"


def _note(head: bytes) -> bool:
    return head.startswith(b"note: ")


def _write(path: Path | str, text: bytes = b"note: new\n") -> None:
    with output(path, WHAT, _note) as out:
        out.write(text)


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        _write(tmp_path / "new")
    finally:
        os.umask(mask)
    assert (tmp_path / "new").read_bytes() == b"note: new\n"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize("before", [b"", b"note: old"])
def test_an_empty_file_and_one_of_the_kind_are_replaced(tmp_path: Path, before: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(before)
    file.chmod(0o600)
    _write(file)
    assert file.read_bytes() == b"note: new\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("before", [b"thesis", b"\x00", b"SQLite format 3\x00", b" note: old"])
def test_what_is_not_of_the_kind_stays(tmp_path: Path, before: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(before)
    with pytest.raises(OutputError, match="is there and is not a note"):
        _write(file)
    assert file.read_bytes() == before


def test_what_fails_half_way_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"note: old")
    with pytest.raises(KeyError), output(file, WHAT, _note) as out:
        out.write(b"note: half")
        raise KeyError
    assert file.read_bytes() == b"note: old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_comes_while_one_is_written_stays(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with pytest.raises(OutputError, match="is there"), output(file, WHAT, _note) as out:
        out.write(b"note: new")
        file.write_bytes(b"somebody else's")
    assert file.read_bytes() == b"somebody else's"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"note: old")
    for name, end in (("link", "target"), ("dangling", "later")):
        (tmp_path / name).symlink_to(end)
        _write(tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / end).read_bytes() == b"note: new\n"


def test_what_a_link_leads_to_is_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_bytes(b"thesis")
    (tmp_path / "link").symlink_to("thesis")
    with pytest.raises(OutputError, match="is not a note"):
        _write(tmp_path / "link")
    assert (tmp_path / "thesis").read_bytes() == b"thesis"


def test_a_device_and_a_pipe_are_written_to(tmp_path: Path) -> None:
    before = os.stat(os.devnull)
    _write(os.devnull)
    assert os.stat(os.devnull).st_ino == before.st_ino
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    _write(pipe)
    reader.join(10)
    assert read == [b"note: new\n"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_dash_is_stdout() -> None:
    code = "from resift.files import output\nwith output('-', '', bool) as out: out.write(b'hi')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ran.stdout == b"hi"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "a folder"),
        ("folder", "a folder"),
        ("no/such/file", "no folder"),
        ("loop", "leads to itself"),
        ("n" * 300, "cannot be written"),
        ("nul\0", "no name"),
    ],
)
def test_names_that_cannot_be_written(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for write in (_write, lambda path: check_output(path, WHAT, _note)):
        with pytest.raises(OutputError, match=message) as caught:
            write(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_only_a_regular_file_is_opened_and_nothing_is_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    kinds = {pipe: "is a pipe", tmp_path: "is a folder", Path("/dev/zero"): "is a device"}
    for path, kind in kinds.items():
        with pytest.raises(OSError, match=f"{kind}, expected a file"):
            open_regular(path)


def test_a_pipe_that_comes_meanwhile_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, file = tmp_path / "pipe", tmp_path / "file"
    os.mkfifo(pipe)
    file.touch()
    before = file.stat()
    monkeypatch.setattr("resift.files.os.stat", lambda path: before)
    with pytest.raises(OSError, match="is a pipe, expected a file"):
        open_regular(pipe)


def test_a_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 5) == b"12345"
    with pytest.raises(OSError, match="has more than 4 bytes"):
        read_regular(tmp_path / "file", 4)
    with pytest.raises(OSError, match="has more than 4 bytes"):
        read_regular("/proc/self/status", 4)  # it says that it has none
