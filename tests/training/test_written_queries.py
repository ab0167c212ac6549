"""The released queries and grades are whole, and join with the passages that they name."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import written_queries
from written_queries import GRADES, WORDS, agreement, cut, kappa, passages, read, write_pairs

from resift.training.pairs import normalised, read_pairs


def test_every_query_has_a_passage_and_no_query_is_there_twice() -> None:
    rows = read("queries.jsonl.gz")
    assert len(rows) >= 10_000
    assert len({normalised(row["query"]) for row in rows}) == len(rows)
    for row in rows:
        assert set(row) == {"query", "kind", "source", "passage"}
        assert row["kind"] in ("question", "keywords", "unanswerable")
        assert row["query"].strip() == row["query"] and len(bytes.fromhex(row["passage"])) == 8


def test_every_list_has_a_grade_for_each_of_its_passages() -> None:
    rows = read("grades.jsonl.gz")
    assert len(rows) >= 500
    for row in rows:
        grades = [row["grades"], row.get("again", row["grades"])]
        assert all(len(each) == len(row["passages"]) for each in grades)
        assert {grade for each in grades for grade in each} <= set(range(GRADES))
        assert len(set(row["passages"])) == len(row["passages"])


def test_kappa_is_one_for_equal_grades_and_nothing_for_chance() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.integers(GRADES, size=(2, 5000))
    assert kappa(first, first) == 1
    assert abs(kappa(first, second)) < 0.05
    near = np.clip(first + rng.integers(-1, 2, size=len(first)), 0, GRADES - 1)
    assert 0.6 < kappa(first, near) < 0.95


def test_agreement_counts_lists_of_two_readers_only() -> None:
    lists = [
        {"grades": [3, 0, 1, 0], "again": [2, 0, 0, 0]},
        {"grades": [3, 3, 3, 3]},
    ]
    result = agreement(lists)
    assert (result["lists"], result["passages"]) == (1, 4)
    assert (result["equal"], result["relevant_alike"]) == (0.5, 1.0)


@pytest.mark.parametrize("words", [WORDS - 1, WORDS, WORDS + 50])
def test_a_passage_ends_with_a_sentence(words: int) -> None:
    text = " ".join(f"w{n}{'.' if n % 20 == 19 else ''}" for n in range(words))
    result = cut(text)
    assert text.startswith(result) and len(result.split()) <= WORDS
    assert words <= WORDS or result.endswith(".")


def test_pairs_are_joined_by_the_passages_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"squad-sentences": "The kite flies high.", "sqlite-manual": "A table has rows."}
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name, text in texts.items():
        line = json.dumps({"query": "Rows", "positive": text})
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    names = {text: name for name, text in passages(folder)}
    kite, rows = names["The kite flies high."], names["Rows: A table has rows."]
    released = {
        "queries.jsonl.gz": [
            {"query": "what flies", "kind": "question", "source": "squad", "passage": kite},
            {"query": "what swims", "kind": "unanswerable", "source": "squad", "passage": kite},
            {"query": "lost", "kind": "question", "source": "squad", "passage": "0" * 16},
        ],
        "grades.jsonl.gz": [
            {"query": "rows?", "kind": "human", "passages": [kite, rows], "grades": [1, 2]}
        ],
    }
    monkeypatch.setattr(written_queries, "read", released.__getitem__)
    out = tmp_path / "out.jsonl.gz"
    counts = write_pairs(folder, out)
    assert counts == {"found": 1, "without its passage": 1, "graded pairs": 1}
    assert [(row["query"], row["positive"], row["negatives"]) for row in read_pairs(out)] == [
        ("what flies", "The kite flies high.", []),
        ("rows?", "Rows: A table has rows.", ["The kite flies high."]),
    ]
