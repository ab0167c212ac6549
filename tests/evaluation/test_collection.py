"""BEIR folders are read plain or gzipped, and an invalid line is named."""

import gzip
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.small_collection import DOCUMENTS, QUERIES, json_lines, make_collection
from resift.errors import DatasetError
from resift.evaluation.collection import Collection, load_task, open_collection
from resift.evaluation.trec import JUDGMENTS_FILE, read_all_qrels, read_qrels
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


def test_queries_and_documents_are_those_of_the_files(folder: Path) -> None:
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
    documents = open_collection(folder).documents({"d1", "d2", "d3"})
    assert [documents[name].title for name in ("d1", "d2", "d3")] == ["", "", "T"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="absent: no such folder"):
        open_collection(tmp_path / "absent")


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_missing_file_is_named_before_anything_is_read(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DatasetError, match=name):
        open_collection(folder)


BAD_LINES = (
    b"not json", b'{"_id": "d9"}', b'{"text": "a"}', b'{"_id": "d9", "text": 5}', b"[1]", b"7",
    b'{"_id": null, "text": "a"}', b'{"_id": true, "text": "a"}', b'{"_id": 1.5, "text": "a"}',
    b'{"_id": " ", "text": "a"}', b"[" * 100_000, b'{"_id": "d9", "text": "\xff"}', b"a\0b",
    b'{"_id": "d9", "text": ["a"]}', b'{"_id": "d1", "text": "another text of d1"}',
)  # fmt: skip


@pytest.mark.parametrize("line", BAD_LINES)
def test_an_invalid_line_is_skipped_and_named(folder: Path, line: bytes) -> None:
    file = folder / "corpus.jsonl"
    good = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([*good[:2], line, *good[2:]]))
    documents = open_collection(folder).read_documents(None)
    assert documents.by_id == {name: Document(name, text) for name, text in DOCUMENTS.items()}
    assert (
        len(documents.notes) == 1
        and "\n" not in documents.notes[0]
        and len(documents.notes[0]) < 400
    )
    assert (
        "1 of 5 documents of" in documents.notes[0]
        and "the first is line 3: " in documents.notes[0]
    )


def test_a_corpus_with_mostly_invalid_lines_is_refused(folder: Path) -> None:
    file = folder / "corpus.jsonl"
    file.write_bytes(b"\n".join([b"a", *file.read_bytes().splitlines(), *BAD_LINES]))
    _refused(folder, "corpus.jsonl:1: ", "_id and text", "16 of 20 lines cannot be read")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ('{"_id": 7, "text": "a"}', Document("7", "a")),
        ('{"id": "x", "text": "a"}', Document("x", "a")),
        ('{"_id": "x", "text": null, "title": null}', Document("x", "")),
        ('{"_id": "x", "text": NaN, "title": NaN}', Document("x", "")),
        ('{"_id": "x", "text": "a", "title": 1984}', Document("x", "a", "1984")),
        ('{"_id": "x", "text": "a", "title": ["b"]}', Document("x", "a", "")),
        ('{"_id": "a b\u00a0c", "text": "a"}', Document("a b\u00a0c", "a")),
    ],
)
def test_usual_variants_of_rows_are_read(folder: Path, row: str, expected: Document) -> None:
    (folder / "corpus.jsonl").write_text(f"{row}\n{row}\n# a comment\n")
    documents = open_collection(folder).read_documents(None)
    assert documents.by_id == {expected.id: expected} and documents.notes == ()


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "crlf": lambda text: text.replace("\n", "\r\n").encode(),
    "old mac": lambda text: text.replace("\n", "\r").encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16-be": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "packed under a plain name": lambda text: gzip.compress(text.encode()),
    "no last end": lambda text: text.rstrip("\n").encode(),
}


@pytest.mark.parametrize("how", ENCODINGS)
def test_files_in_any_encoding_are_read_alike(folder: Path, how: str) -> None:
    _judge(folder, _lines("{query}\t{doc}\t{grade}"))
    collection = open_collection(folder)
    before = (*_everything(collection), collection.qrels())
    for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"):
        text = (folder / name).read_text()
        (folder / name).write_bytes(ENCODINGS[how](text))
    assert (*_everything(collection), collection.qrels()) == before


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('{"_id": "q1", "text": "a"}\n{"_id": "q1", "text": "b"}', ":2: query q1 occurs above"),
        ('{"_id": "q1", "text": 5}', ":1: expected a JSON object with _id and text"),
        ('[{"_id": "q1", "text": "a"}]', ":1: expected a JSON object with _id and text"),
    ],
)
def test_invalid_queries_are_named(folder: Path, rows: str, message: str) -> None:
    (folder / "queries.jsonl").write_text(rows)
    with pytest.raises(DatasetError) as caught:
        open_collection(folder).queries()
    assert f"queries.jsonl{message}" in str(caught.value)


def test_queries_have_whole_numbers_as_ids_and_may_have_no_text(folder: Path) -> None:
    (folder / "queries.jsonl").write_text('{"_id": 7, "text": null}\n{"_id": "8", "text": "a"}')
    assert open_collection(folder).queries() == {"7": "", "8": "a"}


def test_a_packed_file_that_is_damaged_is_refused(folder: Path) -> None:
    whole = gzip.compress((folder / "corpus.jsonl").read_bytes())
    (folder / "corpus.jsonl").unlink()
    spoilt = whole[:12] + bytes(byte ^ 0xFF for byte in whole[12:40]) + whole[40:]
    for data in (whole[: len(whole) // 2], spoilt, b"not packed"):
        (folder / "corpus.jsonl.gz").write_bytes(data)
        _refused(folder, "corpus.jsonl.gz:")


QRELS = {"q1": {"d2": 1, "d1": 0}, "q2": {"d4": 2, "d3": -1}}
PLACES = ("qrels.tsv", "qrels/test.tsv")


def _judge(folder: Path, text: str | bytes, name: str = "qrels.tsv") -> Path:
    """Write judgments as file `name` in a collection."""
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder / name


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


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize(
    "layout",
    ["{query}\t{doc}\t{grade}", "{query} {doc} {grade}", "{query}\t0\t{doc}\t{grade}",
     "{query} Q0 {doc} {grade}", "{query}  0   {doc} {grade}\r", "{query},{doc},{grade}",
     "{query} \t 0 \t{doc}\t {grade}.0 ", "{query}\t{doc}\t{grade}e0",
     "{query}, 0, {doc}, {grade}"],
)  # fmt: skip
@pytest.mark.parametrize(
    "heading",
    ["", "query-id\tcorpus-id\tscore\n", "query doc grade\n", "# made by hand\n", "qid,doc,rel\n"],
)
def test_judgments_are_read_from_both_files_and_layouts(
    folder: Path, name: str, layout: str, heading: str
) -> None:
    _judge(folder, heading + _lines(layout), name)
    assert open_collection(folder).qrels() == QRELS


def test_the_file_in_the_folder_comes_before_the_one_below_it(folder: Path) -> None:
    _judge(folder, "q1\td1\t1\n", "qrels/test.tsv")
    _judge(folder, "q2\td2\t1\n", "qrels.tsv")
    assert open_collection(folder).qrels() == {"q2": {"d2": 1}}


def test_ids_with_spaces_are_kept_between_tabs(folder: Path) -> None:
    _judge(folder, "a query\ta document\t1\n")
    assert open_collection(folder).qrels() == {"a query": {"a document": 1}}


def test_blank_lines_and_empty_files_have_no_judgments(folder: Path) -> None:
    _judge(folder, "\nq1\td2\t1\n\n \nq2\td4\t1\n\n")
    assert open_collection(folder).qrels() == {"q1": {"d2": 1}, "q2": {"d4": 1}}
    _judge(folder, "query-id\tcorpus-id\tscore\n")
    assert open_collection(folder).qrels() == {}


@pytest.mark.parametrize(
    "line",
    ["q1\td1", "q1 d1", "q1", "q1\td1\thigh", "q1\td1\t1.5.0", "q1\t0\td1\t1\tmore", "q1 0 d1 --1",
     "q1\td1\t", "q1\td1\tnan", "q1\td1\tinf", "q1\td1\t1e999", "q1\td1\t99999999", "q1\t\t1",
     "q1 a document 1", "q1," + "d" * 200_000 + ",1,1,1",
     "q1\td1\t1,0", "query\tdoc\tgrade", "q1\td1\t1_0"],
)  # fmt: skip
@pytest.mark.parametrize("name", PLACES)
def test_a_judgment_that_is_wrong_is_named_by_its_line(folder: Path, name: str, line: str) -> None:
    file = _judge(folder, f"query-id\tcorpus-id\tscore\nq1\td2\t1\n{line}\nq2\td4\t1\n", name)
    with pytest.raises(DatasetError) as caught:
        open_collection(folder).qrels()
    assert f"{file}:3: expected query, document and grade" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"q1\td1\t1\nq1\t\xff\t1\n", "q1\td1\t1\nq1\td2\t²\n".encode()])
def test_judgments_that_are_no_text_or_no_number_are_refused(folder: Path, text: bytes) -> None:
    file = _judge(folder, text)
    with pytest.raises(DatasetError, match=file.name):
        open_collection(folder).qrels()


def test_a_first_line_that_is_neither_judgment_nor_heading_is_refused(folder: Path) -> None:
    file = _judge(folder, "q1\td1\thigh\nq1\td2\t1\n")
    with pytest.raises(DatasetError, match=f"{file.name}:1: expected query, document and grade"):
        open_collection(folder).qrels()


def test_ids_keep_no_break_spaces_and_may_begin_like_a_comment(folder: Path) -> None:
    _judge(folder, "#1 d\u00a0x 1\n# q1 d1 1\n#q1 is not judged yet\n")
    assert open_collection(folder).qrels() == {"#1": {"d\u00a0x": 1}}


def test_judgments_by_hand_are_read_beside_published_ones(folder: Path) -> None:
    _judge(folder, "q1\td1\t0\n")
    _judge(folder, "query-id\tcorpus-id\tscore\tresift\nq1\td1\t2\nq2\td4\t1\n", JUDGMENTS_FILE)
    assert open_collection(folder).qrels() == {"q1": {"d1": 0}, "q2": {"d4": 1}}
    (folder / "qrels.tsv").unlink()
    assert open_collection(folder).qrels() == {"q1": {"d1": 2}, "q2": {"d4": 1}}


def test_judgments_that_are_not_a_file_are_reported(folder: Path) -> None:
    (folder / "qrels.tsv").mkdir()
    with pytest.raises(DatasetError, match=r"qrels\.tsv: is a folder"):
        open_collection(folder).qrels()
    (folder / "qrels.tsv").rmdir()
    (folder / "qrels.tsv").symlink_to("qrels.tsv")
    with pytest.raises(DatasetError, match=r"qrels\.tsv: cannot be read"):
        read_all_qrels(folder)


def test_a_folder_and_a_pipe_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is a folder, expected a file"):
        read_qrels(tmp_path)
    with pytest.raises(DatasetError, match="not a valid file name"):
        read_qrels(tmp_path / "a\0b")
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("q1 d1 1\n",))
    writer.start()
    assert read_qrels(tmp_path / "pipe") == {"q1": {"d1": 1}}
    writer.join()


def test_missing_judgments_are_an_error_that_names_both_files(folder: Path) -> None:
    collection = open_collection(folder)
    with pytest.raises(
        DatasetError, match=r"no judgments; expected qrels\.tsv or qrels/test\.tsv"
    ) as caught:
        collection.qrels()
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def _write_qrels(folder: Path, text: str, name: str = "qrels.tsv") -> Path:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def test_judged_queries_are_taken(folder: Path) -> None:
    _write_qrels(folder, "q1\td2\t1\n")
    task = load_task(folder, None, 1, None)
    assert (list(task.queries), task.qrels) == (["q1"], {"q1": {"d2": 1}})
    assert task.notes == ()


def test_judgments_of_unknown_queries_are_named_and_left_out(folder: Path) -> None:
    _write_qrels(folder, "q1\td2\t1\nq8\td2\t1\nq9\td2\t1\n")
    task = load_task(folder, None, 1, None)
    assert list(task.queries) == ["q1"]
    assert task.notes[0].startswith(
        "2 of 3 judged queries are not among the queries, the first is q8"
    )


def test_judgments_of_nothing_but_unknown_queries_are_refused(folder: Path) -> None:
    _write_qrels(folder, "q8\td2\t1\n")
    with pytest.raises(DatasetError, match=r"none of its 1 queries is in .*, the first is q8"):
        load_task(folder, None, 1, None)


@pytest.mark.parametrize("text", [None, "query-id\tcorpus-id\tscore\n"])
def test_without_judgments_all_queries_are_taken_with_a_note(
    folder: Path, text: str | None
) -> None:
    if text:
        _write_qrels(folder, text)
    task = load_task(folder, None, 1, None)
    assert (list(task.queries), task.qrels) == (["q1", "q2"], {})
    assert "no judgments" in task.notes[0] and "resift judge" in task.notes[0]


def test_queries_without_a_relevant_document_are_noted(folder: Path) -> None:
    _write_qrels(folder, "q1\td2\t0\nq2\td4\t1\n")
    assert "1 of 2 queries have no document of grade 1" in load_task(folder, None, 1, None).notes[0]
    assert "2 of 2 queries have no document of grade 2" in load_task(folder, None, 2, None).notes[0]


def test_judgments_can_be_in_another_file(folder: Path) -> None:
    file = _write_qrels(folder, "q2\td4\t1\n", "qrels/dev.tsv")
    assert list(load_task(folder, file, 1, None).queries) == ["q2"]
    beside = load_task(_write_qrels(folder, "a question\n", "queries.txt"), None, 1, None)
    assert list(beside.queries.values()) == ["a question"]


def test_a_sample_of_queries_is_spread_evenly(tmp_path: Path) -> None:
    file = tmp_path / "queries.txt"
    file.write_text("".join(f"question {number}\n" for number in range(10)))
    chosen = load_task(file, None, 1, 3).queries.values()
    assert list(chosen) == ["question 0", "question 3", "question 6"]
    assert len(load_task(file, None, 1, 99).queries) == 10


def test_a_query_without_text_is_left_out_and_named(folder: Path) -> None:
    _write_qrels(folder, "q1\td2\t1\nq0\td2\t1\n")
    with (folder / "queries.jsonl").open("a") as lines:
        lines.write('{"_id": "q0", "text": null}\n')
    task = load_task(folder, None, 1, None)
    assert list(task.queries) == ["q1"]
    assert task.notes[0] == "1 queries have no text, the first is q0: left out"
