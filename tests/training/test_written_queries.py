"""The released queries and grades are whole, and join with the passages that they name."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import written_queries
from written_queries import (
    GRADES,
    WORDS,
    agreement,
    cut,
    kappa,
    main,
    passages,
    read,
    write_pairs,
)

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
    # One step apart in one of three, where chance has 29 / 3 squared steps.
    assert kappa(np.array([0, 3, 1]), np.array([0, 3, 2])) == pytest.approx(1 - 3 / 29)
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


def pairs_in(folder: Path, name: str, *rows: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))


def test_a_title_precedes_a_text_that_does_not_name_it(tmp_path: Path) -> None:
    rows = [{"query": "q", "positive": text, "title": "Gout"} for text in ("Joints hurt.", "gout!")]
    pairs_in(tmp_path / "pairs", "medquad", *rows)
    assert [text for _, text in passages(tmp_path / "pairs")] == ["Gout. Joints hurt.", "gout!"]


def test_pairs_are_joined_by_the_passages_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pairs"
    pairs_in(folder, "squad-sentences", {"query": "Rows", "positive": "The kite flies high."})
    pairs_in(folder, "sqlite-manual", {"query": "Rows", "positive": "A table has rows."})
    names = {text: name for name, text in passages(folder)}
    kite, rows = names["The kite flies high."], names["Rows: A table has rows."]
    assert len(kite) == len(read("queries.jsonl.gz")[0]["passage"])
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


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no folder", "no NAME.jsonl.gz in it; expected a folder of pairs"),
        ("other passages", "none of its passages is one of the writers'"),
        ("a broken line", "medquad.jsonl.gz:1: expected a line of"),
        ("a file that is there", "exists; name a new file"),
        ("a missing folder", "missing is no folder; name a file in one"),
    ],
)
def test_what_cannot_be_joined_is_a_line_and_writes_nothing(
    tmp_path: Path, fault: str, message: str
) -> None:
    folder, out = tmp_path / "pairs", tmp_path / "out.jsonl.gz"
    if fault == "other passages":
        pairs_in(folder, "medquad", {"query": "q", "positive": "nobody has read this"})
    elif fault == "a broken line":
        pairs_in(folder, "medquad", {"query": "q"})
    elif fault == "a file that is there":
        out.write_bytes(b"mine")
    elif fault == "a missing folder":
        out = tmp_path / "missing" / "out.jsonl.gz"
    before = out.read_bytes() if out.exists() else None
    with pytest.raises(SystemExit, match=message) as caught:
        main([str(folder), str(out)])
    assert "\n" not in str(caught.value)
    assert (out.read_bytes() if out.exists() else None) == before


def test_the_summary_counts_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    result = json.loads(capsys.readouterr().out)
    assert result["queries"] == sum(result["kinds"].values()) == sum(result["sources"].values())
    lists = read("grades.jsonl.gz")
    assert result["lists"] == len(lists)
    assert sum(result["grades"].values()) == sum(len(row["grades"]) for row in lists)
    assert result["twice"]["lists"] == sum("again" in row for row in lists)
