"""Parts are the whole text, none overlaps another, and they end where people end a sentence."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.rerank.sentences import MAX_CHARACTERS, MAX_PARTS, sentences
from texts import passages

prose = st.text(st.sampled_from("aB1 .!?\n\t-,;。！é\u0301“”\"'(…物।\u200b\x1b"), max_size=300)


def _parts(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@given(st.one_of(prose, st.text(max_size=200)), st.integers(1, 70))
def test_parts_are_the_text_in_order_without_gap_or_overlap(text: str, most: int) -> None:
    spans = sentences(text, most)
    assert "".join(text[start:end] for start, end in spans) == text
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]
    assert all(start < end for start, end in spans)
    assert len(spans) <= most


@pytest.mark.parametrize("text", passages(30))
def test_real_prose_is_cut_into_parts_of_readable_length(text: str) -> None:
    parts = _parts(text)
    assert "".join(parts) == text
    assert len(text) / MAX_CHARACTERS <= len(parts) <= MAX_PARTS
    assert max(map(len, parts)) <= MAX_CHARACTERS


@pytest.mark.parametrize(
    "parts",
    [
        ["One ends. ", "Another begins."],
        ["Really?! ", "Yes! ", "Well… ", "No."],
        ["He said “stop.” ", "“Why?” ", "(She went.) ", "Then he."],
        ["Dr. Smith and Prof. J. R. Doe came. ", "They left."],
        [
            "It costs 3.5 or e.g. Three. ",
            "See fig. 3 and No. 5 there. ",
            "The answer is no. ",
            "So.",
        ],
        ["It came from the U.S. Army. ", "It stayed."],
        ["See https://a.example/b.html?C=d. ", "Call os.path.join. ", "Ends."],
        ["A heading\n", "A line that goes\non in lower case. ", "And ends."],
        ["A list:\n", "- one\n", "- two\n", "* three\n", "1. Four\n", "12. Five\n", "b) six"],
        ["A list,\nTwo lines of it."],
        ["A paragraph\n\n", "another one in lower case"],
        ["物があります。", "「はい。」", "終わり！", "次"],
        ["यह एक है। ", "यह दो है।"],
        ["Elle dit : « Non. » ", "Éric part."],
        ["version 2. of it goes on. ", "New."],
        ["  indented first. ", "Second.\n\n"],
        ["First.\r\n", "Second.\r\n\r\n", "third"],
    ],
)
def test_sentences_end_where_people_end_them(parts: list[str]) -> None:
    assert _parts("".join(parts)) == parts


def test_a_long_part_is_cut_at_spaces_and_without_any_by_length() -> None:
    words = _parts("word " * 200)
    assert all(part.endswith(" ") and len(part) <= MAX_CHARACTERS for part in words)
    assert [len(part) for part in _parts("物" * 900)] == [MAX_CHARACTERS, MAX_CHARACTERS, 100]


def test_many_sentences_are_joined_to_parts_of_like_length() -> None:
    lengths = [len(part) for part in _parts("So it is. " * 1000)]
    assert MAX_PARTS * 0.8 < len(lengths) <= MAX_PARTS and max(lengths) <= 2 * min(lengths)


def test_nothing_has_no_parts() -> None:
    assert (sentences(""), sentences(" \n")) == ([], [(0, 2)])


@pytest.mark.parametrize(
    "unit", [".", "\n", " ", ". ", "A. ", "\n ", "a", "(", "e.g.", "。", "1.\n"]
)
def test_no_text_takes_more_than_linear_time(unit: str) -> None:
    text = unit * (400_000 // len(unit))
    start = time.thread_time()
    assert "".join(_parts(text)) == text
    assert time.thread_time() - start < 5
