"""Parquet: types as JSON has them, and what cannot be read costs only itself."""

import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from resift.errors import SourceError
from resift.index.parsing.documents import ParsedFile
from resift.index.parsing.formats import parse


def make_parquet(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue()


def written(table: Any) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


def only_metadata(parsed: ParsedFile) -> list[dict[str, Any]]:
    assert not parsed.problems
    return [dict(document.metadata) for document in parsed.documents]


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


def test_an_id_that_pandas_made_a_float_is_the_whole_number() -> None:
    parsed = parse("c.parquet", make_parquet({"text": ["a", "b"], "id": [7.0, None]}))
    assert [d.id for d in parsed.documents] == ["7", "row-2"]


def test_a_value_of_parquet_that_nothing_can_hold_costs_itself() -> None:
    far = pyarrow.array([0, 10**14, 1], pyarrow.int64())
    broken = pyarrow.Array.from_buffers(
        pyarrow.string(), 3, pyarrow.array([b"a", b"\xff\xfe", b"c"], pyarrow.binary()).buffers()
    )
    data = make_parquet(
        {"text": ["a", "b", "c"], "when": far.cast(pyarrow.timestamp("s")), "name": broken}
    )
    parsed = parse("c.parquet", data)
    assert [d.text for d in parsed.documents] == ["a", "b", "c"]
    assert parsed.documents[1].metadata == {}
    assert parsed.documents[2].metadata["name"] == "c"
    assert [problem.partition(" is")[0] for problem in parsed.problems] == [
        "row 2: column 'when'",
        "row 2: column 'name'",
    ]


def test_a_text_of_parquet_that_is_not_utf8_costs_its_row() -> None:
    broken = pyarrow.Array.from_buffers(
        pyarrow.string(), 2, pyarrow.array([b"good", b"\xff"], pyarrow.binary()).buffers()
    )
    parsed = parse("c.parquet", make_parquet({"text": broken}))
    assert [d.text for d in parsed.documents] == ["good"]
    assert {problem.partition(":")[0] for problem in parsed.problems} == {"row 2"}


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array(["a", "b"]).dictionary_encode(),
        pyarrow.array(["a", "b"], pyarrow.large_string()),
        pyarrow.array(["a", "b"], pyarrow.string_view()),
    ],
)
def test_all_kinds_of_strings_are_texts(column: Any) -> None:
    assert [d.text for d in parse("c.parquet", make_parquet({"text": column})).documents] == [
        "a",
        "b",
    ]


def test_a_parquet_file_without_rows_or_columns_or_key_says_so() -> None:
    with pytest.raises(SourceError, match="no text in it"):
        parse("c.parquet", make_parquet({"text": pyarrow.array([], pyarrow.string())}))
    with pytest.raises(SourceError, match="but none at all"):
        parse("c.parquet", make_parquet({}))
    with pytest.raises(SourceError, match="encrypted Parquet"):
        parse("c.parquet", b"PARE" + b"x" * 50 + b"PARE")


def test_parquet_reads_texts_that_were_written_as_bytes() -> None:
    table = pyarrow.table(
        {
            "text": pyarrow.array(["Größe".encode(), b"\xff\xfe", None], pyarrow.binary()),
            "title": pyarrow.array([b"T", b"U", b"V"], pyarrow.large_binary()),
            "hash": pyarrow.array([b"abc"] * 3, pyarrow.binary()),
        }
    )
    parsed = parse("a.parquet", written(table))
    assert [(d.title, d.text, d.metadata) for d in parsed.documents] == [
        ("T", "Größe", {}),
        ("U", "U", {}),
        ("V", "V", {}),
    ]
    (problem,) = parsed.problems
    assert problem.startswith("row 2: column 'text' is left out")


def test_parquet_reads_the_first_of_columns_with_one_name_and_says_so() -> None:
    table = pyarrow.table([["a words"], ["b words"], [1], [2]], names=["text", "text", "n", "n"])
    parsed = parse("a.parquet", written(table))
    assert [(d.text, d.metadata) for d in parsed.documents] == [("a words", {"n": 1})]
    assert [problem.partition(":")[0] for problem in parsed.problems] == ["row 1", "row 1"]


def test_a_null_is_no_missing_column() -> None:
    table = pyarrow.table({"text": pyarrow.array([None, "x"], pyarrow.string())})
    assert parse("a.parquet", written(table)).problems == ("row 1: no text in it",)
