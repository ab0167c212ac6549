"""Proves that passages are exact slices: in order, apart, nothing lost, none too long."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from resift.index.parsing.chunking import chunk
from resift.index.parsing.documents import Chunk, Section

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
    places = [0, 4, 17, 21, len(text)]
    sections = [Section(places[n], places[n + 1], name) for n, name in enumerate(names)]
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
