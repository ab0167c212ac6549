"""Invisible characters split no words in either retriever, and citations keep their offsets."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift import Index
from resift.index.normalisation import is_visible, searchable


@pytest.mark.parametrize(
    ("text", "searched"),
    [
        ("Donau\u00addampf\u00adschiff", "Donaudampfschiff"),
        ("zero\u200bwidth\u200c\u200djoined\u2060\ufeff", "zerowidthjoined"),
        ("\u200eleft\u200f \u202aright\u202c", "left right"),
        ("cafe\u0301", "café"),
        ("A\u030angstro\u0308m", "Ångström"),
        ("\ufb01nd the \ufb04uent o\ufb00er", "find the ffluent offer"),
        ("no\u00a0break\u2009thin\u2028line\u3000wide", "no break thin line wide"),
        ("don\u0092t \u0093x\u0094 \u0081", "don’t “x”  "),
        ("ＡＢＣ１２", "ABC12"),
        ("\ufefb", "لا"),
        ("ភាសា\u200bខ្មែរ", "ភាសា ខ្មែរ"),
        ("plain\nASCII", "plain\nASCII"),
        ("10² ½ … ™", "10² ½ … ™"),
    ],
)
def test_searchable_text_is_what_a_reader_sees(text: str, searched: str) -> None:
    assert searchable(text) == searched


@given(st.text())
def test_searchable_text_is_normalised_and_stays_so(text: str) -> None:
    once = searchable(text)
    assert searchable(once) == once
    assert unicodedata.is_normalized("NFC", once)


def test_invisible_characters_are_no_text() -> None:
    assert not is_visible(" \u200b\ufeff\u00ad\n\u00a0")
    assert is_visible("\u200bx")


def test_text_with_invisible_characters_is_found_and_cited_with_its_offsets(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    text = "Die Donau\u00addampf\u00adschiff\u00adfahrt e\u0301tait \u200b\ufb01nie\u2060.\n"
    (source / "a.txt").write_text(text)
    (source / "b.txt").write_text("Something else altogether.\n")
    index = Index(str(tmp_path / "index"))
    index.sync(str(source))
    for query in ("Donaudampfschifffahrt", "Donau\u00addampfschiff\u200bfahrt", "était", "finie"):
        (first, *_) = index.search(query, mode="lexical", rerank=False)
        assert first.text == text.strip()
        assert first.citation
        start, end = first.citation.start, first.citation.end
        assert text[start:end] == first.text
        assert index.verify_citation(first.id).status == "verified"
