"""Proves which words of a query are searched for."""

import pytest

from resift.index.analysis.analyser import open_analyser
from resift.index.analysis.spec import AnalyserSpec


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("how do I delete a bucket", "delet bucket"),
        ("What does the lock do?", "lock"),
        ("to be or not to be", "to be or not"),
        ("The Who", "the who"),
        ("the who", "the who"),
        ("IT", "it"),
        ("not", "not"),
        ("IT department", "it depart"),
        ("tours of The Who in Leeds", "tour the who leed"),
        ("vitamin A deficiency", "vitamin a defici"),
        ("How Do I Delete A Bucket", "delet bucket"),
        ("why don't locks expire", "lock expir"),
        ("what is it", "what is it"),
        ("vitamin a", "vitamin a"),
        ("let it be", "let it be"),
        ("what is a lock", "lock"),
    ],
)
def test_stop_words_stay_where_they_matter(query: str, terms: str) -> None:
    assert open_analyser(AnalyserSpec()).query(query).terms == terms


def test_other_languages_have_no_stop_words() -> None:
    assert open_analyser(AnalyserSpec(language="german")).query("der Hund").terms == "der hund"
    assert open_analyser(AnalyserSpec(language="none")).query("the dog").terms == "the dog"
