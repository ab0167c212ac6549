"""A named file is written whole and never over another kind; cache folders carry a tag."""

import errno
import gzip
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import resift
from resift.errors import OutputError
from resift.files import (
    check_output,
    check_writable,
    claim_folder,
    descriptor,
    open_regular,
    output,
    read_regular,
    reason,
)
from resift.inputs import open_input

WHAT = "a note"
COMMENT = "Made for a test."


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
def test_a_file_of_another_kind_stays(tmp_path: Path, before: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(before)
    with pytest.raises(OutputError, match="exists and is not a note"):
        _write(file)
    assert file.read_bytes() == before


def test_an_error_while_writing_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"note: old")
    with pytest.raises(KeyError), output(file, WHAT, _note) as out:
        out.write(b"note: incomplete")
        raise KeyError
    assert file.read_bytes() == b"note: old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_appears_during_the_writing_stays(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with pytest.raises(OutputError, match="exists"), output(file, WHAT, _note) as out:
        out.write(b"note: new")
        file.write_bytes(b"someone else's")
    assert file.read_bytes() == b"someone else's"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"note: old")
    for name, end in (("link", "target"), ("dangling", "later")):
        (tmp_path / name).symlink_to(end)
        _write(tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / end).read_bytes() == b"note: new\n"


def test_the_target_of_a_link_is_checked_too(tmp_path: Path) -> None:
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
        ("nul\0", "not a valid file name"),
    ],
)
def test_names_that_cannot_be_written_are_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for write in (_write, lambda path: check_output(path, WHAT, _note)):
        with pytest.raises(OutputError, match=message) as caught:
            write(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_only_a_regular_file_is_opened_and_without_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    kinds = {pipe: "is a pipe", tmp_path: "is a folder", Path("/dev/zero"): "is a device"}
    for path, kind in kinds.items():
        with pytest.raises(OSError, match=f"{kind}, expected a file"):
            open_regular(path)


def test_a_pipe_that_replaces_the_file_is_refused_without_waiting(
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


def test_a_descriptor_is_recognised_by_any_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text\n")
    (tmp_path / "plain").symlink_to("file")
    with (tmp_path / "file").open("rb") as stream:
        number = stream.fileno()
        (tmp_path / "link").symlink_to(f"/dev/fd/{number}")
        (tmp_path / "further").symlink_to("link")
        for name in (f"/dev/fd/{number}", f"/proc/self/fd/{number}", tmp_path / "further"):
            assert descriptor(name) == number
            with open_input(name) as again:
                assert again.read() == b"text\n"
        with pytest.raises(OSError, match="Bad file descriptor"):
            check_writable(number)
    (tmp_path / "loop").symlink_to("loop")
    others = ("file", "plain", "absent", "loop", "n\0", "no/such/file", "")
    assert {descriptor(tmp_path / name) for name in others} == {None}
    assert descriptor("/dev/stdout") == 1 and descriptor("/dev/fd/x") is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        open_input(f"/dev/fd/{number}")


def _file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("exists", [False, True])
def test_a_new_or_empty_folder_is_claimed(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "above" / "cache"
    if exists:
        folder.mkdir(parents=True)
    assert claim_folder(folder, COMMENT) and claim_folder(folder, COMMENT)
    assert _file_names(folder) == ["CACHEDIR.TAG"] and _file_names(folder.parent) == ["cache"]
    assert (folder / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f068")
    assert not claim_folder(folder, "Made for something else.")


@pytest.mark.parametrize("kind", ["file", "full", "dangling", "tag folder"])
def test_a_folder_of_someone_else_stays_as_it_is(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "cache"
    if kind == "file":
        folder.write_text("someone else's")
    elif kind == "dangling":
        folder.symlink_to(tmp_path / "nowhere")
    else:
        folder.mkdir()
        (folder / ("CACHEDIR.TAG" if kind == "tag folder" else "theirs")).mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert not claim_folder(folder, COMMENT)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), "permission denied: check the rights"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "raise the limit with  ulimit -n"),
        (OSError(errno.EFBIG, "more than 10 bytes"), "more than 10 bytes"),
        (OSError(errno.ENOENT, os.strerror(errno.ENOENT)), "no such file or directory"),
        (gzip.BadGzipFile("Not a gzipped file"), "not a gzipped file"),
        (OSError(), "OSError"),
    ],
)
def test_a_reason_has_a_remedy_and_keeps_a_message_of_this_module(
    error: OSError, expected: str
) -> None:
    assert expected.lower() in reason(error).lower()


def test_no_message_is_made_of_the_systems_words_alone() -> None:
    """`files.reason` knows the remedies; only files that build an `OSError` may use strerror."""
    source = Path(resift.__file__).parent
    uses = [
        file.relative_to(source).as_posix()
        for file in sorted(source.rglob("*.py"))
        if ".strerror" in file.read_text(encoding="utf-8").replace("os.strerror", "")
    ]
    assert uses == [
        "files.py", "index/storage/errors.py", "index/storage/local.py",
        "rerank/tuning.py",
    ]  # fmt: skip
