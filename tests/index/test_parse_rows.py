"""Proves what rows of JSON Lines, CSV and Parquet become, and that a bad one costs only itself."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.errors import SourceError
from resift.index.columns import Columns
from resift.index.documents import Parsed
from resift.index.parse import parse

NAMED = Columns(text="body", title="name", id="key")


def make_parquet(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue()


def make_csv(rows: list[list[str]], delimiter: str = ",") -> bytes:
    sink = io.StringIO()
    csv.writer(sink, delimiter=delimiter).writerows(rows)
    return sink.getvalue().encode()


def only_metadata(parsed: Parsed) -> list[dict[str, Any]]:
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
    (document,) = parse(key, data, NAMED).documents
    assert (document.id, document.title, document.text) == ("k1", "T", "words")
    assert document.metadata == {"text": "not this", "_id": "nor this"}
    assert document.row == (2 if key in ("c.csv", "c.tsv") else 1)


@pytest.mark.parametrize(
    ("key", "data"),
    [("c.csv", b"a,b\n1,2\n"), ("c.parquet", make_parquet({"a": ["1"], "b": ["2"]}))],
)
def test_a_table_without_the_column_says_which_ones_it_has(key: str, data: bytes) -> None:
    with pytest.raises(SourceError, match="no column 'body' in it, but a, b"):
        parse(key, data, NAMED)


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


def test_a_csv_with_a_nul_is_no_text() -> None:
    with pytest.raises(SourceError, match="control bytes"):
        parse("c.csv", b"text\na\x00b\n")


def test_parquet_keeps_types_as_json_has_them() -> None:
    moment = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    data = make_parquet(
        {
            "text": ["t"],
            "whole": [7],
            "real": [1.5],
            "true": [True],
            "none": pyarrow.array([None], pyarrow.string()),
            "nan": [float("nan")],
            "day": [date(2024, 1, 2)],
            "moment": [moment],
            "nano": pyarrow.array([1_700_000_000_000_000_001], pyarrow.timestamp("ns")),
            "lasted": [timedelta(seconds=90)],
            "price": [Decimal("9.90")],
            "nested": [{"tags": ["a", "b"], "more": [{"x": 1, "y": None}]}],
            "bytes": [b"\x00"],
        }
    )
    (metadata,) = only_metadata(parse("c.parquet", data))
    assert metadata == {
        "whole": 7,
        "real": 1.5,
        "true": True,
        "day": "2024-01-02",
        "moment": "2024-01-02T03:04:05+00:00",
        "nano": "2023-11-14T22:13:20",
        "lasted": 90.0,
        "price": 9.9,
        "nested": {"tags": ["a", "b"], "more": [{"x": 1}]},
    }
    assert json.loads(json.dumps(metadata, allow_nan=False)) == metadata


def test_parquet_rows_are_numbered_across_batches() -> None:
    texts = [f"text {n}" for n in range(1_000)]
    texts[600] = " "
    parsed = parse("c.parquet", make_parquet({"text": texts}))
    assert [d.row for d in parsed.documents] == [n for n in range(1, 1_001) if n != 601]
    assert parsed.documents[-1].id == "row-1000"
    assert parsed.problems == ("row 601: no text in it",)


def test_parquet_with_another_kind_of_text_says_so_for_each_row() -> None:
    parsed = parse("c.parquet", make_parquet({"text": [1, 2]}))
    assert parsed.problems[0] == "row 1: expected a string in the field 'text', not int"


@pytest.mark.parametrize("cut", [10, 200, -1])
def test_a_damaged_parquet_file_is_refused(cut: int) -> None:
    with pytest.raises(SourceError, match="not a readable Parquet file"):
        parse("c.parquet", make_parquet({"text": ["t"] * 100})[:cut])


def test_problems_are_told_up_to_twenty_and_counted_beyond() -> None:
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
    ],
)
def test_json_that_could_not_be_stored_costs_its_line(line: str, reason: str) -> None:
    parsed = parse("c.jsonl", f'{line}\n{{"text": "whole \\ud83d\\ude00"}}'.encode())
    assert [d.text for d in parsed.documents] == ["whole 😀"]
    (problem,) = parsed.problems
    assert problem.startswith("line 1: ")
    assert reason in problem


_CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)


@given(st.lists(st.tuples(_CELLS, _CELLS, st.sampled_from(["", "\n", '"', ',"\n'])), min_size=1))
def test_every_row_that_is_written_is_read_or_named(rows: list[tuple[str, str, str]]) -> None:
    data = make_csv([["text", "more"], *([a + sign, b] for a, b, sign in rows)])
    parsed = parse("c.csv", data)
    texts = [a + sign for a, _, sign in rows]
    assert [d.text for d in parsed.documents] == [text for text in texts if text.strip()]
