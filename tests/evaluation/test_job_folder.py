"""The folder of a job's partial output: made at once, of one job, and of nobody else's files."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from resift.errors import OutputError
from resift.evaluation.job_folder import Identity, JobFolder

IDENTITY = {"program": "resift a-verb", "depth": 3, "weight": None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.parts"


def _folder(path: Path, identity: Identity = IDENTITY) -> JobFolder:
    return JobFolder(path, lambda: identity)


@pytest.fixture
def folder(path: Path) -> Iterator[JobFolder]:
    folder = _folder(path)
    yield folder
    folder.close()


def _write(folder: JobFolder, *lines: bytes) -> Path:
    with folder.new_file() as (file, stream):
        stream.writelines(lines)
    return file


def test_there_is_no_folder_before_the_first_file(folder: JobFolder, path: Path) -> None:
    assert folder.open() == [] and not path.exists()
    file = _write(folder, b"one\n", b"two\n")
    assert sorted(path.iterdir()) == sorted([file, path / "job.json"])
    assert list(folder.lines(file)) == [(0, b"one\n"), (4, b"two\n")]
    assert folder.line(file, 4) == b"two\n"
    assert list(path.parent.iterdir()) == [path]


def test_the_same_job_reads_its_files_again(folder: JobFolder, path: Path) -> None:
    files = [_write(folder, b"one\n"), _write(folder, b"two\n")]
    folder.close()
    again = _folder(path, dict(reversed(IDENTITY.items())))
    assert again.open() == sorted(files)
    again.close()


def test_an_unfinished_file_has_no_name_of_a_file(folder: JobFolder, path: Path) -> None:
    _write(folder, b"one\n")
    with pytest.raises(KeyboardInterrupt), folder.new_file() as (file, stream):
        stream.write(b"two")
        raise KeyboardInterrupt
    assert not file.exists()
    folder.close()
    (path / f".resift-{'0' * 16}.part").write_text("of a killed process")
    again = _folder(path)
    assert len(again.open()) == 1
    again.remove()
    assert not path.exists()


def test_the_folder_of_another_job_is_refused_by_what_differs(
    folder: JobFolder, path: Path
) -> None:
    file = _write(folder, b"one\n")
    folder.close()
    other = _folder(path, IDENTITY | {"depth": 4, "weight": 1.0})
    with pytest.raises(OutputError, match=r"another job .*another depth, weight\).*delete"):
        other.open()
    other.remove()
    assert file.read_bytes() == b"one\n"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"program": "make"}', "\x00"])
def test_a_folder_of_another_program_is_refused_and_stays(path: Path, content: str) -> None:
    path.mkdir()
    (path / "job.json").write_text(content)
    folder = _folder(path)
    with pytest.raises(OutputError, match="exists and is not of resift a-verb"):
        folder.open()
    folder.remove()
    assert (path / "job.json").read_text() == content


def test_a_folder_with_other_files_is_refused(path: Path) -> None:
    path.mkdir()
    (path / "thesis").write_text("a thesis")
    with pytest.raises(OutputError, match="is not of resift"):
        _folder(path).open()
    assert [file.name for file in path.iterdir()] == ["thesis"]


def test_a_file_and_a_link_in_its_stead_are_refused(path: Path) -> None:
    path.symlink_to(path.parent)
    with pytest.raises(OutputError, match="is not a folder"):
        _folder(path).open()
    path.unlink()
    path.write_text("a thesis")
    with pytest.raises(OutputError, match="is not a folder"):
        _folder(path).open()
    assert path.read_text() == "a thesis"


def test_an_empty_folder_is_used(folder: JobFolder, path: Path) -> None:
    path.mkdir()
    assert folder.open() == []
    _write(folder, b"one\n")
    assert json.loads((path / "job.json").read_text()) == IDENTITY


def test_files_that_somebody_adds_stay(folder: JobFolder, path: Path) -> None:
    _write(folder, b"one\n")
    (path / "thesis").write_text("a thesis")
    folder.remove()
    assert [file.name for file in path.iterdir()] == ["thesis"]


def test_two_processes_do_not_work_on_one_job(folder: JobFolder, path: Path) -> None:
    pytest.importorskip("fcntl")
    _write(folder, b"one\n")
    with pytest.raises(OutputError, match="another process is working on this job"):
        _folder(path).open()


def test_a_folder_that_another_process_makes_first_is_not_replaced(
    folder: JobFolder, path: Path
) -> None:
    late = _folder(path)
    assert late.open() == []
    file = _write(folder, b"one\n")
    with pytest.raises(OutputError, match="another process has just made it"):
        _write(late, b"two\n")
    assert sorted(path.iterdir()) == sorted([file, path / "job.json"])
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_an_error_in_a_line(path: Path) -> None:
    path.parent.rmdir()
    with pytest.raises(OutputError, match="no such file"):
        _write(_folder(path), b"one\n")


def test_a_file_that_is_gone_is_an_error_in_a_line(folder: JobFolder) -> None:
    file = _write(folder, b"one\n")
    file.unlink()
    with pytest.raises(OutputError, match="no such file"):
        folder.line(file, 0)
    with pytest.raises(OutputError, match="no such file"):
        list(folder.lines(file))
