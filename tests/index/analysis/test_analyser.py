"""Proves what holds for the terms of any text."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resift.index.analysis.analyser import Analyser, open_analyser
from resift.index.analysis.spec import NO_LANGUAGE, TRIGRAMS, AnalyserSpec

ANALYSERS = [
    AnalyserSpec(),
    AnalyserSpec(language="german"),
    AnalyserSpec(language=NO_LANGUAGE),
    AnalyserSpec(TRIGRAMS, NO_LANGUAGE),
]
ANY_TEXT = st.text(max_size=60) | st.from_regex(
    r"[\w .,:/_@#+\-'’\u4e00-\u4e20\u0e01-\u0e5b]{1,40}"
)
CJK = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), min_size=2, max_size=30)
INVISIBLE = "\u00ad\u200c\u200d\u2060\ufeff\u200e\ufe0f"
WORD = st.from_regex(r"[a-z]{2,8}", fullmatch=True)

every_analyser = pytest.mark.parametrize("spec", ANALYSERS, ids=str)


@every_analyser
@given(text=ANY_TEXT)
def test_terms_are_pure_and_have_no_white_space(spec: AnalyserSpec, text: str) -> None:
    analyser = open_analyser(spec)
    lines = analyser.document(text)
    assert lines == analyser.document(text) == open_analyser.__wrapped__(spec).document(text)
    for line in lines:
        terms = line.split(" ") if line else []
        assert all(terms) and " ".join(terms) == line
        assert not any(character.isspace() for term in terms for character in term)


@every_analyser
@given(text=ANY_TEXT)
def test_a_document_has_each_term_of_a_query_of_its_text(spec: AnalyserSpec, text: str) -> None:
    analyser = open_analyser(spec)
    terms, exact = (set(line.split()) for line in analyser.document(text))
    query = analyser.query(text)
    assert terms.issuperset(query.terms.split())
    assert exact.issuperset(f"{query.words} {query.identifiers}".split())
    assert bool(query.terms) == bool(terms)


@every_analyser
@given(parts=st.lists(st.text("abzäé.-_'C2", max_size=5), max_size=8), data=st.data())
def test_invisible_characters_change_nothing(
    spec: AnalyserSpec, parts: list[str], data: st.DataObject
) -> None:
    hidden = data.draw(st.sampled_from(INVISIBLE))
    analyser = open_analyser(spec)
    assert analyser.document(hidden.join(parts)) == analyser.document("".join(parts))


@every_analyser
@given(text=st.text(max_size=40))
def test_the_form_of_unicode_changes_nothing(spec: AnalyserSpec, text: str) -> None:
    analyser = open_analyser(spec)
    composed, apart = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert analyser.document(composed) == analyser.document(apart)


@given(words=st.lists(WORD, min_size=1, max_size=6))
def test_case_changes_no_stem_of_a_plain_word(words: list[str]) -> None:
    english = open_analyser(AnalyserSpec())
    text = " ".join(words)
    assert english.document(text) == english.document(text.upper())
    assert english.document(text)[0] == english.document(text.title())[0]


@given(text=CJK, data=st.data())
def test_each_part_of_a_chinese_run_is_met(text: str, data: st.DataObject) -> None:
    english = open_analyser(AnalyserSpec())
    start = data.draw(st.integers(0, len(text) - 1))
    part = text[start : data.draw(st.integers(start + 1, len(text)))]
    terms = set(english.document(text)[0].split())
    assert terms.issuperset(english.query(part).terms.split())


@given(
    words=st.lists(WORD, min_size=2, max_size=4),
    style=st.sampled_from(["camel", "pascal", "_", ".", "-", "/", "::"]),
)
@settings(max_examples=60)
def test_an_identifier_has_the_terms_of_its_words(words: list[str], style: str) -> None:
    english = open_analyser(AnalyserSpec())
    # Shorter parts look like encoded data.
    words = [f"{word}ing" for word in words]
    if style in ("camel", "pascal"):
        name = "".join(map(str.title, words))
        name = name if style == "pascal" else words[0] + "".join(map(str.title, words[1:]))
    else:
        name = style.join(words)
    terms, exact = (line.split() for line in english.document(name))
    assert set(terms).issuperset(english.query(" ".join(words)).terms.split())
    assert name.lower() in exact
    assert name.lower() in f"{english.query(name).identifiers} {english.query(name).words}".split()


def test_analysers_of_equal_specifications_are_one() -> None:
    assert open_analyser(AnalyserSpec()) is open_analyser(AnalyserSpec())
    assert isinstance(open_analyser(AnalyserSpec()), Analyser)
