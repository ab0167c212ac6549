"""BEIR folders are read plain or packed, and a line that is wrong is named."""

import gzip
from pathlib import Path

import pytest

from evaluation.made import DOCUMENTS, QUERIES, json_lines, make_collection
from resift.errors import DatasetError
from resift.evaluation.collection import Collection, open_collection
from resift.types import Document


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_collection(tmp_path / "made")


def _refused(folder: Path, *messages: str) -> None:
    collection = open_collection(folder)
    with pytest.raises(DatasetError) as caught:
        collection.documents({"d1"})
    assert "\n" not in str(caught.value)
    for message in messages:
        assert message in str(caught.value)


def _everything(collection: Collection) -> tuple[dict[str, str], dict[str, Document]]:
    return collection.queries(), collection.documents(DOCUMENTS.keys())


def test_queries_and_documents_are_what_the_files_say(folder: Path) -> None:
    queries, documents = _everything(open_collection(folder))
    assert queries == QUERIES and list(queries) == list(QUERIES)
    assert documents == {name: Document(name, text) for name, text in DOCUMENTS.items()}


def test_only_the_named_documents_are_kept(folder: Path) -> None:
    assert set(open_collection(folder).documents({"d3", "other"})) == {"d3"}


def test_packed_files_are_read_the_same(folder: Path) -> None:
    plain = _everything(open_collection(folder))
    for name in ("corpus.jsonl", "queries.jsonl"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    assert _everything(open_collection(folder)) == plain


def test_titles_may_be_missing_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    folder = make_collection(tmp_path)
    rows: list[dict[str, object]] = [
        {"_id": "d1", "text": "a"},
        {"_id": "d2", "title": None, "text": "b"},
    ]
    titled = {"_id": "d3", "title": "T", "text": ""}
    (folder / "corpus.jsonl").write_text("\n" + json_lines([*rows, titled]) + "\n \n")
    found = open_collection(folder).documents({"d1", "d2", "d3"})
    assert [found[name].title for name in ("d1", "d2", "d3")] == ["", "", "T"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="absent: no such folder"):
        open_collection(tmp_path / "absent")


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_missing_file_is_named_before_anything_is_read(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DatasetError, match=name):
        open_collection(folder)


@pytest.mark.parametrize(
    "line",
    ["not json", '{"_id": "d9"}', '{"text": "a"}', '{"_id": "d9", "text": 5}', "[1]", "7",
     '{"_id": 9, "text": "a"}', '{"_id": "d9", "text": null}'],
)  # fmt: skip
def test_a_line_that_is_wrong_is_named_by_its_number(folder: Path, line: str) -> None:
    good = (folder / "corpus.jsonl").read_text().splitlines()
    (folder / "corpus.jsonl").write_text("\n".join([*good[:2], line, *good[2:]]))
    _refused(folder, "corpus.jsonl:3: ", "_id, text")


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "corpus.jsonl").write_bytes(b"\xff\xfe\n")
    _refused(folder, "corpus.jsonl:")


def test_a_packed_file_that_is_damaged_is_refused(folder: Path) -> None:
    whole = gzip.compress((folder / "corpus.jsonl").read_bytes())
    (folder / "corpus.jsonl").unlink()
    spoilt = whole[:12] + bytes(byte ^ 0xFF for byte in whole[12:40]) + whole[40:]
    for data in (whole[: len(whole) // 2], spoilt, b"not packed"):
        (folder / "corpus.jsonl.gz").write_bytes(data)
        _refused(folder, "corpus.jsonl.gz:")
