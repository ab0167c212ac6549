"""Proves which characters are words: letters and marks of all scripts, and nothing else."""

import sys
import unicodedata

from resift.index.analysis.characters import clusters, tokens


def test_each_letter_and_digit_is_a_token() -> None:
    """But for those beyond the planes of living scripts, such as tags."""
    lost = []
    for code in range(sys.maxunicode + 1):
        category = unicodedata.category(chr(code))
        if category[0] == "L" or category == "Nd":
            match = tokens().fullmatch(chr(code))
            if match is None:
                lost.append(hex(code))
    assert lost == []


def test_punctuation_and_spaces_are_no_tokens() -> None:
    for code in range(0x20000):
        character = chr(code)
        category = unicodedata.category(character)
        if character != "_" and (category[0] in "PZ" or category in ("Cc", "Cf")):
            assert not tokens().search(character), hex(code)


def test_marks_stay_with_their_letters() -> None:
    for word in ("हिन्दी", "বাংলা", "தமிழ்", "עִבְרִית", "العَرَبِيَّة", "e\u0301te\u0301"):
        assert [match.group() for match in tokens().finditer(word)] == [word]


def test_a_cluster_has_its_marks() -> None:
    assert clusters().findall("ที่ซ้ำ") == ["ที่", "ซ้", "ำ"]
    assert clusters().findall("ស្ប៉ា") == ["ស្ប៉ា"]
    assert clusters().findall("日本") == ["日", "本"]
