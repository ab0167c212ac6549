"""Notebooks: text, code and the beginning of outputs, with the headings of Markdown cells."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.parsing.properties import any_bytes, one_document, outline, parse_or_reason
from resift.errors import SourceError
from resift.index.parsing.formats import parse


def make(cells: list[object], **others: object) -> bytes:
    return json.dumps({"nbformat": 4, "cells": cells, **others}).encode()


def code(source: object, *outputs: object) -> dict[str, object]:
    return {"cell_type": "code", "source": source, "outputs": list(outputs)}


def test_cells_and_outputs_are_text_and_the_language_is_metadata() -> None:
    plain = {"text/plain": "42", "image/png": "iVBOR", "text/html": "<b>42</b>"}
    cells = [
        {"cell_type": "markdown", "source": ["# The Name\n", "Intro.\n\n```\n# no\n```"]},
        code(
            ["import x\n", "x.run()  # note"],
            {"output_type": "stream", "name": "stdout", "text": ["\x1b[31mprinted\x1b[0m\n"]},
            {"output_type": "execute_result", "data": plain},
            {"output_type": "error", "ename": "ValueError", "evalue": "bad", "traceback": ["t"]},
        ),
        {"cell_type": "markdown", "source": "## Sub\nMore."},
        {"cell_type": "raw", "source": "# raw"},
    ]
    document = one_document("a.ipynb", make(cells, metadata={"kernelspec": {"language": "python"}}))
    assert (document.title, document.metadata) == ("The Name", {"language": "python"})
    assert outline(document) == [
        (
            "",
            "# The Name\nIntro.\n\n```\n# no\n```\n\nimport x\nx.run()  # note\n\n"
            "printed\n42\nValueError: bad",
        ),
        ("Sub", "## Sub\nMore.\n\n# raw"),
    ]


def test_parts_of_a_cell_that_are_no_text_are_named_and_the_others_kept() -> None:
    cells = [
        code(["good\n", None, {"a": 1}, "also good"]),
        {"cell_type": "markdown", "source": {"not": "text"}},
        "no cell",
        code("fine", {"output_type": "stream", "text": ["out", False]}, "no output"),
        {"cell_type": "code", "source": "no outputs at all"},
        code(
            "rich", {"output_type": "display_data", "data": {"text/plain": 5.5, "image/png": "x"}}
        ),
        code("wrong", {"output_type": "error", "ename": ["E"], "evalue": None}),
        {"cell_type": "raw", "outputs": {}},
    ]
    parsed = parse("a.ipynb", make(cells))
    text = parsed.documents[0].text
    assert "good\nalso good" in text
    assert "fine" in text and "out" in text and "5.5" in text
    assert parsed.problems == (
        "cell 1: 2 parts of its source that are no text: left out",
        "cell 2: its source is no text: left out",
        "cell 3: not a cell: left out",
        "cell 4: 1 part of its outputs that is no text: left out",
        "cell 4: an output is not an object: left out",
        "cell 8: its outputs are no list: left out",
    )


def test_headings_are_those_of_markdown() -> None:
    source = "Name\n====\n\n```\n# no\n~~~\n# no\n```\n## Sub ##\nText."
    document = one_document("a.ipynb", make([{"cell_type": "markdown", "source": source}]))
    first = "Name\n====\n\n```\n# no\n~~~\n# no\n```"
    assert document.title == "Name"
    assert outline(document) == [("", first), ("Sub", "## Sub ##\nText.")]


def test_a_notebook_of_nothing_but_odd_cells_has_no_document_and_says_why() -> None:
    parsed = parse("a.ipynb", make([5, None, {"cell_type": 7, "source": {}}]))
    assert parsed.documents == ()
    assert parsed.problems == (
        "cell 1: not a cell: left out",
        "cell 2: not a cell: left out",
        "cell 3: its source is no text: left out",
    )


def test_many_problems_of_a_notebook_are_counted() -> None:
    problems = parse("a.ipynb", make([code("text"), *[None] * 50])).problems
    assert len(problems) == 21
    assert problems[-1] == "and 30 more parts that cannot be read"


def test_long_outputs_are_cut() -> None:
    output = {"output_type": "stream", "text": "line\n" * 100_000}
    assert len(one_document("a.ipynb", make([code("x", output)])).text) < 1_100


def test_version_3_has_worksheets_and_headings() -> None:
    cells = [
        {"cell_type": "heading", "level": 1, "source": ["The Name"]},
        {"cell_type": "code", "input": ["print 1"], "outputs": [{"text": ["1"]}]},
    ]
    document = one_document("a.ipynb", json.dumps({"worksheets": [{"cells": cells}]}))
    assert outline(document) == [("", "# The Name\n\nprint 1\n\n1")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{}", "it has no cells"),
        (b"[]", "it has no cells"),
        (b'{"cells": 5}', "it has no cells"),
        (b"not json", "not JSON"),
        (b"[" * 100_000, "its lists and objects are nested too deep"),
        (make([]), "no text in it"),
        (make([{"cell_type": 7, "source": []}, {}]), "no text in it"),
    ],
)
def test_what_is_no_notebook_is_one_reason(data: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        parse("a.ipynb", data)


ODD = st.none() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=9), max_size=3)
CELLS = st.dictionaries(
    st.sampled_from(["cell_type", "source", "outputs", "level", "input"]),
    st.sampled_from(["markdown", "code", "raw", "heading"])
    | ODD
    | st.lists(st.dictionaries(st.sampled_from(["output_type", "text", "data", "ename"]), ODD)),
)


@given(st.lists(CELLS | ODD, max_size=5), st.dictionaries(st.just("language_info"), ODD))
def test_any_cells_are_text_or_a_reason(cells: list[object], metadata: object) -> None:
    parse_or_reason("a.ipynb", make(cells, metadata=metadata))


@given(
    any_bytes(b'{"cells": [', b"]}", b'{"cell_type": "code", "source": "x"}', b",", b'"\\ud800"')
)
def test_any_bytes_are_a_notebook_or_a_reason(data: bytes) -> None:
    parse_or_reason("a.ipynb", data)
