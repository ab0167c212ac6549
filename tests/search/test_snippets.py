"""Snippets: the sentences round the best one, within a budget of tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.search.snippets import MAX_CHARACTERS, snippet, words
from resift.search.token_counts import count_tokens
from search.hits import TEXTS

TEXT = (
    "The handbook has rules. The office opens at eight. The office has a kitchen. "
    "Your manager approves vacation. Ask two weeks before. The office is closed on Sundays."
)
QUERY = "who approved the vacation in the office?"
BEST = "Your manager approves vacation."


def piece(text: str, query: str, max_tokens: int, span: tuple[int, int] | None = None) -> str:
    piece = snippet(text, query, max_tokens, span)
    assert piece is not None and text[piece.start : piece.end] == piece.text
    return piece.text


def test_the_sentence_with_the_rare_words_of_the_query_is_the_best() -> None:
    assert piece(TEXT, QUERY, count_tokens(BEST)) == BEST


def test_sentences_after_and_before_it_follow_in_turn() -> None:
    two, three = f"{BEST} Ask two weeks before.", f"The office has a kitchen. {BEST} Ask"
    assert piece(TEXT, QUERY, count_tokens(two)) == two
    assert piece(TEXT, QUERY, count_tokens(two) + 4) == two
    assert piece(TEXT, QUERY, count_tokens(two) + 7).startswith(three)
    assert piece(TEXT, QUERY, 1000) == TEXT


def test_the_best_sentence_is_within_the_span() -> None:
    start = TEXT.index("Ask")
    assert piece(TEXT, QUERY, 8, (start, len(TEXT))) == "The office is closed on Sundays."
    assert piece(TEXT, "nothing", 5, (start, len(TEXT))) == "Ask two weeks before."


def test_without_a_shared_word_it_is_the_first_sentence() -> None:
    assert piece(TEXT, "quantum", 5) == "The handbook has rules."


def test_a_sentence_that_is_too_long_is_cut_after_a_word_and_shows_a_word_of_the_query() -> None:
    sentence = "so " * 60 + "vacation is approved by the manager of the team"
    assert piece(sentence, "quantum", 4) == "so so so so"
    assert piece(sentence, "vacation", 4) == "vacation is approved by"


def test_a_word_that_is_one_with_its_continuation_has_more_tokens_than_both() -> None:
    text = "x" * 400 + "hello"
    assert count_tokens(text) == 405 > count_tokens(text[:400]) + count_tokens(text[400:])
    assert piece(text, "query", 402) == "x" * 400


def test_another_form_of_a_word_matches_and_signs_of_cjk_match_one_by_one() -> None:
    assert words("Approves APPROVAL Straße") == ["appro", "appro", "stras"]
    assert words("max_memory_mb ＳＴＯＰ漢字abc สวย") == [
        *("max", "memor", "mb", "ｓｔｏｐ", "漢", "字", "abc", "ส", "ว", "ย"),
    ]
    assert piece("so " * 40 + "今日は休み、部長が承認", "承認", 8).startswith("承認")
    assert (
        piece("今日は休み。部長が休暇を承認します。", "休暇の承認", 12)
        == "部長が休暇を承認します。"
    )


@pytest.mark.parametrize("text", ["", " \n ", "\n\n\n" * 200])
def test_nothing_comes_of_a_text_without_signs(text: str) -> None:
    assert snippet(text, "query", 100) is None


def test_nothing_comes_of_a_budget_of_nothing() -> None:
    assert snippet(TEXT, QUERY, 0) is None


def test_of_a_very_long_text_the_part_round_the_span_is_looked_at() -> None:
    text = "Nothing here. " * 20_000 + "Your manager approves vacation. " + "Or there. " * 20_000
    at = text.index("Your")
    assert piece(text, QUERY, 6, (at, at + 30)) == BEST
    assert piece(text, QUERY, 3) == "Nothing here."
    late = snippet(text, QUERY, 5, (len(text) - 1, len(text)))
    assert late is not None and late.start > len(text) - MAX_CHARACTERS


@given(TEXTS, st.integers(3, 80), st.booleans(), st.data())
def test_a_snippet_never_has_more_tokens_than_asked_for(
    text: str, most: int, has_span: bool, data: st.DataObject
) -> None:
    span = None
    if has_span:
        start = data.draw(st.integers(0, len(text)))
        span = (start, data.draw(st.integers(start, len(text))))
    piece = snippet(text, "vacation 漢字", most, span)
    assert (piece is None) == (not text.strip())
    if piece is not None:
        assert count_tokens(piece.text) <= most
        assert text[piece.start : piece.end] == piece.text == piece.text.strip() != ""
