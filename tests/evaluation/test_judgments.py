"""The file of judgments: what was there stays, what is added is there at once and whole."""

import gzip
import os
from pathlib import Path

import pytest

from resift.errors import DatasetError
from resift.evaluation.collection import read_qrels
from resift.evaluation.judgments import HEADING, Judgments


def test_a_new_file_has_a_heading_and_each_judgment_as_soon_as_it_is_made(tmp_path: Path) -> None:
    file = tmp_path / "qrels.tsv"
    judgments = Judgments(file)
    assert not file.exists()
    judgments.add("q1", "d 1", 2)
    assert file.read_text() == f"{HEADING}q1\td 1\t2\n"
    judgments.add("q1", "d2", 0)
    assert read_qrels(file) == {"q1": {"d 1": 2, "d2": 0}}
    assert (judgments.added, judgments.known) == (2, {})
    assert [other.name for other in tmp_path.iterdir()] == ["qrels.tsv"]


@pytest.mark.parametrize(
    "before",
    [
        b"query\tdoc\tgrade\nq1\td1\t1\nq9\td9\t7\n",
        b"q1 d1 1\r\n\r\nq9 d9 7\r\n",
        b"q1\td1\t1\nq9\td9\t7\nq1\td1\t1\n",
    ],
)
def test_what_was_there_stays_byte_for_byte(tmp_path: Path, before: bytes) -> None:
    file = tmp_path / "qrels.tsv"
    file.write_bytes(before)
    judgments = Judgments(file)
    assert judgments.known == {"q1": {"d1": 1}, "q9": {"d9": 7}}
    assert judgments.has("q1", "d1") and not judgments.has("q1", "d2")
    judgments.add("q1", "d2", 1)
    assert judgments.has("q1", "d2")
    assert file.read_bytes() == before + b"q1\td2\t1\n"
    assert judgments.remove("q1", "d2") == 1
    assert file.read_bytes() == before and not judgments.has("q1", "d2")


def test_a_last_line_without_an_end_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "qrels.tsv"
    file.write_bytes(b"q1\td1\t1")
    Judgments(file).add("q1", "d2", 0)
    assert file.read_bytes() == b"q1\td1\t1\nq1\td2\t0\n"


@pytest.mark.parametrize("before", [b"q1 0 d1 1\n", b"q1\t0\td1\t1\n\n"])
def test_a_file_of_four_columns_stays_one(tmp_path: Path, before: bytes) -> None:
    file = tmp_path / "qrels.tsv"
    file.write_bytes(before)
    Judgments(file).add("q1", "d2", 2)
    assert file.read_bytes() == before + b"q1\t0\td2\t2\n"


def test_a_packed_file_stays_packed(tmp_path: Path) -> None:
    file = tmp_path / "qrels.tsv.gz"
    file.write_bytes(gzip.compress(b"q1\td1\t1\n"))
    Judgments(file).add("q1", "d2", 2)
    assert gzip.decompress(file.read_bytes()) == b"q1\td1\t1\nq1\td2\t2\n"


def test_an_empty_file_is_like_none(tmp_path: Path) -> None:
    file = tmp_path / "qrels.tsv"
    file.touch()
    Judgments(file).add("q1", "d1", 1)
    assert file.read_text() == f"{HEADING}q1\td1\t1\n"


@pytest.mark.parametrize("is_there", [True, False])
def test_what_somebody_else_wrote_meanwhile_is_not_lost(tmp_path: Path, is_there: bool) -> None:
    file = tmp_path / "qrels.tsv"
    if is_there:
        file.write_text("q1\td1\t1\n")
    one, other = Judgments(file), Judgments(file)
    one.add("q1", "d2", 1)
    with pytest.raises(DatasetError, match="somebody else has changed it") as caught:
        other.add("q1", "d3", 1)
    assert "\n" not in str(caught.value)
    assert not other.has("q1", "d3") and "d2" in read_qrels(file)["q1"]
    one.add("q1", "d4", 1)
    assert set(read_qrels(file)["q1"]) >= {"d2", "d4"}


def test_a_link_and_the_rights_stay(tmp_path: Path) -> None:
    file, link = tmp_path / "real.tsv", tmp_path / "link.tsv"
    file.write_text("q1\td1\t1\n")
    file.chmod(0o640)
    link.symlink_to(file)
    Judgments(link).add("q1", "d2", 1)
    assert link.is_symlink() and file.stat().st_mode & 0o777 == 0o640
    assert read_qrels(file) == {"q1": {"d1": 1, "d2": 1}}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="absent does not exist"):
        Judgments(tmp_path / "absent" / "qrels.tsv")


@pytest.mark.parametrize("data", [b"q1\td1\n" * 2, b"\xff\xfe\n"])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "qrels.tsv"
    file.write_bytes(data)
    with pytest.raises(DatasetError, match=r"qrels\.tsv"):
        Judgments(file)
    assert file.read_bytes() == data


def test_what_cannot_be_written_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "qrels.tsv"
    judgments = Judgments(file)
    judgments.add("q1", "d1", 1)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DatasetError, match="cannot be written"):
            judgments.add("q1", "d2", 1)
        with pytest.raises(DatasetError, match="cannot be written"):
            judgments.remove("q1", "d1")
    assert judgments.has("q1", "d1") and not judgments.has("q1", "d2")
    assert [other.name for other in tmp_path.iterdir()] == ["qrels.tsv"]
    judgments.add("q1", "d3", 0)
    assert read_qrels(file) == {"q1": {"d1": 1, "d3": 0}}
