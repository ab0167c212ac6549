"""Files of pairs → training sources: texts, queries, and which texts are relevant to which query.

A line is ``{"query", "positive", "negatives"?}``. Queries and texts that occur in a collection for
evaluation are removed and counted; they are compared by normalised text.
"""

import hashlib
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resift.errors import DatasetError
from resift.evaluation.collection import open_collection
from resift.inputs import text_lines
from resift.training.recipe import SourceSpec

_WORD = re.compile(r"[^\W_]+")
MIN_WORDS = 4  # of a positive
MIN_TEXTS = 1500  # of a source; retrieval from a hundred texts is too easy
MIN_LETTERS = 0.6  # of a positive's characters; fewer mean listings of JSON or numbers


@dataclass(frozen=True, slots=True)
class TrainingSource:
    """The content of one file. `positives` and `negatives` of each query are indices of `texts`.

    `dev` has the indices of the held-out queries.
    """

    name: str
    texts: tuple[str, ...]
    queries: tuple[str, ...]
    positives: tuple[tuple[int, ...], ...]
    negatives: tuple[tuple[int, ...], ...]
    dev: frozenset[int]


@dataclass(frozen=True, slots=True)
class JudgedTexts:
    """Hashes of the normalised queries and passages of collections for evaluation."""

    queries: frozenset[bytes]
    texts: frozenset[bytes]


@dataclass(slots=True)
class Removed:
    """Numbers of removed rows by reason; `negatives` counts texts, not rows."""

    judged_queries: int = 0
    judged_texts: int = 0
    unreadable: int = 0
    negatives: int = 0


def normalised(text: str) -> bytes:
    """A hash of a text's words, without case, punctuation and spacing."""
    words = " ".join(_WORD.findall(text.lower()))
    return hashlib.blake2b(words.encode(), digest_size=16).digest()


def read_judged(collections: Sequence[Path]) -> JudgedTexts:
    """Read queries and passages of BEIR folders, to remove them from training data."""
    queries: set[bytes] = set()
    texts: set[bytes] = set()
    for folder in collections:
        collection = open_collection(folder)
        queries |= {normalised(query) for query in collection.queries().values()}
        documents = collection.documents(None).values()
        texts |= {normalised(document.text) for document in documents}
    return JudgedTexts(frozenset(queries), frozenset(texts))


def read_source(
    file: Path, spec: SourceSpec, judged: JudgedTexts, words: int, seed: int
) -> tuple[TrainingSource, Removed]:
    """Read a file's pairs, without unreadable pairs and pairs of collections for evaluation."""
    removed = Removed()
    rows = [row for row in read_pairs(file) if _is_usable(row, judged, removed)]
    return pair_source(rows, spec, words, seed), removed


def pair_source(
    rows: Sequence[dict[str, Any]], spec: SourceSpec, words: int, seed: int
) -> TrainingSource:
    """Sample `spec.queries + spec.dev` queries; their texts, cut to `words`, become the corpus."""
    queries = sorted({row["query"] for row in rows})
    random.Random(f"{seed} {spec.name}").shuffle(queries)
    queries = queries[: spec.queries + spec.dev]
    query_indices = {query: index for index, query in enumerate(queries)}
    texts: dict[str, int] = {}

    def add(text: str) -> int:
        return texts.setdefault(" ".join(text.split()[:words]), len(texts))

    positives: list[dict[int, None]] = [{} for _ in queries]
    negatives: list[dict[int, None]] = [{} for _ in queries]
    for row in rows:
        index = query_indices.get(row["query"])
        if index is not None:
            positives[index][add(row["positive"])] = None
            negatives[index] |= dict.fromkeys(map(add, row["negatives"]))
    for row in rows:
        if len(texts) < MIN_TEXTS:
            add(row["positive"])
    return TrainingSource(
        spec.name,
        tuple(texts),
        tuple(queries),
        tuple(map(tuple, positives)),
        tuple(
            tuple(text for text in irrelevant if text not in relevant)
            for irrelevant, relevant in zip(negatives, positives, strict=True)
        ),
        frozenset(range(min(spec.dev, len(queries)))),
    )


def read_pairs(file: Path) -> Iterator[dict[str, Any]]:
    """Read the pairs of a file, plain or .gz. Raises `DatasetError` for a line without a pair."""
    for number, line in text_lines(file):
        if line.strip():
            yield _pair(line, f"{file}:{number}")


def _pair(line: str, location: str) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(line)
        negatives = row.setdefault("negatives", [])
        if not isinstance(negatives, list):
            raise TypeError(f"negatives {negatives!r}")
        texts = [row["query"], row["positive"], *negatives]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f'{location}: expected a line of {{"query": …, "positive": …, "negatives": […]}}'
        ) from error
    if not all(isinstance(text, str) for text in texts):
        raise DatasetError(f"{location}: query, positive and negatives must be text")
    if not (row["query"].strip() and row["positive"].strip()):
        raise DatasetError(f"{location}: query or positive is empty; remove the line")
    return row


def _is_usable(row: dict[str, Any], judged: JudgedTexts, removed: Removed) -> bool:
    """Whether a row can be trained on. Removes its unusable negatives."""
    negatives = [
        text for text in row["negatives"] if text.strip() and normalised(text) not in judged.texts
    ]
    removed.negatives += len(row["negatives"]) - len(negatives)
    row["negatives"] = negatives
    text = row["positive"]
    letters = sum(character.isalpha() for character in text) / len(text)
    if len(text.split()) < MIN_WORDS or letters < MIN_LETTERS:
        removed.unreadable += 1
    elif normalised(row["query"]) in judged.queries:
        removed.judged_queries += 1
    elif normalised(text) in judged.texts:
        removed.judged_texts += 1
    else:
        return True
    return False
