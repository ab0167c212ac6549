"""Texts to judge: without control characters, with the query's words marked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.cli.judge_text import harmless, marked


@given(st.text(), st.text())
def test_marking_leaves_out_nothing(text: str, query: str) -> None:
    pieces = marked(text, query)
    assert "".join(piece for piece, _ in pieces) == text
    assert all(piece for piece, _ in pieces) or not text


@given(st.text())
def test_control_characters_are_removed(text: str) -> None:
    assert all(char.isprintable() or char == "\n" for char in harmless(text))


def test_line_ends_and_lengths_are_kept() -> None:
    assert harmless("one\r\n\n\ttwo\x1b[1m\u202e") == "one\n\n two [1m "


@pytest.mark.parametrize(
    ("query", "text", "words"),
    [
        ("deleted objects", "Deletes an OBJECT after deletion, says a delegate",
         ["Deletes", "OBJECT", "deletion"]),
        ("how is the key used", "The keys: how is the keyboard used?", ["keys", "used"]),
        ("S3 log4j c++", "In S3, not S30; log4j and C.", ["S3", "log4j", "C"]),
        ("what is it", "what is it", []),
        ("?!", "a.b", []),
        ("größe", "Die Größe der Größen", ["Größe", "Größen"]),
    ],
)  # fmt: skip
def test_words_of_the_query_are_marked_with_other_endings(
    query: str, text: str, words: list[str]
) -> None:
    assert [piece for piece, is_marked in marked(text, query) if is_marked] == words
