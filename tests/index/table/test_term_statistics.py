"""Proves that Lance's own files tell in how many rows a token occurs, by counting them here."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lance
import pyarrow as arrow
import pytest
from lance.file import LanceFileReader
from lance.query import MatchQuery

from resift.index.table import term_statistics
from resift.index.table.bm25 import weights
from resift.index.table.rows import EXACT_TERMS, TERMS
from resift.index.table.term_indexes import index_terms
from resift.index.table.term_statistics import TermStatistics, read_statistics
from resift.index.table.token_ids import TokenIds

# One after another in the middle of tokens: the format has a short form for some bytes.
CHARACTERS = [chr(code) for code in range(33, 127)] + ["é", "ß", "日", "本", "\U0001f600"]


def lines() -> list[str]:
    random.seed(3)
    tokens = [f"Q{at:03}{char}zz{char}" for at, char in enumerate(CHARACTERS)] + CHARACTERS
    tokens += ["".join(random.choices(CHARACTERS, k=random.randint(1, 8))) for _ in range(2_000)]
    tokens += ["x" * 300, "run", "running", "runs"]
    return ["", *(" ".join(random.choices(tokens, k=20)) for _ in range(500)), " ".join(tokens)]


def table_of(rows: Sequence[str], path: Path) -> Any:
    column = arrow.array(rows, arrow.string())
    empty = arrow.array([""] * len(rows), arrow.string())
    dataset = lance.write_dataset(arrow.table({TERMS: column, EXACT_TERMS: empty}), str(path))
    index_terms(dataset)
    return dataset


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return table_of(lines(), tmp_path_factory.mktemp("statistics") / "table")


@pytest.fixture(scope="module")
def statistics(table: Any) -> TermStatistics:
    return read_statistics(table)[TERMS]


def test_each_token_has_the_number_of_its_rows(statistics: TermStatistics) -> None:
    rows = [line.split() for line in lines()]
    counts = Counter(token for row in rows for token in set(row))
    assert {token: statistics.frequency(token) for token in counts} == counts
    with_tokens = [row for row in rows if row]
    assert (statistics.rows, statistics.tokens) == (len(with_tokens), sum(map(len, rows)))


def test_a_token_that_is_in_no_row_has_none(statistics: TermStatistics) -> None:
    tokens = {token for line in lines() for token in line.split()}
    others = {token[:-1] for token in tokens} | {f"{token}e" for token in tokens} | {"", "zzz"}
    assert len(others - tokens) > 2_000
    assert {statistics.frequency(token) for token in others - tokens} == {0}


def test_weights_give_the_scores_of_lance(table: Any, statistics: TermStatistics) -> None:
    query = lines()[7].split()[:6]
    frequencies = {token: statistics.frequency(token) for token in query}
    scores = weights(frequencies, statistics.rows, statistics.tokens)
    found_by = MatchQuery(" ".join(query), TERMS)
    rows = table.scanner(columns=[TERMS, "_score"], full_text_query=found_by).to_table()
    assert len(rows) > 10
    expected = rows["_score"].to_pylist()
    actual = [scores.score(line.split()) for line in rows[TERMS].to_pylist()]
    assert actual == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("rows", [(), ("", "")], ids=["no rows", "no tokens"])
def test_a_column_without_tokens_has_no_statistics(rows: tuple[str, ...], tmp_path: Path) -> None:
    for statistics in read_statistics(table_of(rows, tmp_path / "empty")).values():
        assert (statistics.rows, statistics.tokens, statistics.frequency("a")) == (0, 0, 0)
    assert weights({"a": 0}, 0, 0).score(["a"]) > 0  # of rows that were written since


def test_a_table_without_indexes_has_no_statistics(tmp_path: Path) -> None:
    table = lance.write_dataset(arrow.table({TERMS: ["a"], EXACT_TERMS: ["a"]}), str(tmp_path))
    assert {each.rows for each in read_statistics(table).values()} == {0}


def test_another_format_of_lance_is_refused(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(LanceFileReader):
        def read_all(self, **options: Any) -> Any:
            read = super().read_all(**options)
            monkeypatch.setattr(read, "to_table", lambda: read.reader.read_all().slice(0, 1))
            return read

    monkeypatch.setattr(lance.file, "LanceFileReader", Cut)
    with pytest.raises(ValueError, match="1 posting lists"):
        term_statistics.read_statistics(table)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "format 0"),
        (b"\x02" + bytes(60), "format 2"),
        (b"\x03" + bytes(47) + b"\xff" * 20, "damaged"),
    ],
)
def test_a_dictionary_of_another_format_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        TokenIds(data)


def test_the_length_of_a_row_and_of_a_mean_row_change_its_score() -> None:
    scored = weights({"a": 1}, 10, 100)
    assert scored.score(["a"]) > scored.score(["a", *"b" * 20]) > scored.score(["b"]) == 0
    assert weights({"a": 1}, 10, 1000).score(["a", *"b" * 20]) > scored.score(["a", *"b" * 20])
    assert scored.score(["a", "a", "b"]) > scored.score(["a", "b", "b"])
    assert weights({"a": 9}, 10, 100).score(["a"]) < scored.score(["a"])
