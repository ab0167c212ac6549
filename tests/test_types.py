"""The frozen vocabulary: what is equal has one hash, whatever a document carries along."""

import json
import sys
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from resift import Candidate, Citation, Document, Hit, MissingExtra, Ranking, Reranker
from resift.cli.as_json import lines
from resift.plain_json import plain
from resift.settings import Settings

METADATA = {"tags": ["a", {"b": 1}]}


@pytest.fixture(scope="module")
def tiny(joint_folder: Path) -> Reranker:
    """One small model."""
    return Reranker(joint_folder, settings=Settings())


def test_documents_are_keys_and_metadata_is_no_part_of_their_hash() -> None:
    document = Document("a", "red", metadata=METADATA)
    assert hash(document) == hash(Document("a", "red", metadata=dict(METADATA)))
    assert hash(document) == hash(replace(document, metadata={}))
    assert document != replace(document, metadata={})
    assert {document: 1}[Document("a", "red", metadata=dict(METADATA))] == 1
    candidate = Candidate("a", "red", metadata=METADATA, rank=1, score=0.5)
    assert len({candidate, replace(candidate), replace(candidate, metadata={})}) == 2
    assert isinstance(hash(replace(candidate, citation=Citation("s3://b/k", "a", 0, 3))), int)


def test_what_a_ranking_holds_are_keys(tiny: Reranker) -> None:
    documents: list[Any] = [Document("a", "red. sky.", metadata=METADATA), "blue", None]
    ranking = tiny.rank("red", documents)
    again = tiny.rank("red", documents)
    assert ranking[0] == again[0]
    assert hash(ranking[0]) == hash(again[0])
    assert len({*ranking, *again}) == 3
    same = replace(again, receipt=ranking.receipt)
    assert same == ranking
    assert hash(same) == hash(ranking)
    assert hash(replace(ranking.receipt, timings_ms={})) == hash(ranking.receipt)
    made: list[Hashable] = [ranking.receipt, ranking.explain(0), ranking.compare(0, 1)]
    assert all(isinstance(hash(value), int) for value in made)
    scored = tiny.score_candidates("red", documents)
    assert scored == scored
    assert scored != tiny.score_candidates("red", documents)
    assert isinstance(hash(scored), int)


def test_a_hash_makes_no_hits(tiny: Reranker) -> None:
    ranking = tiny.rank("red", ["red"] * 50_000, None, budget_ms=0)
    assert isinstance(hash(ranking), int)
    assert ranking._source is not None


def test_numbers_of_numpy_are_no_part_of_a_hit(tiny: Reranker) -> None:
    hit = tiny.rank("red", [Candidate("a", "red", rank=np.int64(3), score=np.float32(1))])[0]  # type: ignore[arg-type]
    assert hash(hit) == hash(replace(hit))


def ranked(tiny: Reranker) -> Ranking:
    odd = {"when": np.datetime64("2024-01-02"), "share": np.float32("nan"), "tags": {"a"}}
    documents: list[Any] = [
        Candidate("a", "red", metadata=odd, rank=2, citation=Citation("s3://b/k", "a", 0, 3)),
        "blue red",
        None,
    ]
    return tiny.rank("red", documents)


def test_hits_as_dicts_are_what_the_command_prints(tiny: Reranker) -> None:
    ranking = ranked(tiny)
    rows = ranking.to_dicts()
    assert rows == json.loads(json.dumps(rows, allow_nan=False)) == lines(ranking)
    assert [list(row) for row in rows] == [list(Hit.__dataclass_fields__)] * 3
    row = next(row for row in rows if row["id"] == "a")
    assert row["citation"]["uri"] == "s3://b/k" and row["span"] == [0, 3]
    assert row["metadata"] == {"when": "2024-01-02", "share": None, "tags": ["a"]}
    assert tiny.rank("red", []).to_dicts() == []


class Bad:
    """An object whose every text raises."""

    def __repr__(self) -> str:
        raise ValueError("no text")

    __str__ = __repr__


class BadText(str):
    """A string whose `__str__` raises."""

    def __str__(self) -> str:
        raise ValueError("no text")


class Deep:
    """An object whose attributes raise, and that has no length and no items."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __index__(self) -> int:
        raise RuntimeError("no index")

    def __str__(self) -> str:
        return "deep"


class BadMapping(dict[str, int]):
    """A dict whose items raise."""

    def items(self) -> Any:
        raise KeyError("gone")


@dataclass
class Slotted:
    """A dataclass with a field that is missing."""

    value: int

    def __repr__(self) -> str:
        return "slotted"


def test_metadata_that_raises_becomes_text() -> None:
    missing = Slotted(1)
    del missing.value
    loop: list[Any] = [1]
    loop += [loop, loop]
    values = {
        "object": Bad(),
        "list": [1, Bad()],
        "text": BadText("red"),
        "attributes": Deep(),
        "mapping": BadMapping(a=1),
        "field": missing,
        "number": 10**5000,
        "digits": 10**4000,
        "loop": loop,
        Bad(): 2,
    }
    expected = {
        "object": "<Bad object>",
        "list": [1, "<Bad object>"],
        "text": "red",
        "attributes": "deep",
        "mapping": "{'a': 1}",
        "field": "slotted",
        "number": "<int object>",
        "digits": 10**4000,
        "loop": [1, str(loop), str(loop)],
        "<Bad object>": 2,
    }
    assert plain(values) == expected
    assert json.loads(json.dumps(plain(values))) == expected


def test_to_dicts_leaves_iterators_of_the_metadata_unread(tiny: Reranker) -> None:
    numbers = (n for n in range(3))
    pairs = zip("ab", "cd", strict=True)
    metadata = {"numbers": numbers, "pairs": [pairs], "bad": Bad(), "range": range(2)}
    ranking = tiny.rank("red", [Document("a", "red", metadata=metadata)])
    (first,) = ranking.to_dicts()
    assert first["metadata"] == {
        "numbers": str(numbers),
        "pairs": [str(pairs)],
        "bad": "<Bad object>",
        "range": [0, 1],
    }
    assert ranking.to_dicts() == [first]
    assert list(numbers) == [0, 1, 2] and len(list(pairs)) == 2


def test_hits_as_a_table_have_a_row_each(tiny: Reranker, monkeypatch: pytest.MonkeyPatch) -> None:
    def frame(rows: list[list[Any]], columns: list[str]) -> list[dict[str, Any]]:
        return [dict(zip(columns, row, strict=True)) for row in rows]

    pandas = ModuleType("pandas")
    pandas.DataFrame = frame  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    ranking = ranked(tiny)
    rows = ranking.to_pandas()
    assert [Hit(**row) for row in rows] == list(ranking)


def test_without_pandas_the_error_says_what_to_install(
    tiny: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match="pandas is not installed: run  pip install pandas"):
        ranked(tiny).to_pandas()
