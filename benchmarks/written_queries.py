"""Queries and grades made by reading: what is in them, and training pairs out of them.

    python benchmarks/written_queries.py                        prints counts and agreement
    python benchmarks/written_queries.py PASSAGES OUT.jsonl.gz  writes pairs for `resift train`

``benchmarks/written`` has no texts but their queries: a passage is named by the first 16 digits of
the hash of its words (`resift.training.pairs.normalised`). PASSAGES is a folder of files of pairs,
``NAME.jsonl.gz`` as `benchmarks/manuals.py` writes them; their positives are cut as they were for
the writers, with their heading, or with a line's ``title``, before them. OUT must be new. How
queries and grades were made is in MODEL_CARD.md. Last line of stdout: JSON.
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

from resift.errors import DatasetError
from resift.inputs import text_lines
from resift.training.pairs import normalised, read_pairs

WRITTEN = Path(__file__).parent / "written"
WORDS = 130  # of a passage; it ends with the last sentence before, if that is not too short
RELEVANT = 2  # the lowest grade of a passage that answers its query
GRADES = 4
HEADED = ("aws-headings", "sqlite-manual", "postgresql-manual", "debian-handbook")
"""Sources whose passages begin with their heading, which is the query of their pair."""

Row = Mapping[str, Any]


def read(name: str) -> list[dict[str, Any]]:
    """The rows of a file of `WRITTEN`."""
    return [json.loads(line) for _, line in text_lines(WRITTEN / name)]


def cut(text: str) -> str:
    """A passage as the writers read it."""
    words = text.split()
    if len(words) <= WORDS:
        return " ".join(words)
    text = " ".join(words[:WORDS])
    end = max(text.rfind(mark) for mark in (". ", "? ", "; "))
    return text[: end + 1] if end > len(text) // 2 else text


def passages(folder: Path) -> Iterator[tuple[str, str]]:
    """(hash, text) of each passage of a folder of pairs. Raises `DatasetError` without a file."""
    files = sorted(folder.glob("*.jsonl.gz"))
    if not files:
        raise DatasetError(f"{folder}: no NAME.jsonl.gz in it; expected a folder of pairs")
    for file in files:
        is_headed = file.name.removesuffix(".jsonl.gz") in HEADED
        for row in read_pairs(file):
            text = f"{row['query']}: {row['positive']}" if is_headed else titled(row)
            passage = cut(text)
            yield normalised(passage).hex()[:16], passage


def titled(row: Row) -> str:
    """The positive, after the line's title if the first word of that is not in it."""
    text, title = str(row["positive"]), str(row.get("title", ""))
    return text if title.partition(" ")[0].lower() in text.lower() else f"{title}. {text}"


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
    """Join queries and grades with the passages that are there; returns counts.

    Raises `DatasetError`, and writes nothing, if none is there or `out` exists.
    """
    if out.exists():
        raise DatasetError(f"{out}: exists; name a new file")
    if not out.parent.is_dir():
        raise DatasetError(f"{out}: {out.parent} is no folder; name a file in one")
    texts = dict(passages(folder))
    queries = [row for row in read("queries.jsonl.gz") if row["kind"] != "unanswerable"]
    found = [row for row in queries if row["passage"] in texts]
    pairs: list[Row] = [
        {"query": row["query"], "positive": texts[row["passage"]], "negatives": []} for row in found
    ]
    pairs += [pair for row in read("grades.jsonl.gz") for pair in _graded_pairs(row, texts)]
    if not pairs:
        raise DatasetError(f"{folder}: none of its passages is one of the writers'")
    with gzip.open(out, "wt", encoding="utf-8") as stream:
        for pair in pairs:
            print(json.dumps(pair, ensure_ascii=False), file=stream)
    return {
        "found": len(found),
        "without its passage": len(queries) - len(found),
        "graded pairs": len(pairs) - len(found),
    }


def _graded_pairs(row: Row, texts: Mapping[str, str]) -> Iterator[Row]:
    """A pair for each relevant passage of a graded list, with the others as negatives."""
    graded = [
        (texts[passage], grade)
        for passage, grade in zip(row["passages"], row["grades"], strict=True)
        if passage in texts
    ]
    negatives = [text for text, grade in graded if grade < RELEVANT]
    for text, grade in graded:
        if grade >= RELEVANT:
            yield {"query": row["query"], "positive": text, "negatives": negatives}


def main(arguments: Sequence[str]) -> None:
    """Print counts, or write pairs and print theirs."""
    if len(arguments) not in (0, 2):
        raise SystemExit(__doc__)
    try:
        result = write_pairs(*map(Path, arguments)) if arguments else summary()
    except DatasetError as error:
        raise SystemExit(str(error)) from error
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
