"""TREC's topics are read in SGML and in XML as its tracks write them, or refused by their line."""

from pathlib import Path

import pytest

from resift.errors import DatasetError
from resift.evaluation.queries import read_queries

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
        ("<top>\n<num> 1\n<title> a\n</top>\n<top>\n<num> 1\n<title> b\n</top>", 5, "topic 1 is"),
        ("<top>\n<title> a\n</top>", 1, "has no id"),
        ("<top>\n<num> 1 <title> a\n</top>\n\n<top>\n<num> 2 <title> b", 5, "does not end"),
        ("<top>\n<num> 1 <title> a\n<top>\n<num> 2 <title> b\n</top>", 1, "does not end"),
        ('<topics>\n<topic number="1"/>\n<topic number="2">b</topic>\n</topics>', 2, "not end"),
        ('<?xml version="1.0"?>\n<queries><query id="1">a</query></queries>', 1, "no topics"),
        ("<queries>\n<query id='1'>a</query>\n</queries>", 1, "no topics"),
        ("<!-- a -->\n", 1, "no topics"),
        ("<html>", 1, "no topics"),
    ],
)
def test_what_is_none_is_refused_by_its_line(
    tmp_path: Path, text: str, line: int, expected: str
) -> None:
    file = tmp_path / "topics.xml"
    file.write_text(text)
    with pytest.raises(DatasetError) as caught:
        read_queries(file)
    message = str(caught.value)
    assert message.startswith(f"{file}:{line}: ") and expected in message and "\n" not in message


def test_a_bomb_of_entities_stays_text(tmp_path: Path) -> None:
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
