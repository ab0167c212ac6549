"""Proves which rows terms find, with which scores, within a filter or without."""

from pathlib import Path
from typing import Any

import lance
import pyarrow as arrow
import pytest
from lance.dataset import serialize_row_addrs
from lance.query import MatchQuery

from resift.index.analysis.analyser import Analyser, QueryTerms, open_analyser
from resift.index.analysis.spec import AnalyserSpec
from resift.index.table.rows import EXACT_TERMS, TERMS
from resift.index.table.term_indexes import TERM_INDEXES, index_terms, search_terms

TEXTS = (
    "running max_memory_mb",
    "run memory",
    "max memory mb " + "filler " * 40,
    "C++ is a language",
    "C# is a language",
    "state of the art",
    "sort lists",
    "sorting lists",
    *("unrelated words of many kinds" for _ in range(20)),
)


def table_of(texts: tuple[str, ...], path: Path) -> Any:
    terms = [analyser().document(text) for text in texts]
    columns = {TERMS: [line for line, _ in terms], EXACT_TERMS: [line for _, line in terms]}
    table = lance.write_dataset(arrow.table(columns), str(path))
    index_terms(table)
    return table


def analyser() -> Analyser:
    return open_analyser(AnalyserSpec())


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return table_of(TEXTS, tmp_path_factory.mktemp("terms") / "table")


def ranked(table: Any, query: str, k: int = 10, **options: Any) -> list[str]:
    scores = search_terms(table, analyser().query(query), k, **options)
    return [TEXTS[row] for row in sorted(scores, key=lambda row: -scores[row])]


def test_both_columns_are_indexed_as_they_are(table: Any) -> None:
    assert {index.name for index in table.describe_indices()} == {*TERM_INDEXES.values()}
    assert ranked(table, "C++")[0] == "C++ is a language"
    assert ranked(table, "C#")[0] == "C# is a language"


@pytest.mark.parametrize(
    ("query", "first"), [("run", 1), ("sorting", 7), ("max_memory_mb", 0), ("the art", 5)]
)
def test_the_exact_form_comes_first(table: Any, query: str, first: int) -> None:
    assert ranked(table, query)[0] == TEXTS[first]


def test_a_query_without_terms_finds_nothing(table: Any) -> None:
    assert search_terms(table, QueryTerms("", "", ""), 10) == {}


def test_scores_are_the_sums_of_both_columns(table: Any) -> None:
    """Also of rows that only one column has brought."""
    terms = analyser().query("running max_memory_mb")
    assert (terms.words, terms.identifiers) == ("running memory", "max_memory_mb")

    def scores_of(line: str, column: str) -> dict[int, float]:
        rows = table.scanner(
            columns=["_score"], with_row_id=True, full_text_query=MatchQuery(line, column)
        ).to_table()
        return dict(zip(rows["_rowid"].to_pylist(), rows["_score"].to_pylist(), strict=True))

    stems = scores_of(terms.terms, TERMS)
    words = scores_of(terms.words, EXACT_TERMS)
    names = scores_of(terms.identifiers, EXACT_TERMS)
    scores = search_terms(table, terms, 10)
    assert {*scores} == {*stems} and {*names} == {0}
    for row, score in scores.items():
        expected = stems[row] + 0.1 * words.get(row, 0) + 0.5 * names.get(row, 0)
        assert score == pytest.approx(expected, rel=1e-5)


def test_an_identifier_brings_rows_that_its_parts_do_not(tmp_path: Path) -> None:
    """Its parts are common, and rows with more of them come first until it is whole."""
    name = "read.lock" + " filler" * 50
    table = table_of((*("read lock read lock" for _ in range(300)), name), tmp_path / "table")
    terms = analyser().query("read.lock")
    alone = search_terms(table, QueryTerms(terms.terms, "", ""), 5)
    assert len(alone) == 55 and 300 not in alone
    scores = search_terms(table, terms, 5)
    assert len(scores) == 56
    every = search_terms(table, terms, 400)
    assert scores[300] == pytest.approx(every[300])


def test_a_row_that_its_parts_bring_has_the_score_of_its_identifier_too(tmp_path: Path) -> None:
    """Rows with fewer identifiers have more of this one, and fill the list of the identifier."""
    parts = "read lock " * 90 + "read.lock " + " ".join(f"other.name{n}" for n in range(9))
    table = table_of((*("read.lock" for _ in range(300)), parts), tmp_path / "table")
    terms = analyser().query("read.lock")
    assert 300 not in search_terms(table, QueryTerms("none", "", terms.identifiers), 5)
    scores, every = search_terms(table, terms, 5), search_terms(table, terms, 400)
    assert scores[300] == pytest.approx(every[300])


def test_a_filter_holds_for_every_clause(table: Any) -> None:
    allowed = serialize_row_addrs([1, 2])
    assert {*ranked(table, "running max_memory_mb", allowed=allowed)} == {TEXTS[1], TEXTS[2]}
    assert ranked(table, "C++", allowed=allowed) == []


def test_the_terms_of_deleted_rows_are_forgotten(tmp_path: Path) -> None:
    table = table_of(TEXTS, tmp_path / "table")
    table.delete("_rowid >= 8")
    index_terms(table)
    few = search_terms(table, analyser().query("max_memory_mb"), 3)
    fresh = search_terms(
        table_of(TEXTS[:8], tmp_path / "fresh"), analyser().query("max_memory_mb"), 3
    )
    assert few == pytest.approx(fresh)
