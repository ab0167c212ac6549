"""Proves that each part of a table that is cut says what its columns are, and is an exact slice."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from index.parsing.office import make_docx, make_xlsx
from resift.index.parsing.chunking import chunk, chunk_document, repeat_heads, token_starts
from resift.index.parsing.documents import Grid, ParsedDocument, Section
from resift.index.parsing.formats import parse

ROWS = [[f"name {n}", "" if n % 3 else f"Ends here. And so on {n}", f"{n}"] for n in range(120)]
HEAD = ["Name", "Remark", "Count"]


def html(rows: list[list[str]]) -> bytes:
    lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    head = "".join(f"<th>{cell}</th>" for cell in HEAD)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<h1>All</h1><p>Before.</p><table><tr>{head}</tr>{body}</table><p>After.</p>".encode()


def markdown(rows: list[list[str]]) -> bytes:
    lines = [f"| {' | '.join(row)} |" for row in [HEAD, ["---", ":-:", "--"], *rows]]
    return "\n".join(["# All", "Before.", "", *lines, "", "After."]).encode()


@pytest.mark.parametrize(
    ("key", "data", "head"),
    [
        ("a.html", html(ROWS), "Name | Remark | Count"),
        ("a.md", markdown(ROWS), "| Name | Remark | Count |\n| --- | :-: | -- |"),
        ("a.docx", make_docx([("Normal", "Before.")], [HEAD, *ROWS]), "Name | Remark | Count"),
        ("a.xlsx", make_xlsx({"All": [HEAD, *ROWS]}), "Name | Remark | Count"),
    ],
)
def test_a_table_that_is_cut_repeats_its_head(key: str, data: bytes, head: str) -> None:
    if key.endswith("x"):
        pytest.importorskip("kreuzberg")
    (parsed,) = parse(key, data).documents
    document = chunk_document(parsed, token_starts, with_text=True)
    assert document.text is not None
    tables = [piece for piece in document.chunks if "name " in piece.text]
    assert len(tables) >= 4
    for piece in tables:
        assert head in piece.text
        assert len(token_starts(piece.text)) <= 250
    for piece in document.chunks:
        assert document.text[piece.start : piece.end] == piece.text
    # Every row is in one piece, whole, and in order.
    rows = [line for piece in tables for line in piece.text.split("\n") if "name " in line]
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in rows]
    assert [row[0] for row in cells] == [row[0] for row in ROWS]
    assert [row[-1] for row in cells] == [row[-1] for row in ROWS]


def test_a_table_that_fits_is_one_piece_and_its_text_is_as_it_was() -> None:
    filler = b"Some sentence before it. " * 35
    rows = [[f"name {n}", "It ends. And goes on.", "7"] for n in range(8)]
    page = b"<p>" + filler + b"</p>" + html(rows)
    (parsed,) = parse("a.html", page).documents
    document = chunk_document(parsed, token_starts, with_text=True)
    assert document.text == parsed.text
    assert sum("name " in piece.text for piece in document.chunks) == 1


def test_a_title_or_heading_that_is_a_text_is_not_repeated_as_a_whole() -> None:
    (parsed,) = parse("a.md", b"# " + b"word " * 20_000).documents
    document = chunk_document(parsed, token_starts)
    assert len(document.chunks) > 50
    assert len(document.title) <= 500
    assert all(len(piece.heading) <= 500 for piece in document.chunks)


def test_a_table_in_a_fence_is_code_and_a_rule_is_no_table() -> None:
    (fenced,) = parse("a.md", b"```\na | b\n--|--\nc | d\n```\n").documents
    (ruled,) = parse("a.md", b"a | b\n\n---\n\nc\n---\n").documents
    assert fenced.tables == ruled.tables == ()


@pytest.mark.parametrize("text", ["a|b\n-|-\nc|d", "a|b\n:-:|-", "| a |\n|---|\n| b |\nc"])
def test_tables_of_markdown_are_seen(text: str) -> None:
    (document,) = parse("a.md", text.encode()).documents
    ((start, head, end),) = [(t.start, t.head, t.end) for t in document.tables]
    assert text[start:head].count("\n") == 1
    assert text[head:end].count("\n") == text.count("|\n| b") + text.count("\nc|")


def tokens(text: str) -> NDArray[np.int64]:
    return np.array([match.start() for match in re.finditer(r"\S{1,4}", text)], dtype=np.int64)


WORDS = st.text("ab .!|-", max_size=12)
GRIDS = st.builds(
    Grid,
    st.lists(st.lists(WORDS, min_size=1, max_size=4), min_size=1, max_size=12),
    st.integers(0, 2),
)


@given(st.lists(st.tuples(WORDS, GRIDS), max_size=4), st.sampled_from([4, 10, 40]))
def test_pieces_are_slices_and_nothing_is_lost(parts: list[tuple[str, Grid]], target: int) -> None:
    text, tables, sections = "", [], []
    for words, grid in parts:
        start = len(text)
        text += f"{words}\n\n"
        table = grid.table_at(len(text))
        text += f"{grid.text}\n\n"
        tables += [table] if table.end > table.start else []
        sections.append(Section(start, len(text), "A > B"))
    document = ParsedDocument("id", "", text, tuple(sections), tables=tuple(tables))
    whole = repeat_heads(document, tokens(text), target)
    starts = tokens(whole.text)
    at = 0
    for piece in chunk(whole.text, whole.sections, starts, target, whole.tables):
        passage = whole.text[piece.start : piece.end]
        assert passage == passage.strip() != ""
        assert not whole.text[at : piece.start].strip()
        assert ((starts >= piece.start) & (starts < piece.end)).sum() <= 1.25 * target
        at = piece.end
    assert not whole.text[at:].strip()
    # Without the heads that were added it is the text that it was.
    assert [s.heading for s in whole.sections] == [s.heading for s in document.sections]
    for table in reversed(whole.tables):
        assert whole.text[table.end : table.end + 1] in ("\n", "")
    lines = whole.text.split("\n")
    before = iter(lines)
    assert all(line in before for line in text.split("\n") if line.strip())
