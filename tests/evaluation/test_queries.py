"""Queries come from a folder, from JSON Lines or from plain lines, and bad ones are named."""

import gzip
from pathlib import Path

import pytest

from evaluation.small_collection import QUERIES, json_lines, make_collection
from resift.errors import DatasetError
from resift.evaluation.queries import is_storable, line_id, read_queries


def refused(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        read_queries(path)
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    return message


def test_a_folder_is_read_like_its_file(tmp_path: Path) -> None:
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
    unchanged = line_id("where is it")
    assert list(after) == [line_id("something else"), unchanged] and unchanged in before


@pytest.mark.parametrize("text", ["", "\n  \n"])
@pytest.mark.parametrize("name", ["asked.txt", "asked.jsonl"])
def test_a_file_without_queries_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert "contains no queries" in refused(tmp_path / name)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"_id": "a", "text": "\ud800"}, "'a' has half a character"),
        ({"_id": "a\tb", "text": "what"}, "no tabs or line ends"),
        ({"_id": "a\nb", "text": "what"}, "no tabs or line ends"),
        ({"_id": "a"}, ":1: expected a JSON object"),
    ],
)
def test_a_query_that_cannot_be_judged_is_named(
    tmp_path: Path, row: dict[str, object], message: str
) -> None:
    (tmp_path / "asked.jsonl").write_text(json_lines([row]))
    assert message in refused(tmp_path / "asked.jsonl")


def test_a_file_that_is_not_text_or_missing_is_refused(tmp_path: Path) -> None:
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
        ("1\ta\n1\tb\n", ":2: query 1 occurs above with another text"),
        ("1\ta\n2\t\n3\tc\n", ":2: expected  id<TAB>query"),
        ("<top>\n<num> 301\n<title> cats\n", ":1: this topic has no end tag"),
        ('{"_id": "1", "text": "a"}\n', ":1: neither topics nor plain queries"),
    ],
)
def test_invalid_topics_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "topics.txt").write_text(text)
    assert message in refused(tmp_path / "topics.txt")


ADHOC = """<top>

<num> Number: 301
<title> International Organized
 Crime

<desc> Description:
Identify organizations that participate & profit.

<narr> Narrative:
A relevant document < must > say so.
</top>

<top>
<num> Number: 302
<dom> Domain: Medicine
<title> Topic: Poliomyelitis: a <i>new</i> one
<desc> Description: Is it under control?
</top>
"""
COVID = """<?xml version="1.0" encoding="UTF-8"?>
<!-- two of
fifty <topic> -->
<topics task="COVIDSearch2020 batch1">
  <topic number="1">
    <query>coronavirus origin</query>
    <question>what is the origin of COVID-19</question>
    <narrative>seeking range</narrative>
  </topic>
  <topic number='2'><query>R&amp;D &lt;5 years</query></topic>
</topics>
"""
FORMS = {
    "ad hoc": (ADHOC, {"301": "International Organized Crime", "302": "Poliomyelitis: a new one"}),
    "covid": (COVID, {"1": "coronavirus origin", "2": "R&D <5 years"}),
    "web": (
        '<webtrack2009>\n<topic number="wt09-1" type="faceted">\n<query> obama family tree </query>'
        '\n<description>Find.\n</description><subtopic number="1" type="nav">Home</subtopic>'
        "</topic>\n</webtrack2009>",
        {"wt09-1": "obama family tree"},
    ),
    "text alone": (
        '<topics>\n<topic number="7">\nA 45-year-old man.\nHe  coughs.\n</topic>\n</topics>',
        {"7": "A 45-year-old man. He coughs."},
    ),
    "with end tags": (
        "<top><num>Number: MB001 </num><query>BBC <b>staff</b> cuts</query>"
        "<querytime>Tue</querytime></top>",
        {"MB001": "BBC staff cuts"},
    ),
    "clef": (
        '<topics>\n<topic lang="en"><identifier>10.2452/401-AH</identifier>'
        "<title>Euro <![CDATA[<inflation> & more]]></title><description>Find.</description></topic>"
        "</topics>",
        {"10.2452/401-AH": "Euro <inflation> & more"},
    ),
    "old clef": (
        '<top lang="EN">\n<num> C041 </num>\n<EN-title> Pesticides </EN-title>\n'
        "<EN-desc> Find. </EN-desc>\n</top>",
        {"C041": "Pesticides"},
    ),
    "a description alone": (
        "<TOP>\n<NUM> Number: 201\n<DESC> Description:\nHow is it?\n</TOP>",
        {"201": "How is it?"},
    ),
    "an empty title": (
        "<top><num>1<title>\n<desc>Description: all of it</top>",
        {"1": "all of it"},
    ),
    "nothing to ask": ('<topics>\n<topic number="1"><title/></topic></topics>', {"1": ""}),
    "all on a line": (
        '<topics><topic number="1"><query lang="en">a</query><query lang="de">b</query></topic>'
        '<TOPIC NUMBER="2"><TITLE>c</TITLE></TOPIC></topics>',
        {"1": "a", "2": "c"},
    ),
    "with a namespace": (
        '<t:topics xmlns:t="x"><t:topic number="1"><t:query>a <http://b.c></t:query></t:topic>'
        "</t:topics>",
        {"1": "a <http://b.c>"},
    ),
    "precision medicine": (
        '<topics task="2017"><topic number="1"><disease>Liposarcoma</disease><gene>CDK4</gene>'
        "<other/></topic></topics>",
        {"1": "Liposarcoma CDK4"},
    ),
    "with comments": ("# mine\n<top>\n# two\n<num> 1\n<title> a\n</top>\n", {"1": "a"}),
    "one a line, with other ends": (
        "<top>\r<num>1\r<title>a b\r</top>\r<top>\r<num>2\r<title>c\r</top>\r",
        {"1": "a b", "2": "c"},
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_topics_are_read_as_tracks_write_them(tmp_path: Path, form: str, encoding: str) -> None:
    text, queries = FORMS[form]
    file = tmp_path / "topics.txt"
    file.write_text(text, encoding=encoding, newline="")
    assert read_queries(file) == queries
    assert list(read_queries(file)) == list(queries)


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        (
            "<top>\n<num> 1\n<title> a\n</top>\n<top>\n<num> 1\n<title> b\n</top>",
            5,
            "topic 1 occurs above",
        ),
        ("<top>\n<title> a\n</top>", 1, "has no id"),
        ("<top>\n<num> 1 <title> a\n</top>\n\n<top>\n<num> 2 <title> b", 5, "no end tag"),
        ("<top>\n<num> 1 <title> a\n<top>\n<num> 2 <title> b\n</top>", 1, "no end tag"),
        ('<topics>\n<topic number="1"/>\n<topic number="2">b</topic>\n</topics>', 2, "no end tag"),
        ('<?xml version="1.0"?>\n<queries><query id="1">a</query></queries>', 1, "no topics"),
        ("<queries>\n<query id='1'>a</query>\n</queries>", 1, "no topics"),
        ("<!-- a -->\n", 1, "no topics"),
        ("<html>", 1, "no topics"),
    ],
)
def test_a_broken_topic_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, expected: str
) -> None:
    file = tmp_path / "topics.xml"
    file.write_text(text)
    with pytest.raises(DatasetError) as caught:
        read_queries(file)
    message = str(caught.value)
    assert message.startswith(f"{file}:{line}: ") and expected in message and "\n" not in message


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    file = tmp_path / "topics.xml"
    file.write_text(
        '<?xml version="1.0"?>\n<!DOCTYPE x [<!ENTITY a SYSTEM "/etc/passwd">]>\n'
        '<topics><topic number="1"><query>who is &a; &amp; co</query></topic></topics>'
    )
    assert read_queries(file) == {"1": "who is &a; & co"}


@pytest.mark.parametrize("line", ["<div> in a page", "what does <top> mean", "a < b", "<3 of mine"])
def test_queries_with_a_tag_in_them_are_queries(tmp_path: Path, line: str) -> None:
    file = tmp_path / "queries.txt"
    file.write_text(f"{line}\nanother\n")
    assert list(read_queries(file).values()) == [line, "another"]
