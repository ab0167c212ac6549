"""JSON: rows if it is an array of them, else a line for each value with its path."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.parsing.properties import any_bytes, headings, one_document, parse_or_reason
from resift.errors import SourceError
from resift.index.parsing.formats import parse
from resift.index.parsing.options import Columns, ParseLimits, ParseOptions


def test_a_value_has_a_line_with_its_path() -> None:
    value = (
        b'{"title": "The Name", "a": {"b": [1, 2, {"c": "x\\ny"}]}, "list": ["p", "q"], "n": 1.10, '
        b'"big": 123456789012345678901234567890, "none": null, "yes": true, "empty": {}}'
    )
    document = one_document("a.json", value)
    assert document.title == "The Name"
    assert [line for line in document.text.split("\n") if line] == [
        "title: The Name",
        "a.b[0]: 1",
        "a.b[1]: 2",
        "a.b[2].c: x",
        "y",
        "list: p, q",
        "n: 1.10",
        "big: 123456789012345678901234567890",
        "yes: true",
    ]
    assert document.row is None
    assert not document.has_lines


def test_large_top_level_values_are_sections() -> None:
    values = {f"part{n}": {f"key{i}": "value of it" for i in range(40)} for n in range(3)}
    document = one_document("a.json", json.dumps({"id": 1, **values}))
    assert headings(document) == ["id", "part0", "part1", "part2"]


def test_an_array_of_objects_with_the_text_column_is_rows() -> None:
    rows = [{"text": "one", "id": "x"}, {"text": "two", "n": 5}, {"b": 1}, {"text": "\ud800"}]
    rows += [{"text": "three", "n": 10**30}, {"text": "four", "n": float("inf")}]
    parsed = parse("a.json", json.dumps(rows).encode())
    assert [(d.id, d.text, d.row, dict(d.metadata)) for d in parsed.documents] == [
        ("x", "one", 1, {}),
        ("row-2", "two", 2, {"n": 5}),
    ]
    assert [problem[:6] for problem in parsed.problems] == ["row 3:", "row 4:", "row 5:", "row 6:"]
    named = parse("a.json", json.dumps([{"body": "b"}]).encode(), ParseOptions(Columns("body")))
    assert named.documents[0].row == 1
    assert parse("a.json", json.dumps([{"body": "b"}]).encode()).documents[0].row is None


def test_odd_elements_of_an_array_of_rows_are_named_and_the_others_kept() -> None:
    rows = b'[{"text": "a"}, "x", {"text": "b"}, null, {"text": "c"}, {"text": "d"}, [{}]]'
    parsed = parse("a.json", rows)
    assert [(d.id, d.text, d.row) for d in parsed.documents] == [
        ("row-1", "a", 1),
        ("row-3", "b", 3),
        ("row-5", "c", 5),
        ("row-6", "d", 6),
    ]
    assert parsed.problems == (
        "row 2: expected a JSON object, not str",
        "row 4: expected a JSON object, not NoneType",
        "row 7: expected a JSON object, not list",
    )


@pytest.mark.parametrize(
    "rows",
    [
        '[{"text": "a"}, "x"]',
        '[{"text": "a"}, 1, {"text": "b"}, null]',
        '["x", {"b": 1}, 2]',
        '["x"]',
        "[]",
    ],
)
def test_an_array_of_which_at_most_half_are_rows_is_one_document(rows: str) -> None:
    value = f'{{"list": {rows}}}' if rows == "[]" else rows
    outcome = parse_or_reason("a.json", value.encode())
    assert isinstance(outcome, SourceError) or [d.row for d in outcome.documents] == [None]


def test_rows_whose_column_is_written_otherwise_are_one_document_with_a_note() -> None:
    parsed = parse("a.json", b'[{"Text": "a"}, {"Text": "b"}]')
    assert [document.row for document in parsed.documents] == [None]
    assert parsed.problems == (
        "no column 'text' in its rows, read as one document: did you mean 'Text'? "
        "(--text-column FILE=COLUMN)",
    )


def test_a_number_with_thousands_of_digits_costs_its_row() -> None:
    rows = f'[{{"text": "one", "n": {"9" * 10_000}}}, {{"text": "two"}}]'
    parsed = parse("a.json", rows.encode())
    assert [document.text for document in parsed.documents] == ["two"]
    assert one_document("b.json", f'{{"n": {"9" * 10_000}}}').text.startswith("n: 999")


@pytest.mark.parametrize("text", ["1", '"\\ud800"'])
def test_rows_that_nest_deep_are_problems_or_one_reason(text: str) -> None:
    for depth in range(800, 1_000):  # about where readers of JSON run out of stack
        nested = f'[{{"text": "one", "n": {"[" * depth}{text}{"]" * depth}}}, {{"text": "two"}}]'
        try:
            parsed = parse("a.json", nested.encode())
        except SourceError as error:
            assert str(error) == "its lists and objects are nested too deep"
            continue
        assert [document.text for document in parsed.documents] == ["two"]


def test_json_lines_under_the_name_of_json_are_rows() -> None:
    parsed = parse("a.json", b'{"text": "one"}\n{"text": "two"}\n')
    assert [document.row for document in parsed.documents] == [1, 2]
    assert parse("a.ndjson", b'{"text": "one"}\n').documents[0].row == 1


@pytest.mark.parametrize("text", ['{\n // a comment\n "a": 1}', '[{"text": "cut off"', "{{ x }}"])
def test_what_is_not_json_is_text_and_is_named(text: str) -> None:
    parsed = parse("a.json", text.encode())
    assert parsed.documents[0].text == text
    assert parsed.problems[0].startswith("not JSON, read as text: ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        ("[" * 500 + "1" + "]" * 500, "deeper than 200 levels"),
        ("{}", "no text in it"),
        ("null", "no text in it"),
        ('{"a": ""}', "no text in it"),
        ("\0\1\2\3" * 100, "control bytes"),
    ],
)
def test_hostile_json_is_one_reason(text: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        parse("a.json", text.encode())


def test_long_paths_count_for_the_limit_on_bytes() -> None:
    value = {"name" * 30: {"other" * 20: [{"x": n} for n in range(2_000)]}}
    text = json.dumps(value).encode()
    limits = ParseLimits(max_bytes=len(text) + 10_000)
    with pytest.raises(SourceError, match="its values with their paths take more than"):
        parse("a.json", text, ParseOptions(limits=limits))
    assert len(one_document("a.json", text).text) < 130 * 2_000


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=20,
)


@given(VALUES)
def test_any_value_is_read(value: object) -> None:
    parse_or_reason("a.json", json.dumps(value).encode())


@given(
    any_bytes(
        b"{", b"}", b"[", b"]", b'"text": "a"', b'"a"', b":", b",", b"1e999", b'"\\ud800"', b"NaN",
        b'{"text": "a"}\n', b"// c\n", b"-", b"\\u0000", b"null",
    )
)  # fmt: skip
def test_any_bytes_are_json_or_a_reason(data: bytes) -> None:
    parse_or_reason("a.json", data)
