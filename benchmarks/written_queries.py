"""Queries and grades made by reading: what is in them, and training pairs out of them.

    python benchmarks/written_queries.py                        prints counts and agreement
    python benchmarks/written_queries.py PASSAGES OUT.jsonl.gz  writes pairs for `resift train`

``benchmarks/written`` has no texts but their queries: a passage is named by the first 16 digits of
the hash of its words (`resift.training.pairs.normalised`). PASSAGES is a folder of files of pairs,
`NAME.jsonl.gz` with a ``positive`` a line, as `benchmarks/manuals.py` writes them; their texts are
cut as they were for the writers. How queries and grades were made is in MODEL_CARD.md. Last line of
stdout: JSON.
"""

import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.training.pairs import normalised

WRITTEN = Path(__file__).parent / "written"
WORDS = 130  # of a passage; it ends with the last sentence before, if that is not too short
RELEVANT = 2  # the lowest grade of a passage that answers its query
GRADES = 4
HEADED = ("aws-headings", "sqlite-manual", "postgresql-manual", "debian-handbook")
"""Sources whose passages begin with their heading, which is the query of their pair."""

Row = Mapping[str, Any]


def read(name: str) -> list[dict[str, Any]]:
    """The rows of a file of `WRITTEN`."""
    with gzip.open(WRITTEN / name, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def cut(text: str) -> str:
    """A passage as the writers read it."""
    words = text.split()
    if len(words) <= WORDS:
        return " ".join(words)
    text = " ".join(words[:WORDS])
    end = max(text.rfind(mark) for mark in (". ", "? ", "; "))
    return text[: end + 1] if end > len(text) // 2 else text


def passages(folder: Path) -> Iterator[tuple[str, str]]:
    """(hash, text) of each passage of a folder of pairs."""
    for file in sorted(folder.glob("*.jsonl.gz")):
        is_headed = file.name.removesuffix(".jsonl.gz") in HEADED
        with gzip.open(file, "rt", encoding="utf-8") as stream:
            for line in stream:
                row = json.loads(line)
                text = cut(f"{row['query']}: {row['positive']}" if is_headed else row["positive"])
                yield normalised(text).hex()[:16], text


def kappa(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Cohen's kappa of two graders, weighted by the squared difference of the grades."""
    seen = np.zeros((GRADES, GRADES))
    np.add.at(seen, (first, second), 1)
    weights = np.square(np.subtract.outer(np.arange(GRADES), np.arange(GRADES)))
    chance = np.outer(seen.sum(axis=1), seen.sum(axis=0)) / seen.sum()
    return float(1 - (weights * seen).sum() / (weights * chance).sum())


def agreement(lists: Sequence[Row]) -> dict[str, float]:
    """How two readers agree on the lists that two have graded."""
    twice = [row for row in lists if "again" in row]
    first, second = (
        np.concatenate([np.array(row[name], np.int64) for row in twice])
        for name in ("grades", "again")
    )
    return {
        "lists": len(twice),
        "passages": len(first),
        "equal": round(float((first == second).mean()), 4),
        "relevant_alike": round(float(((first >= RELEVANT) == (second >= RELEVANT)).mean()), 4),
        "kappa": round(kappa(first, second), 4),
    }


def summary() -> dict[str, Any]:
    """Counts of queries and grades, and the agreement."""
    queries, lists = read("queries.jsonl.gz"), read("grades.jsonl.gz")
    grades = Counter(grade for row in lists for grade in row["grades"])
    return {
        "queries": len(queries),
        "kinds": dict(Counter(row["kind"] for row in queries)),
        "sources": dict(Counter(row["source"] for row in queries)),
        "lists": len(lists),
        "grades": {grade: grades[grade] for grade in range(GRADES)},
        "twice": agreement(lists),
    }


def write_pairs(folder: Path, out: Path) -> dict[str, int]:
    """Join queries and grades with the passages that are there; returns counts."""
    texts = dict(passages(folder))
    counts: Counter[str] = Counter()
    with gzip.open(out, "wt", encoding="utf-8") as stream:
        for row in read("queries.jsonl.gz"):
            if row["kind"] == "unanswerable":
                continue
            counts["found" if row["passage"] in texts else "without its passage"] += 1
            if row["passage"] in texts:
                pair = {"query": row["query"], "positive": texts[row["passage"]], "negatives": []}
                print(json.dumps(pair, ensure_ascii=False), file=stream)
        for row in read("grades.jsonl.gz"):
            graded = [
                (texts[passage], grade)
                for passage, grade in zip(row["passages"], row["grades"], strict=True)
                if passage in texts
            ]
            negatives = [text for text, grade in graded if grade < RELEVANT]
            for text, grade in graded:
                if grade >= RELEVANT:
                    counts["graded pairs"] += 1
                    pair = {"query": row["query"], "positive": text, "negatives": negatives}
                    print(json.dumps(pair, ensure_ascii=False), file=stream)
    return dict(counts)


if __name__ == "__main__":
    if len(sys.argv) not in (1, 3):
        raise SystemExit(__doc__)
    result = summary() if len(sys.argv) == 1 else write_pairs(*map(Path, sys.argv[1:]))
    print(json.dumps(result))
