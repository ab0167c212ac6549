"""A model's folder is new or empty, whole or not there, and never over what somebody keeps."""

import os
import shutil
from pathlib import Path

import pytest

from resift.convert.output import check_new_folder, put_folder
from resift.errors import OutputError


@pytest.fixture
def made(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir(mode=0o700)
    (folder / "manifest.json").write_text("{}")
    return folder


def _refused(made: Path, out: Path, message: str) -> None:
    for act in (check_new_folder, lambda path: put_folder(made, path)):
        with pytest.raises(OutputError, match=message) as caught:
            act(out)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["new", "a/b/new", "empty", "link"])
def test_a_new_or_empty_folder_is_filled(tmp_path: Path, made: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("later")
    put_folder(made, tmp_path / name)
    assert (tmp_path / name / "manifest.json").read_text() == "{}"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / name).stat().st_mode & 0o700 == 0o700
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_that_is_not_empty_is_refused_and_unchanged(tmp_path: Path, made: Path) -> None:
    folder, file = tmp_path / "thesis", tmp_path / "file"
    folder.mkdir()
    (folder / ".hidden").write_text("mine")
    file.write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    _refused(made, folder, "exists already; name a new folder")
    _refused(made, file, "exists already")
    _refused(made, file / "below", "is not a folder|cannot be written")
    _refused(made, tmp_path / "loop", "a link to itself|cannot be written")
    _refused(made, tmp_path / "a\0b", "not a valid folder name")
    _refused(made, Path(os.devnull), "exists already")
    assert (folder / ".hidden").read_text() == file.read_text() == "mine"


def test_a_failure_leaves_no_folder(
    tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "half").touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(OutputError, match=r"cannot be written .no space left on the disk"):
        put_folder(made, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
