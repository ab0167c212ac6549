"""Training pairs → judged candidate lists, as a first stage would hand them over.

A source is a file of lines ``{"query", "positive", "negatives"?}`` (plain or .gz). Its texts are
its corpus; each sampled query gets BM25's and a hybrid's top candidates from it, and a candidate
is relevant if some line says so. Lists of real first stages, rather than lone positives beside
random negatives: words are shared by all candidates, as they are in use.
"""

import gzip
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from resift.errors import DatasetError
from resift.extras import require

DEPTH = 100
WORDS = 150  # of a text; longer ones are cut here, as chunks of an index would be
CORPUS = 12_000  # texts a source; enough for hard negatives, small enough for minutes on a CPU
RRF_K = 60

Floats = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Floats]


@dataclass(frozen=True, slots=True)
class CandidateList:
    """One query's candidates in first-stage order; `scores` and `relevant` are ``(n,)``."""

    query: str
    documents: tuple[int, ...]
    scores: NDArray[np.float64]
    relevant: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Source:
    """One file's texts, and candidate lists over them from two first stages."""

    name: str
    texts: tuple[str, ...]
    lists: tuple[CandidateList, ...]


def read_source(file: Path, queries: int, embed: Embed, seed: int = 7) -> Source:
    """Sample queries from a file of pairs and retrieve for them; no list without a hit."""
    texts, relevant = _corpus(file, random.Random(seed), queries)
    sample = sorted(relevant)
    lexical = _bm25(texts, sample)
    dense = embed(sample) @ embed(texts).T
    lists = []
    for place, query in enumerate(sample):
        by_words = _top(lexical[place])
        by_both = _fused(lexical[place], dense[place])
        for documents, scores in (by_words, by_both):
            judged = np.array([document in relevant[query] for document in documents], bool)
            if judged.any():
                lists.append(CandidateList(query, tuple(documents), scores, judged))
    return Source(file.name.partition(".")[0], tuple(texts), tuple(lists))


def _corpus(file: Path, rng: random.Random, queries: int) -> tuple[list[str], dict[str, set[int]]]:
    rows = read_pairs(file)
    rng.shuffle(rows)
    sample = set(sorted({row["query"] for row in rows[: 4 * queries]})[:queries])
    rows.sort(key=lambda row: row["query"] not in sample)  # the sample's texts are always there
    places: dict[str, int] = {}
    relevant: dict[str, set[int]] = {query: set() for query in sample}
    for row in rows:
        for text, judged in [(row["positive"], True)] + [
            (text, False) for text in row.get("negatives") or []
        ]:
            text = " ".join(text.split()[:WORDS])
            if text not in places and (len(places) < CORPUS or row["query"] in sample):
                places[text] = len(places)
            if judged and row["query"] in sample:
                relevant[row["query"]].add(places[text])
    return list(places), relevant


def read_pairs(file: Path) -> list[dict[str, Any]]:
    """A file's lines; raises `DatasetError` naming one that is no pair."""
    rows = []
    opener: Callable[..., IO[str]] = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                row["query"], row["positive"]
            except (ValueError, KeyError, TypeError) as error:
                raise DatasetError(
                    f'{file}:{number}: expected a line of {{"query": …, "positive": …}}'
                ) from error
            rows.append(row)
    return rows


def _bm25(texts: Sequence[str], queries: Sequence[str]) -> Floats:
    """BM25 scores, ``(queries, texts)``."""
    bm25s = require("bm25s", "train")
    stemmer = require("Stemmer", "train").Stemmer("english")
    options = {"stopwords": "en", "stemmer": stemmer, "show_progress": False}
    index = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
    index.index(bm25s.tokenize(list(texts), **options), show_progress=False)
    vocabulary = index.vocab_dict
    tokens = bm25s.tokenize(list(queries), return_ids=False, **options)
    scores = np.zeros((len(queries), len(texts)), np.float32)
    for place, query in enumerate(tokens):
        known = [token for token in query if token in vocabulary]
        if known:
            scores[place] = index.get_scores(known)
    return scores


def _top(scores: Floats) -> tuple[list[int], NDArray[np.float64]]:
    order = np.argsort(-scores, kind="stable")[:DEPTH]
    order = order[scores[order] > 0]
    return order.tolist(), scores[order].astype(np.float64)


def _fused(lexical: Floats, dense: Floats) -> tuple[list[int], NDArray[np.float64]]:
    """Reciprocal rank fusion of both arms' top candidates."""
    points = np.zeros(len(lexical), np.float64)
    for documents, _ in (_top(lexical), _top(dense)):
        points[documents] += 1.0 / (RRF_K + np.arange(1, len(documents) + 1))
    order = np.argsort(-points, kind="stable")[:DEPTH]
    return order.tolist(), points[order]
