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


QRELS = {"q1": {"d2": 1, "d1": 0}, "q2": {"d4": 2, "d3": -1}}
PLACES = ("qrels.tsv", "qrels/test.tsv")


def _judge(folder: Path, text: str | bytes, place: str = "qrels.tsv") -> Path:
    """Write judgments at `place` in a collection."""
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / place).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder / place


def _lines(layout: str) -> str:
    """`QRELS` with ids and grade filled into `layout`, a line each."""
    return "".join(
        layout.format(query=query_id, doc=doc_id, grade=grade) + "\n"
        for query_id, documents in QRELS.items()
        for doc_id, grade in documents.items()
    )


def test_all_documents_are_read_where_none_are_named(folder: Path) -> None:
    collection = open_collection(folder)
    assert collection.documents(None) == collection.documents(DOCUMENTS.keys())
    assert list(collection.documents(None)) == list(DOCUMENTS)
    assert collection.documents(set()) == {}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "layout",
    ["{query}\t{doc}\t{grade}", "{query} {doc} {grade}", "{query}\t0\t{doc}\t{grade}",
     "{query} Q0 {doc} {grade}", "{query}  0   {doc} {grade}\r"],
)  # fmt: skip
@pytest.mark.parametrize("heading", ["", "query-id\tcorpus-id\tscore\n", "query doc grade\n"])
def test_judgments_are_read_in_both_places_and_layouts(
    folder: Path, place: str, layout: str, heading: str
) -> None:
    _judge(folder, heading + _lines(layout), place)
    assert open_collection(folder).qrels() == QRELS


def test_the_folders_own_file_goes_before_the_one_below_it(folder: Path) -> None:
    _judge(folder, "q1\td1\t1\n", "qrels/test.tsv")
    _judge(folder, "q2\td2\t1\n", "qrels.tsv")
    assert open_collection(folder).qrels() == {"q2": {"d2": 1}}


def test_ids_with_spaces_are_kept_between_tabs(folder: Path) -> None:
    _judge(folder, "a query\ta document\t1\n")
    assert open_collection(folder).qrels() == {"a query": {"a document": 1}}


def test_blank_lines_and_a_file_without_any_judge_nothing(folder: Path) -> None:
    _judge(folder, "\nq1\td2\t1\n\n \nq2\td4\t1\n\n")
    assert open_collection(folder).qrels() == {"q1": {"d2": 1}, "q2": {"d4": 1}}
    _judge(folder, "query-id\tcorpus-id\tscore\n")
    assert open_collection(folder).qrels() == {}


@pytest.mark.parametrize(
    "line",
    ["q1\td1", "q1 d1", "q1", "q1\td1\thigh", "q1\td1\t1.5", "q1\t0\td1\t1\tmore", "q1 0 d1 --1",
     "q1\td1\t"],
)  # fmt: skip
@pytest.mark.parametrize("place", PLACES)
def test_a_judgment_that_is_wrong_is_named_by_its_line(folder: Path, place: str, line: str) -> None:
    file = _judge(folder, f"query-id\tcorpus-id\tscore\nq1\td2\t1\n{line}\nq2\td4\t1\n", place)
    with pytest.raises(DatasetError) as caught:
        open_collection(folder).qrels()
    assert f"{file}:3: expected query, document and grade" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"q1\td1\t1\nq1\t\xff\t1\n", "q1\td1\t1\nq1\td2\t²\n".encode()])
def test_judgments_that_are_no_text_or_no_number_are_refused(folder: Path, text: bytes) -> None:
    file = _judge(folder, text)
    with pytest.raises(DatasetError, match=file.name):
        open_collection(folder).qrels()


def test_judgments_that_are_missing_are_asked_for_in_both_places(folder: Path) -> None:
    collection = open_collection(folder)
    with pytest.raises(DatasetError, match=r"no qrels\.tsv or qrels/test\.tsv in it") as caught:
        collection.qrels()
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
