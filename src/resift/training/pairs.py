"""Files of pairs → sources: texts, queries and who answers whom, deduplicated and checked.

A line is ``{"query", "positive", "negatives"?}``. What occurs in a collection that a model is
judged on is taken out here, by normalised text, and counted.
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
from resift.evaluation.lines import text_lines
from resift.training.recipe import SourceSpec

_WORD = re.compile(r"[^\W_]+")
MIN_WORDS = 4  # a shorter text answers nothing
MIN_TEXTS = 1500  # in a source: a corpus of a hundred texts is no test of anything
MIN_LETTERS = 0.6  # of a text's characters: less is a listing of JSON or of numbers


@dataclass(frozen=True, slots=True)
class TrainingSource:
    """One file. Queries name their answers, and what is known to be none, by place in `texts`."""

    name: str
    texts: tuple[str, ...]
    queries: tuple[str, ...]
    positives: tuple[tuple[int, ...], ...]
    negatives: tuple[tuple[int, ...], ...]
    dev: frozenset[int]


@dataclass(frozen=True, slots=True)
class JudgedTexts:
    """What models are judged on: hashes of normalised queries and passages."""

    queries: frozenset[bytes]
    texts: frozenset[bytes]


@dataclass(slots=True)
class Removed:
    """How many rows of a source were taken out, and why; `negatives` counts texts, not rows."""

    judged_queries: int = 0
    judged_texts: int = 0
    unreadable: int = 0
    negatives: int = 0


def normalised(text: str) -> bytes:
    """A hash of the words alone: case, punctuation and spacing do not count."""
    words = " ".join(_WORD.findall(text.lower()))
    return hashlib.blake2b(words.encode(), digest_size=16).digest()


def read_judged(collections: Sequence[Path]) -> JudgedTexts:
    """Queries and passages of BEIR folders, to be kept out of training."""
    queries: set[bytes] = set()
    texts: set[bytes] = set()
    for folder in collections:
        collection = open_collection(folder)
        queries |= {normalised(query) for query in collection.queries().values()}
        texts |= {normalised(own.text) for own in collection.documents(None).values()}
    return JudgedTexts(frozenset(queries), frozenset(texts))


def read_source(
    file: Path, spec: SourceSpec, judged: JudgedTexts, words: int, seed: int
) -> tuple[TrainingSource, Removed]:
    """A file's pairs without those that say nothing or that models are judged on."""
    removed = Removed()
    rows = [row for row in read_pairs(file) if _usable(row, judged, removed)]
    return pair_source(rows, spec, words, seed), removed


def pair_source(
    rows: Sequence[dict[str, Any]], spec: SourceSpec, words: int, seed: int
) -> TrainingSource:
    """Sample `spec.queries + spec.dev` queries; their texts, cut to `words`, are the corpus."""
    rng = random.Random(f"{seed} {spec.name}")
    queries = sorted({row["query"] for row in rows})
    rng.shuffle(queries)
    queries = queries[: spec.queries + spec.dev]
    places = {query: place for place, query in enumerate(queries)}
    texts: dict[str, int] = {}
    positives: list[dict[int, None]] = [{} for _ in queries]
    negatives: list[dict[int, None]] = [{} for _ in queries]
    for row in rows:
        place = places.get(row["query"])
        if place is not None:
            positives[place][_text(texts, row["positive"], words)] = None
            for text in row["negatives"]:
                negatives[place][_text(texts, text, words)] = None
    for row in rows:
        if len(texts) < MIN_TEXTS:
            _text(texts, row["positive"], words)
    return TrainingSource(
        spec.name,
        tuple(texts),
        tuple(queries),
        tuple(tuple(own) for own in positives),
        tuple(tuple(n for n in own if n not in positives[i]) for i, own in enumerate(negatives)),
        frozenset(range(min(spec.dev, len(queries)))),
    )


def read_pairs(file: Path) -> Iterator[dict[str, Any]]:
    """A file's lines, plain or .gz; raises `DatasetError` naming one that is no pair."""
    for number, line in text_lines(file):
        if line.strip():
            yield _pair(line, f"{file}:{number}")


def _pair(line: str, where: str) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(line)
        negatives = row.setdefault("negatives", [])
        if not isinstance(negatives, list):
            raise TypeError(f"negatives {negatives!r}")
        texts = [row["query"], row["positive"], *negatives]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f'{where}: expected a line of {{"query": …, "positive": …, "negatives": […]}}'
        ) from error
    if not all(isinstance(text, str) for text in texts):
        raise DatasetError(f"{where}: query, positive and negatives must be text")
    if not (row["query"].strip() and row["positive"].strip()):
        raise DatasetError(f"{where}: query or positive is empty; take the line out")
    return row


def _usable(row: dict[str, Any], judged: JudgedTexts, removed: Removed) -> bool:
    """Whether a row can be learned from; negatives that cannot be are taken out of it."""
    known = len(row["negatives"])
    row["negatives"] = [own for own in row["negatives"] if _is_negative(own, judged)]
    removed.negatives += known - len(row["negatives"])
    text = row["positive"]
    if len(text.split()) < MIN_WORDS or _letters(text) < MIN_LETTERS:
        removed.unreadable += 1
    elif normalised(row["query"]) in judged.queries:
        removed.judged_queries += 1
    elif normalised(text) in judged.texts:
        removed.judged_texts += 1
    else:
        return True
    return False


def _is_negative(text: str, judged: JudgedTexts) -> bool:
    return bool(text.strip()) and normalised(text) not in judged.texts


def _letters(text: str) -> float:
    return sum(character.isalpha() for character in text) / len(text)


def _text(texts: dict[str, int], text: str, words: int) -> int:
    return texts.setdefault(" ".join(text.split()[:words]), len(texts))
