"""Queries come from a folder, from JSON Lines or from plain lines, and bad ones are named."""

import gzip
from pathlib import Path

import pytest

from evaluation.made import QUERIES, json_lines, make_collection
from resift.errors import DatasetError
from resift.evaluation.queries import is_storable, line_id, read_queries


def refused(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        read_queries(path)
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    return message


def test_a_folder_and_its_file_say_the_same(tmp_path: Path) -> None:
    folder = make_collection(tmp_path / "made")
    assert read_queries(folder) == read_queries(folder / "queries.jsonl") == QUERIES


@pytest.mark.parametrize("name", ["asked.jsonl", "asked.jsonl.gz"])
def test_json_lines_may_have_any_name(tmp_path: Path, name: str) -> None:
    data = json_lines([{"_id": "a", "text": "what is it"}]).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert read_queries(tmp_path / name) == {"a": "what is it"}


def test_plain_lines_have_ids_that_stay_when_lines_come_and_go(tmp_path: Path) -> None:
    file = tmp_path / "asked.txt"
    file.write_bytes(b"\xef\xbb\xbfwhat is a cat\n\n  where \t is it \r\nwhat is a cat\n")
    before = read_queries(file)
    assert list(before.values()) == ["what is a cat", "where is it"]
    file.write_text("something else\nwhere is it\n")
    after = read_queries(file)
    kept = line_id("where is it")
    assert list(after) == [line_id("something else"), kept] and kept in before


@pytest.mark.parametrize("text", ["", "\n  \n"])
@pytest.mark.parametrize("name", ["asked.txt", "asked.jsonl"])
def test_a_file_without_queries_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert "no queries in it" in refused(tmp_path / name)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"_id": "a", "text": "\ud800"}, "'a' has half a character"),
        ({"_id": "a\tb", "text": "what"}, "no tabs and line ends"),
        ({"_id": "a\nb", "text": "what"}, "no tabs and line ends"),
        ({"_id": "a"}, ":1: expected a JSON object"),
    ],
)
def test_a_query_that_cannot_be_judged_is_named(
    tmp_path: Path, row: dict[str, object], message: str
) -> None:
    (tmp_path / "asked.jsonl").write_text(json_lines([row]))
    assert message in refused(tmp_path / "asked.jsonl")


def test_what_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "asked.txt").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as text" in refused(tmp_path / "asked.txt")
    assert "no such file" in refused(tmp_path / "absent.txt")


def test_ids_with_spaces_can_be_stored_and_those_that_end_a_field_cannot() -> None:
    assert all(is_storable(name) for name in ("a", "a b", "ä/文.md", "a\u00a0"))
    assert not any(is_storable(name) for name in ("a\tb", "a\n", "\r", "\ud800", "", " a", "a "))


@pytest.mark.parametrize("heading", ["", "qid\tquery\n", "# made by hand\n", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_topics_are_an_id_a_tab_and_a_query(tmp_path: Path, heading: str, end: str) -> None:
    file = tmp_path / "topics.tsv"
    text = f"{heading}301\twhat is  a cat \nq\u00a02 \t where is it\n\n#3\ta hash\n"
    file.write_bytes(text.replace("\n", end).encode())
    assert read_queries(file) == {
        "301": "what is a cat", "q\u00a02": "where is it", "#3": "a hash"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\ta\n2\tb\n3 c\n", ":3: expected  id<TAB>query"),
        ("1\ta\n1\tb\n", ":2: query 1 is there already, with another text"),
        ("1\ta\n2\t\n3\tc\n", ":2: expected  id<TAB>query"),
        ("<top>\n<num> 301\n<title> cats\n", ":1: this topic does not end"),
        ('{"_id": "1", "text": "a"}\n', ":1: neither topics nor plain queries"),
    ],
)
def test_topics_that_cannot_be_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "topics.txt").write_text(text)
    assert message in refused(tmp_path / "topics.txt")
