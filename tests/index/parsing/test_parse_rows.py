"""JSON Lines and CSV: what rows become, and that a bad one costs only itself."""

import csv
import io
import json
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.errors import SourceError
from resift.index.normalisation import is_visible
from resift.index.parsing.documents import ParsedFile
from resift.index.parsing.formats import parse
from resift.index.parsing.options import Columns, ParseOptions

NAMED = Columns(text="body", title="name", id="key")


def make_parquet(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue()


def make_csv(rows: list[list[str]], delimiter: str = ",") -> bytes:
    sink = io.StringIO()
    csv.writer(sink, delimiter=delimiter).writerows(rows)
    return sink.getvalue().encode()


def only_metadata(parsed: ParsedFile) -> list[dict[str, Any]]:
    assert not parsed.problems
    return [dict(document.metadata) for document in parsed.documents]


@pytest.mark.parametrize("key", ["c.jsonl", "c.csv", "c.tsv", "c.parquet"])
def test_columns_say_what_the_text_the_title_and_the_id_are(key: str) -> None:
    row = {"key": "k1", "name": "T", "body": "words", "text": "not this", "_id": "nor this"}
    data = {
        ".jsonl": json.dumps(row).encode(),
        ".csv": make_csv([list(row), list(row.values())]),
        ".tsv": make_csv([list(row), list(row.values())], "\t"),
        ".parquet": make_parquet({name: [value] for name, value in row.items()}),
    }[key[1:]]
    (document,) = parse(key, data, ParseOptions(NAMED)).documents
    assert (document.id, document.title, document.text) == ("k1", "T", "words")
    assert document.metadata == {"text": "not this", "_id": "nor this"}
    assert document.row == (2 if key in ("c.csv", "c.tsv") else 1)


@pytest.mark.parametrize(
    ("key", "data"),
    [("c.csv", b"a,b\n1,2\n"), ("c.parquet", make_parquet({"a": ["1"], "b": ["2"]}))],
)
def test_a_table_without_the_column_says_which_ones_it_has(key: str, data: bytes) -> None:
    with pytest.raises(SourceError, match="no column 'body' in it, but a, b"):
        parse(key, data, ParseOptions(NAMED))


@pytest.mark.parametrize(
    ("key", "data"),
    [
        ("c.csv", b"BODY,b\n1,2\n"),
        ("c.parquet", make_parquet({"BODY": ["1"], "b": ["2"]})),
        ("c.jsonl", b'{"BODY": "1", "name": "title"}'),
    ],
)
def test_a_column_written_in_other_letters_is_proposed(key: str, data: bytes) -> None:
    with pytest.raises(SourceError, match=r"but (BODY|name).*: did you mean 'BODY'\? name"):
        parse(key, data, ParseOptions(NAMED))


def test_a_field_written_in_other_letters_is_proposed_in_a_row_without_text() -> None:
    parsed = parse("c.jsonl", b'{"TEXT": "1"}\n{"n": 1}')
    assert parsed.problems == (
        "line 1: no text in it: it has no field 'text': did you mean 'TEXT'?",
        "line 2: no text in it: it has no field 'text'",
    )


def test_of_columns_in_other_letters_none_is_proposed_if_it_could_be_either() -> None:
    with pytest.raises(SourceError) as raised:
        parse("c.csv", b"Text,TEXT\n1,2\n")
    assert "did you mean" not in str(raised.value)


def test_numbers_of_a_csv_column_are_numbers_if_all_of_them_are() -> None:
    rows = [["text", "n", "x", "zip", "mixed"], ["a", "-3", "1.50", "01234", "7"],
            ["b", "0", "", "99999", "seven"]]  # fmt: skip
    assert only_metadata(parse("c.csv", make_csv(rows))) == [
        {"n": -3, "x": 1.5, "zip": "01234", "mixed": "7"},
        {"n": 0, "zip": "99999", "mixed": "seven"},
    ]


def test_a_csv_id_and_text_stay_as_they_are_written() -> None:
    (document,) = parse("c.csv", b"id,text\n007,42\n").documents
    assert (document.id, document.text) == ("007", "42")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_seen(delimiter: str) -> None:
    data = make_csv([["id", "text"], ["1", "a, b; c | d"]], delimiter)
    assert [d.text for d in parse("c.csv", data).documents] == ["a, b; c | d"]


def test_a_csv_row_is_numbered_by_the_line_on_which_it_begins() -> None:
    data = b'text\r\n"two\r\nlines"\r\n\r\nlast\r\n'
    documents = parse("c.csv", data).documents
    assert [(d.row, d.id, d.text) for d in documents] == [
        (2, "line-2", "two\nlines"),
        (5, "line-5", "last"),
    ]


def test_bad_csv_rows_are_named_and_the_others_kept() -> None:
    data = b'id,text\n1,good\n2,"bad"x\n3,too,many\n4\n5,"never closed\n6,last\n1,again\n'
    parsed = parse("c.csv", data)
    assert [d.text for d in parsed.documents] == ["good", "last"]
    named = sorted(problem.partition(":")[0] for problem in parsed.problems)
    assert named == ["line 3", "line 4", "line 5", "line 6", "line 8"]


def test_quotes_that_are_never_closed_are_not_followed_for_ever() -> None:
    # From each of these lines a row reads to the end of the file.
    parsed = parse("c.csv", b"text\n" + b'c","d\n' * 1_000 + b"last\n")
    assert len(parsed.problems) == 11
    assert "the rest is left out" in parsed.problems[-1]


def test_a_csv_field_may_be_long() -> None:
    data = b"text\n" + b"long words " * 100_000 + b"\nnext\n"
    assert [len(d.text) for d in parse("c.csv", data).documents] == [1_100_000, 4]


@pytest.mark.parametrize("nul", ["a\0b", "\0", '"quoted \0"'])
def test_a_nul_costs_a_csv_row_its_text_and_no_other(nul: str) -> None:
    parsed = parse("c.csv", f"id,text\n1,good\n2,{nul}\n3,last\n".encode())
    assert [d.text for d in parsed.documents] == ["good", "last"]
    (problem,) = parsed.problems
    assert problem.startswith("line 3: ")


def test_what_dos_ends_a_file_with_costs_nothing() -> None:
    assert [d.text for d in parse("c.csv", b"text\r\na\r\nb\r\n\x1a").documents] == ["a", "b"]
    assert [d.text for d in parse("c.jsonl", b'{"text": "a"}\r\n\x1a\0\0').documents] == ["a"]
    assert parse("c.txt", b"one two\r\n\x1a").documents[0].text == "one two\n"


def test_a_csv_without_a_bom_of_wide_characters_is_read() -> None:
    for encoding in ("utf-16-le", "utf-16-be", "utf-16"):
        (document,) = parse("c.csv", "id,text\r\n1,Müller\r\n".encode(encoding)).documents
        assert (document.id, document.text) == ("1", "Müller")


def test_columns_of_one_name_are_named_and_the_first_is_read() -> None:
    parsed = parse("c.csv", b"text,tag,tag,,\nwords,a,b,c,d\n")
    assert parsed.documents[0].metadata == {"tag": "a", "": "c"}
    assert parsed.problems == (
        "line 1: more than one column is called 'tag': only the first is read",
        "line 1: more than one column is called '': only the first is read",
    )


def test_the_line_that_excel_writes_for_itself_says_the_delimiter() -> None:
    (document,) = parse("c.csv", b"sep=;\r\nid;text\r\n1;a, b, c\r\n").documents
    assert (document.id, document.text, document.row) == ("1", "a, b, c", 3)


def test_twenty_problems_are_named_and_more_are_counted() -> None:
    parsed = parse("c.jsonl", b"\n".join([b"no json"] * 1_234 + [b'{"text": "one"}']))
    assert len(parsed.documents) == 1
    assert len(parsed.problems) == 21
    assert parsed.problems[-1] == "and 1,214 more lines that cannot be read"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "a", "x": NaN}', "NaN"),
        ('{"text": "a", "x": -Infinity}', "-Infinity"),
        ('{"text": "half \\ud800"}', "surrogate"),
        ('{"text": "a", "x": {"y": ["\\udc00"]}}', "surrogate"),
        ('{"text": "a", "x": ' + "9" * 5_000 + "}", "digits"),
        ('{"text": "a", "x": ' + "9" * 39 + "}", "beyond 64 bits in x"),
        ('{"text": "a", "x": {"y": [-' + "9" * 20 + "]}}", "beyond 64 bits in x"),
        ('{"text": "a", "x": 1e400}', "in x"),
        ('{"text": "a", "x": [{"y": -1e400}]}', "in x"),
        ('{"text": "a", "x": ' + "[" * 100 + "]" * 100 + "}", "nested deeper"),
        ('{"text": "a", "x": ' + '{"a":' * 990 + "1" + "}" * 990 + "}", "line 1: "),
        ('{"text": "a\\u0000b"}', "NUL"),
        ('{"title": "a\\u0000b"}', "NUL"),
        ('{"id": "a\\u0000b", "text": "a"}', "control"),
        ('{"text": "a\0b"}', "control"),
        ('{"text": "a\x1ab"}', "control"),
        ('{"text": ["a", "list"]}', "list"),
        ('{"text": 5}', "int"),
        ('{"id": 1.5, "text": "a"}', "whole number as id"),
        ('{"id": ["a"], "text": "a"}', "whole number as id"),
    ],
)
def test_json_that_could_not_be_stored_costs_its_line(line: str, reason: str) -> None:
    parsed = parse("c.jsonl", f'{line}\n{{"text": "whole \\ud83d\\ude00"}}'.encode())
    assert [d.text for d in parsed.documents] == ["whole 😀"]
    (problem,) = parsed.problems
    assert problem.startswith("line 1: ")
    assert reason in problem


def test_a_field_that_is_a_text_of_its_own_is_left_out_and_named() -> None:
    row = {"text": "words", "html": "x" * 70_000, "tree": ["y" * 70_000], "year": 2020}
    parsed = parse("c.jsonl", json.dumps(row).encode())
    assert parsed.documents[0].metadata == {"year": 2020}
    assert parsed.problems == (
        "line 1: html is left out: over 65,536 characters",
        "line 1: tree is left out: over 65,536 characters",
    )


def test_a_reason_is_short_however_long_what_it_names_is() -> None:
    row = json.dumps({"id": "x" * 10_000, "text": "a"})
    parsed = parse("c.jsonl", f"{row}\n{row}".encode())
    assert len(parsed.problems[0]) < 400


def test_numbers_of_64_bits_and_odd_keys_are_kept() -> None:
    metadata = {"x": -(2**63), "y": 2**63 - 1, "z": 1e308, "": 1, "a.b": None, "t": [True, "é"]}
    line = json.dumps({"id": 2**100, "text": "a"} | metadata)
    (document,) = parse("c.jsonl", line.encode()).documents
    assert document.id == str(2**100)
    assert document.metadata == metadata


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("value", [[{"text": "a"}, {"text": "b"}], {"text": "a", "x": 1}])
def test_json_that_is_no_json_lines_is_named_as_what_it_is(value: Any, indent: int | None) -> None:
    data = json.dumps(value, indent=indent).encode()
    if isinstance(value, dict) and indent is None:
        assert parse("c.jsonl", data).documents[0].text == "a"
    else:
        with pytest.raises(SourceError, match="write each object on its line"):
            parse("c.jsonl", data)


def test_a_column_name_of_a_damaged_file_does_not_spoil_the_message() -> None:
    with pytest.raises(SourceError) as raised:
        parse("c.csv", b"a\x00\x1b[31m,b" + b"x" * 1_000 + b"\n1,2\n")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 300


_CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)


@given(st.lists(st.tuples(_CELLS, _CELLS, st.sampled_from(["", "\n", '"', ',"\n'])), min_size=1))
def test_every_row_that_is_written_is_read_or_named(rows: list[tuple[str, str, str]]) -> None:
    data = make_csv([["text", "more"], *([a + sign, b] for a, b, sign in rows)])
    parsed = parse("c.csv", data)
    texts = [a + sign for a, _, sign in rows]
    assert [d.text for d in parsed.documents] == list(filter(is_visible, texts))


NOWHERE = {
    "jsonl": b'{"title": "a", "body": "x"}\n{"title": "b", "body": "y"}\n',
    "csv": b"title,body\na,x\nb,y\n",
}


@pytest.mark.parametrize("kind", NOWHERE)
@pytest.mark.parametrize(
    ("columns", "named"), [(Columns(text="bodyy"), "bodyy"), (Columns(text="body", id="no"), "no")]
)
def test_a_named_column_that_is_in_no_row_is_a_slip(
    kind: str, columns: Columns, named: str
) -> None:
    """Titles alone, or made-up ids, would replace what is indexed."""
    key, data = f"a.{kind}", NOWHERE[kind]
    with pytest.raises(SourceError, match=f"no column '{named}' in it, but title, body"):
        parse(key, data, ParseOptions(columns))
    assert len(parse(key, data, ParseOptions(Columns(text="body"))).documents) == 2


def test_a_line_nested_without_end_is_named_in_plain_words() -> None:
    line = '{"text": "a", "m": ' + "[" * 100_000 + "]" * 100_000 + "}"
    assert "nested too deep" in parse("a.jsonl", line.encode()).problems[0]


def test_problems_of_rows_are_in_the_order_of_the_rows() -> None:
    lines = ["text,n", ",1", *["good,1"] * 8, "too,many,fields", ",2"]
    reasons = parse("a.csv", "\n".join(lines).encode()).problems
    assert reasons == (
        "line 2: no text in it",
        "line 11: 3 fields, but the first row names 2",
        "line 12: no text in it",
    )


def test_jsonl_is_a_document_a_line_with_its_other_fields() -> None:
    lines = [
        {"_id": "d1", "title": "T", "text": "<p>stays</p>", "year": 2024},
        {"id": 7, "text": "number"},
        {"text": "nameless"},
        {"_id": "t", "title": "only a title", "text": ""},
    ]
    documents = parse("c.jsonl", "\n\n".join(map(json.dumps, lines)).encode()).documents
    assert [d.id for d in documents] == ["d1", "7", "line-5", "t"]
    assert [d.text for d in documents] == ["<p>stays</p>", "number", "nameless", "only a title"]
    assert documents[0].metadata == {"year": 2024}
    assert [d.title for d in documents] == ["T", "", "", "only a title"]


def test_bad_jsonl_lines_are_named_and_the_others_kept() -> None:
    lines = [
        '{"_id": "a", "text": "good"}',
        "not json",
        '["list"]',
        '{"_id": "b"}',
        '{"_id": "a", "text": "again"}',
        '{"_id": "c", "text": " "}',
        '{"_id": true, "text": "x"}',
        '{"_id": "z", "title": 3, "text": "x"}',
        "[" * 100_000,
        '{"_id": "d", "text": "last"}',
    ]
    parsed = parse("c.jsonl", "\n".join(lines).encode())
    assert [d.text for d in parsed.documents] == ["good", "last"]
    assert [p.partition(":")[0] for p in parsed.problems] == [f"line {n}" for n in range(2, 10)]
    assert "not JSON" in parsed.problems[0]
    assert "used before" in parsed.problems[3]
