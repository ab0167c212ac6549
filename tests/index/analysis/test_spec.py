"""Proves what may be chosen, what fits an index, and what its records may say."""

import pytest
import Stemmer

from resift.errors import IndexMismatch, InputError
from resift.index.analysis.spec import (
    ANY_ANALYSER,
    LANGUAGES,
    RULES,
    AnalyserChoice,
    AnalyserSpec,
    check_rules,
    checked_choice,
    checked_spec,
    read_spec,
)

GERMAN = AnalyserSpec(language="german")


def test_snowball_has_each_language_and_no_other() -> None:
    old = {"porter", "dutch_porter"}
    assert {*LANGUAGES.values()} == {*Stemmer.algorithms()} - old


@pytest.mark.parametrize(
    ("language", "name"),
    [("de", "german"), ("German", "german"), ("en-US", "english"), ("pt_BR", "portuguese"),
     ("NONE", "none"), ("no", "norwegian"), (None, None)],
)  # fmt: skip
def test_languages_have_names_and_codes(language: str | None, name: str | None) -> None:
    assert checked_choice(None, language) == AnalyserChoice(None, name)


@pytest.mark.parametrize(
    ("analyser", "language", "message"),
    [
        (None, "germann", "language='germann': expected one of .*, perhaps german"),
        (None, "xx", "language='xx': expected one of arabic"),
        (None, 3, "language=3: expected one of"),
        (None, "", "language=.*: expected one of"),
        ("trigram", None, "analyser='trigram': expected one of words, trigrams, perhaps trigrams"),
        ("trigrams", "de", "language='de': trigrams are the same in each language; leave"),
    ],
)
def test_other_names_are_refused(analyser: object, language: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_choice(analyser, language)


def test_a_new_index_has_the_choice_or_the_default() -> None:
    assert ANY_ANALYSER.spec(None, "u") == AnalyserSpec("words", "english", RULES)
    assert checked_choice(None, "de").spec(None, "u") == GERMAN
    assert checked_choice("trigrams", None).spec(None, "u") == AnalyserSpec("trigrams", "none")


def test_an_index_keeps_its_analyser() -> None:
    assert ANY_ANALYSER.spec(GERMAN, "u") == checked_choice("words", "de").spec(GERMAN, "u")
    for choice in (checked_choice(None, "en"), checked_choice("trigrams", None)):
        with pytest.raises(
            IndexMismatch, match=r"u: made with the analyser words for .*german, not"
        ):
            choice.spec(GERMAN, "u")


@pytest.mark.parametrize(
    ("rules", "remedy"), [(RULES + 1, "update resift"), (RULES - 1, "build a new index")]
)
def test_other_rules_are_refused_with_what_to_do(rules: int, remedy: str) -> None:
    with pytest.raises(IndexMismatch, match=f"u: made with version {rules} .*: {remedy}"):
        check_rules(AnalyserSpec(rules=rules), "u")


def test_a_specification_is_read_as_it_was_written() -> None:
    assert read_spec(str(GERMAN)) == GERMAN
    # A later version may have others; it is refused by its number, not as damage.
    assert checked_spec("bytes", "klingon", RULES + 1).name == "bytes"


@pytest.mark.parametrize(
    "text", ["", "words", "words german", "words german x", "words german 0", "a b c d",
             "words klingon 1", "bytes german 1", "wo/rds german 1", "words ger/man 1"]
)  # fmt: skip
def test_another_text_is_no_specification(text: str) -> None:
    with pytest.raises(ValueError):
        read_spec(text)


@pytest.mark.parametrize("rules", [True, 1.0, "1", None, -1])
def test_a_record_with_odd_rules_is_damaged(rules: object) -> None:
    with pytest.raises(ValueError, match="rules"):
        checked_spec("words", "german", rules)
