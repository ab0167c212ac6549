"""The file of judgments: existing lines stay, new ones are on disk at once."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from resift.errors import DatasetError, OutputError, ResiftError
from resift.evaluation.judgments import HEADING, Judgments
from resift.evaluation.trec import read_qrels

MARK = HEADING.encode()


def test_a_new_file_has_a_heading_and_each_judgment_as_soon_as_it_is_made(tmp_path: Path) -> None:
    file = tmp_path / "judgments.tsv"
    judgments = Judgments(file)
    assert not file.exists()
    judgments.add("q1", "d 1", 2)
    assert file.read_text() == f"{HEADING}q1\td 1\t2\n"
    judgments.add("q1", "d2", 0)
    assert read_qrels(file) == {"q1": {"d 1": 2, "d2": 0}}
    assert (judgments.added, judgments.earlier) == (2, {})
    assert [path.name for path in tmp_path.iterdir()] == ["judgments.tsv"]


@pytest.mark.parametrize(
    "before", [b"q1\td1\t1\nq9\td9\t7\n", b"# a note\nq1 d1 1\r\n\r\nq9 d9 7\r\n"]
)
def test_existing_judgments_stay_byte_for_byte(tmp_path: Path, before: bytes) -> None:
    file, before = tmp_path / "judgments.tsv", MARK + before
    file.write_bytes(before)
    judgments = Judgments(file)
    assert judgments.earlier == {"q1": {"d1": 1}, "q9": {"d9": 7}}
    assert judgments.has("q1", "d1") and not judgments.has("q1", "d2")
    judgments.add("q1", "d2", 1)
    judgments.add("q2", "d2", 0)
    assert judgments.remove("q2", "d2") == 0
    assert judgments.has("q1", "d2") and not judgments.has("q2", "d2")
    assert file.read_bytes() == before + b"q1\td2\t1\n"
    assert judgments.remove("q1", "d2") == 1
    assert file.read_bytes() == before and not judgments.has("q1", "d2")


@pytest.mark.parametrize(
    "data",
    [
        b"query-id\tcorpus-id\tscore\nq1\td1\t1\n",  # published, or of an older resift
        b"q1 0 d1 1\n",
        b"My thesis\n",
        b"\xff\xfe\n",
        b"\x00",
        gzip.compress(b"q1\td1\t1\n", mtime=0),
    ],
)
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "qrels.tsv"
    file.write_bytes(data)
    with pytest.raises(OutputError, match=r"exists and is not a file that resift judge wrote"):
        Judgments(file)
    assert file.read_bytes() == data and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("more", [b"q1\td1\n" * 2, b"q1\td1\tgood\n", b"q1\t\xff\t1\n"])
def test_a_file_that_cannot_be_read_is_refused_and_left_alone(tmp_path: Path, more: bytes) -> None:
    file = tmp_path / "judgments.tsv"
    file.write_bytes(MARK + more)
    for _ in range(2):  # and the lock is released
        with pytest.raises(DatasetError, match=r"judgments\.tsv:2: "):
            Judgments(file)
    assert file.read_bytes() == MARK + more


def test_published_judgments_are_known_and_not_written(tmp_path: Path) -> None:
    file = tmp_path / "judgments.tsv"
    file.write_bytes(MARK + b"q2\td1\t1\nq1\td1\t2\n")
    judgments = Judgments(file, {"q1": {"d1": 0, "d2": 1}, "q3": {"d3": 1}})
    assert judgments.earlier == {"q1": {"d1": 0, "d2": 1}, "q2": {"d1": 1}, "q3": {"d3": 1}}
    assert judgments.started == ("q2", "q1")
    judgments.add("q3", "d4", 1)
    assert read_qrels(file) == {"q2": {"d1": 1}, "q1": {"d1": 2}, "q3": {"d4": 1}}


@pytest.mark.parametrize(
    ("last", "repaired"),
    [(b"q1\td1\t1", b"q1\td1\t1\n"), (b"# a note", b"# a note\n"), (b"q1\td", b""),
     (b"q1\td1\t", b"")],
)  # fmt: skip
def test_a_last_line_without_an_end_is_completed_or_removed(
    tmp_path: Path, last: bytes, repaired: bytes
) -> None:
    file = tmp_path / "judgments.tsv"
    file.write_bytes(MARK + b"q0\td0\t0\n" + last)
    Judgments(file).add("q1", "d2", 0)
    assert file.read_bytes() == MARK + b"q0\td0\t0\n" + repaired + b"q1\td2\t0\n"


def test_a_gzipped_file_stays_gzipped(tmp_path: Path) -> None:
    file = tmp_path / "judgments.tsv.gz"
    file.write_bytes(gzip.compress(MARK + b"q1\td1\t1\n"))
    judgments = Judgments(file)
    judgments.add("q1", "d2", 2)
    judgments.add("q1", "d3", 2)
    judgments.remove("q1", "d3")
    assert gzip.decompress(file.read_bytes()) == MARK + b"q1\td1\t1\nq1\td2\t2\n"


def test_an_empty_file_is_treated_as_missing(tmp_path: Path) -> None:
    file = tmp_path / "judgments.tsv"
    file.touch()
    Judgments(file).add("q1", "d1", 1)
    assert file.read_text() == f"{HEADING}q1\td1\t1\n"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_second_session_is_refused_and_nothing_is_lost(tmp_path: Path, is_there: bool) -> None:
    file = tmp_path / "judgments.tsv"
    if is_there:
        file.write_bytes(MARK + b"q1\td1\t1\n")
    first = Judgments(file)
    if is_there:
        with pytest.raises(DatasetError, match="another session is judging into it"):
            Judgments(file)
        first.add("q1", "d2", 1)
    else:
        second = Judgments(file)
        first.add("q1", "d2", 1)
        for _ in range(2):
            with pytest.raises(DatasetError, match="another program has changed it"):
                second.add("q1", "d3", 1)
        assert not second.has("q1", "d3")
    first.add("q1", "d4", 1)
    first.close()
    assert set(read_qrels(file)["q1"]) >= {"d2", "d4"}
    Judgments(file).add("q1", "d5", 1)
    assert set(read_qrels(file)["q1"]) >= {"d2", "d4", "d5"}


def test_the_lock_holds_between_processes(tmp_path: Path) -> None:
    file = tmp_path / "judgments.tsv"
    judgments = Judgments(file)
    judgments.add("q1", "d1", 1)
    code = (
        "import sys; from pathlib import Path; from resift.evaluation.judgments import Judgments;"
        "Judgments(Path(sys.argv[1])).add('q1', 'd2', 1)"
    )
    command = [sys.executable, "-c", code, str(file)]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert "another session is judging into it" in refused.stderr
    judgments.close()
    subprocess.run(command, check=True)
    assert read_qrels(file) == {"q1": {"d1": 1, "d2": 1}}


@pytest.mark.parametrize("how", ["written", "replaced", "deleted"])
def test_changes_by_another_program_are_kept(tmp_path: Path, how: str) -> None:
    file = tmp_path / "judgments.tsv"
    judgments = Judgments(file)
    judgments.add("q1", "d1", 1)
    if how == "written":
        file.write_text(file.read_text() + "q1\td2\t1\n")
    else:
        file.unlink()
    if how == "replaced":
        file.write_text("a note")
    after = file.read_bytes() if file.exists() else None
    for change in (lambda: judgments.add("q1", "d3", 1), lambda: judgments.remove("q1", "d1")):
        with pytest.raises(DatasetError, match="another program has changed it") as caught:
            change()
        assert "\n" not in str(caught.value)
    assert (file.read_bytes() if file.exists() else None) == after


def test_a_link_and_the_rights_stay(tmp_path: Path) -> None:
    file, link = tmp_path / "real.tsv", tmp_path / "link.tsv"
    file.write_bytes(MARK + b"q1\td1\t1\n")
    file.chmod(0o640)
    link.symlink_to(file)
    Judgments(link).add("q1", "d2", 1)
    assert link.is_symlink() and file.stat().st_mode & 0o777 == 0o640
    assert read_qrels(file) == {"q1": {"d1": 1, "d2": 1}}


@pytest.mark.parametrize("name", ["absent/judgments.tsv", "folder", os.devnull, "a\0b", "-"])
def test_a_name_that_cannot_hold_judgments_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(
        ResiftError, match=r"no folder|is a folder|is not a file|not a valid file name"
    ) as caught:
        Judgments(Path(name) if name == "-" else tmp_path / name)
    assert "\n" not in str(caught.value)
    assert not Path("-").exists() and not Path(os.devnull).is_file()


def test_a_judgment_that_cannot_be_written_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "judgments.tsv"
    judgments = Judgments(file)
    judgments.add("q1", "d1", 1)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DatasetError, match="no space left on the disk"):
            judgments.add("q1", "d2", 1)
        with pytest.raises(DatasetError, match="no space left on the disk"):
            judgments.remove("q1", "d1")
    assert judgments.has("q1", "d1") and not judgments.has("q1", "d2")
    assert [path.name for path in tmp_path.iterdir()] == ["judgments.tsv"]
    judgments.add("q1", "d3", 0)
    assert read_qrels(file) == {"q1": {"d1": 1, "d3": 0}}
