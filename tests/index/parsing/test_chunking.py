"""Chunks are exact slices: in order, nothing lost, none too long, tables with their heads."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from index.parsing.office import make_docx, make_xlsx
from resift.index.parsing import chunking
from resift.index.parsing.chunking import chunk, chunk_document, repeat_heads, token_starts
from resift.index.parsing.documents import Chunk, Grid, ParsedDocument, Section
from resift.index.parsing.formats import parse
from resift.rerank.artifact import load_artifact
from resift.rerank.catalogue import BUNDLED
from resift.rerank.tokenization import Tokens, load_tokenizer

WORDS = st.sampled_from(
    ["a", "Rain", "fell.", "Why?", "e.g.", "x" * 30, "\n", "\n\n", "- item", "1.", '"So."', " ",
     "\t", "。", "日本", "\u2003", "(B)"]
)  # fmt: skip


TEXTS = st.lists(WORDS, max_size=120).map(" ".join)


HEADINGS = st.sampled_from(["", "A", "A > B", "A > C", "D"])


def tokens(text: str) -> NDArray[np.int64]:
    """Up to four characters a token, none across a space."""
    return np.array([m.start() for m in re.finditer(r"\S{1,4}", text)], dtype=np.int64)


def count(text: str, piece: Chunk) -> int:
    return int(((tokens(text) >= piece.start) & (tokens(text) < piece.end)).sum())


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, list[Section]]:
    text, sections = "", []
    for part in draw(st.lists(TEXTS, max_size=6)):
        page = draw(st.sampled_from([None, 1, 2]))
        sections.append(Section(len(text), len(text) + len(part), draw(HEADINGS), page))
        text += part
    return text, sections


@given(documents(), st.sampled_from([1, 4, 10, 40]))
def test_chunks_cover_the_text_in_order_within_the_limit(
    document: tuple[str, list[Section]], target: int
) -> None:
    text, sections = document
    chunks = chunk(text, sections, tokens(text), target)
    at = 0
    for piece in chunks:
        passage = text[piece.start : piece.end]
        assert passage == passage.strip() != ""
        assert piece.start >= at
        assert not text[at : piece.start].strip(), "something is in no passage"
        assert count(text, piece) <= 1.25 * target
        at = piece.end
    assert not text[at:].strip(), "the end is in no passage"


@given(documents(), st.sampled_from([4, 40]))
def test_a_page_is_a_border(document: tuple[str, list[Section]], target: int) -> None:
    text, sections = document
    for piece in chunk(text, sections, tokens(text), target):
        parts = [
            (s.page, text[max(s.start, piece.start) : min(s.end, piece.end)]) for s in sections
        ]
        assert {page for page, part in parts if part.strip()} == {piece.page}


def cut(text: str, target: int, *sections: Section) -> list[str]:
    given_sections = sections or (Section(0, len(text)),)
    return [text[c.start : c.end] for c in chunk(text, given_sections, tokens(text), target)]


@pytest.mark.parametrize(
    ("text", "target", "passages"),
    [
        ("One two. Six ten. Red.", 2, ["One two.", "Six ten.", "Red."]),
        ("Is it? (Yes so!) End.", 2, ["Is it?", "(Yes so!)", "End."]),
        ("version 1.5 is so. it was e.g. this", 9, ["version 1.5 is so. it was e.g. this"]),
        ("- one two\n- six ten", 4, ["- one two", "- six ten"]),
        ("one\n\ntwo six\n\nten", 2, ["one", "two six", "ten"]),
        ("日本。東京。", 1, ["日本。", "東京。"]),
    ],
)
def test_sentences_paragraphs_and_list_items_are_borders(
    text: str, target: int, passages: list[str]
) -> None:
    assert cut(text, target) == passages


def test_whole_sentences_are_packed_up_to_the_target() -> None:
    text = "Aa bb cc. Dd ee ff. Gg hh ii. Jj kk ll."
    assert cut(text, 7) == ["Aa bb cc. Dd ee ff.", "Gg hh ii. Jj kk ll."]


def test_a_short_tail_joins_the_passage_before_it() -> None:
    text = "Aa bb cc dd ee ff gg hh ii jj. End."
    assert cut(text, 10) == [text]


def test_a_sentence_over_the_target_is_cut_between_words() -> None:
    assert cut("aa bb cc dd ee ff gg", 3) == ["aa bb cc", "dd ee ff", "gg"]


def test_a_word_over_the_target_is_cut_where_a_token_starts() -> None:
    assert cut("x" * 20, 2) == ["x" * 8, "x" * 8, "x" * 4]


def test_a_long_section_is_a_border() -> None:
    text = "Aa bb cc dd. Ee ff gg hh."
    sections = Section(0, 13, "A"), Section(13, len(text), "B")
    assert cut(text, 10, *sections) == ["Aa bb cc dd.", "Ee ff gg hh."]


def test_no_passage_goes_on_under_another_heading() -> None:
    text = "Aa. Bb cc dd ee. Ff. Gg."
    names = ["P > A", "P > B", "P > B > C", "Q"]
    positions = [0, 4, 17, 21, len(text)]
    sections = [Section(positions[n], positions[n + 1], name) for n, name in enumerate(names)]
    passages = chunk(text, sections, tokens(text), 10)
    assert [passage.heading for passage in passages] == names
    assert [text[p.start : p.end] for p in passages] == ["Aa.", "Bb cc dd ee.", "Ff.", "Gg."]


def test_the_rows_of_a_long_table_stay_whole() -> None:
    rows = [f"name{n} | value{n} | more{n}" for n in range(20)]
    text = "\n".join(rows)
    passages = [
        text[c.start : c.end] for c in chunk(text, [Section(0, len(text))], tokens(text), 20)
    ]
    assert len(passages) > 5
    assert [row for passage in passages for row in passage.split("\n")] == rows


def test_a_text_in_windows_has_the_tokens_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Rain fell, naïvely; 日本語 and unbelievable\nwords: 3.14! " * 40
    whole = Tokens(load_tokenizer(load_artifact(BUNDLED).tokenizer), 256).starts(text)
    monkeypatch.setattr(chunking, "_WINDOW", 97)
    assert np.array_equal(token_starts(text), whole)


def test_a_word_that_no_tokenizer_reads_is_as_long_as_it_is() -> None:
    starts = token_starts("a " + "x" * 16_000 + " b")
    assert 1_000 <= len(starts) <= 1_004
    assert np.all(np.diff(starts) > 0)


def test_nothing_has_no_tokens() -> None:
    assert token_starts("").tolist() == []


ROWS = [[f"name {n}", "" if n % 3 else f"Ends here. And so on {n}", f"{n}"] for n in range(120)]


HEAD = ["Name", "Remark", "Count"]


def html_table(rows: list[list[str]]) -> bytes:
    lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    head = "".join(f"<th>{cell}</th>" for cell in HEAD)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<h1>All</h1><p>Before.</p><table><tr>{head}</tr>{body}</table><p>After.</p>".encode()


def markdown_table(rows: list[list[str]]) -> bytes:
    lines = [f"| {' | '.join(row)} |" for row in [HEAD, ["---", ":-:", "--"], *rows]]
    return "\n".join(["# All", "Before.", "", *lines, "", "After."]).encode()


@pytest.mark.parametrize(
    ("key", "data", "head"),
    [
        ("a.html", html_table(ROWS), "Name | Remark | Count"),
        ("a.md", markdown_table(ROWS), "| Name | Remark | Count |\n| --- | :-: | -- |"),
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
    page = b"<p>" + filler + b"</p>" + html_table(rows)
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


CELLS = st.text("ab .!|-", max_size=12)


GRIDS = st.builds(
    Grid,
    st.lists(st.lists(CELLS, min_size=1, max_size=4), min_size=1, max_size=12),
    st.integers(0, 2),
)


@given(st.lists(st.tuples(CELLS, GRIDS), max_size=4), st.sampled_from([4, 10, 40]))
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


def test_a_section_without_sentences_is_cut_at_blank_lines_or_else_between_lines() -> None:
    block = "first = call(value). Then = call(other)\n" * 12
    text = f"{block}\n  \n{block}\n" + "one more line of a long block. And on\n" * 60
    chunks = chunk(text, [Section(0, len(text), by_lines=True)], token_starts(text))
    assert [piece.start for piece in chunks[:3]] == [0, len(block) + 4, 2 * len(block) + 5]
    assert all(text[piece.start - 1 : piece.start] in ("", "\n") for piece in chunks)
    assert all(text[piece.end : piece.end + 1] in ("", "\n") for piece in chunks)
    sentences = chunk(text, [Section(0, len(text))], token_starts(text))
    assert any(text[piece.start - 1 : piece.start] == " " for piece in sentences)


def test_lines_of_a_document_with_cut_tables_are_unknown() -> None:
    rows = "".join(f"| river {n} | {n} km |\n" for n in range(100))
    text = f"Intro.\n\n| Name | Length |\n|--|--|\n{rows}"
    cut = chunk_document(parse("a.md", text.encode()).documents[0], token_starts)
    assert {piece.line for piece in cut.chunks} == {None}
    short = chunk_document(parse("a.md", text[:60].encode()).documents[0], token_starts)
    assert [piece.line for piece in short.chunks] == [1]
    page = chunk_document(parse("a.html", b"<p>words").documents[0], token_starts)
    assert [piece.line for piece in page.chunks] == [None]
