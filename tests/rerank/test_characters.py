"""No accent, emoji, flag or syllable is split, in any script; other characters are all borders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.rerank.characters import MAX_CHARACTER, is_border, last_border, next_border

WHOLE = {
    "accent": "e\u0301",
    "stacked accents": "a\u0300\u0301\u0302",
    "hindi vowel": "कि",
    "thai vowel and tone": "ที่",
    "thai sara am": "น\u0e33",
    "tamil": "நி",
    "arabic vowel": "بَ",
    "hebrew point": "שָ",
    "korean letters": "\u1112\u1161\u11ab",
    "korean syllable and tail": "가\u11a8",
    "family": "👩‍👩‍👧‍👦",
    "skin tone": "👍🏽",
    "skin tone and joiner": "👩🏽‍🚀",
    "flag": "🇩🇪",
    "flag of a part": "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "keycap": "1\ufe0f\u20e3",
    "line end": "\r\n",
}


@pytest.mark.parametrize("character", WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("around", ["x", "深", "ا", "ก", " ", ""])
def test_what_a_reader_sees_as_one_character_has_no_border_inside(
    character: str, around: str
) -> None:
    text, begin = f"{around}{character}{around}", len(around)
    inside = range(begin + 1, begin + len(character))
    assert [is_border(text, index) for index in inside] == [False] * len(inside)
    assert is_border(text, begin) and is_border(text, begin + len(character))
    assert {next_border(text, index) for index in inside} <= {begin + len(character)}
    assert {last_border(text, index) for index in inside} <= {begin}


@pytest.mark.parametrize("text", ["plain", "深圳市", "ひらがな", "한국어", "🙂🙂", "العربية"])
def test_between_other_characters_there_is_a_border(text: str) -> None:
    assert all(is_border(text, index) for index in range(len(text) + 1))
    assert [next_border(text, index) for index in range(len(text) + 1)] == [*range(len(text) + 1)]


def test_two_letters_are_a_flag_and_the_third_begins_another() -> None:
    text = "🇩🇪🇫🇷🇮🇹"
    assert [is_border(text, index) for index in range(7)] == [n % 2 == 0 for n in range(7)]


def test_an_endless_character_is_split() -> None:
    text = "e" + "\u0301" * 10_000
    assert next_border(text, 1) == 1 + MAX_CHARACTER


@given(st.text(max_size=30), st.integers(0, 40))
def test_a_border_is_never_far_and_never_outside(text: str, index: int) -> None:
    index = min(index, len(text))
    border = next_border(text, index)
    assert index <= border <= len(text) and is_border(text, border)
    border = last_border(text, index)
    assert 0 <= border <= index and is_border(text, border)
