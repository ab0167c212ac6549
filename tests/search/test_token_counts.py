"""Counting tokens: no text seems shorter than it is, and what fits does fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.index.parsing.chunking import token_starts
from resift.search.token_counts import count_tokens, fitting
from search.hits import TEXTS


def test_english_counts_as_chunks_do() -> None:
    text = "The manager approves vacation, two weeks before.\n" * 300
    assert count_tokens(text) == len(token_starts(text)) == 300 * 10


@given(TEXTS)
def test_no_text_has_fewer_tokens_than_in_chunks(text: str) -> None:
    assert count_tokens(text) >= len(token_starts(text))


@pytest.mark.parametrize(
    "text", ["ภาษาไทยเป็นภาษาที่มี", "😀" * 20, "\u200b" * 20, "e" + "\u0301" * 20, "k7" * 60]
)
def test_signs_that_the_tokenizer_does_not_know_or_skips_count(text: str) -> None:
    assert len(token_starts(text)) <= 20 / 2
    assert count_tokens(text) >= 20


def test_long_white_space_counts() -> None:
    assert count_tokens("a" + " " * 800 + "b") == 2 + 100


@given(TEXTS, TEXTS)
def test_counts_of_texts_on_lines_of_their_own_add_up(first: str, second: str) -> None:
    together = count_tokens(f"{first.strip()}\n{second.strip()}")
    assert together == count_tokens(first.strip()) + count_tokens(second.strip())


@given(TEXTS, st.integers(1, 60))
def test_the_beginning_that_fits_has_no_more_tokens_and_is_never_empty(
    text: str, most: int
) -> None:
    end = fitting(text, most)
    assert count_tokens(text[:end]) <= most
    assert end > 0 or count_tokens(text[:1]) > most or not text
    assert end == len(text) or count_tokens(text) > most


def test_the_cut_is_after_a_sentence_if_one_ends_near_else_after_a_word() -> None:
    text = "The manager approves it. Ask two weeks before the first day of your vacation."
    assert text[: fitting(text, 8)] == "The manager approves it. "
    assert (
        text[: fitting(text, 14)]
        == "The manager approves it. Ask two weeks before the first day of"
    )
    assert count_tokens("approves") == 2 and text[: fitting(text, 3)] == "The manager "
    assert fitting(text, 0) == 0


def test_no_character_of_several_code_points_is_cut() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert fitting(family * 4, 8) == len(family)


def test_another_count_may_be_stricter() -> None:
    text = "one two three four five six"
    assert text[: fitting(text, 4, lambda part: 2 * count_tokens(part))] == "one two"
