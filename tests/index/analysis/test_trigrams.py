"""Proves that trigrams find what stands inside of words."""

import pytest

from resift.index.analysis.analyser import open_analyser
from resift.index.analysis.spec import NO_LANGUAGE, TRIGRAMS, AnalyserSpec

TRIGRAM = AnalyserSpec(TRIGRAMS, NO_LANGUAGE)


@pytest.mark.parametrize(
    ("document", "query"),
    [
        ("part XJ-4471/B2", "j-447"),
        ("part XJ-4471/B2", "4471"),
        ("error=E1042;retry", "1042"),
        ("a go", "GO"),
        ("Größe", "gro"),
        ("データベース", "タベ"),
        ("データ", "タ"),
        ("ที่ซ้ำซ้อน", "ซ้ำ"),
    ],
)
def test_a_part_is_met(document: str, query: str) -> None:
    analyser = open_analyser(TRIGRAM)
    terms = set(analyser.document(document)[0].split())
    asked = analyser.query(query).terms.split()
    assert asked and terms.issuperset(asked)


def test_the_whole_word_is_exact() -> None:
    analyser = open_analyser(TRIGRAM)
    assert analyser.document("Abcd e") == ("abc bcd e", "abcd e")
    assert analyser.query("ABCD").words == "abcd"
    assert analyser.document("データ") == ("デー ータ デ ー タ", "データ")
    assert analyser.query("データ").words == "データ"
