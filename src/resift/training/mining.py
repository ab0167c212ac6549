"""A source → candidate lists: what two first stages find for each query, and some at random.

Candidates of BM25 alone teach a model that shared words are a bad sign; so the lists mix what
shares words, what is near in meaning, what a line names as no answer, and what is neither. Each
candidate carries the untrained features and, where there is a teacher, its similarity.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.extras import require
from resift.rerank.late_interaction import features, query_states, unit
from resift.rerank.models import Encoder
from resift.training.pairs import TrainingSource
from resift.training.recipe import MiningSpec, SourceSpec

DEV_DEPTH = 30  # candidates of each first stage in a list to measure on
QUERIES_AT_ONCE = 256
NONE = -1

Floats = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Floats]


@dataclass(frozen=True, slots=True)
class Lists:
    """Candidates of `queries` rows, all ``(queries, depth)``; `documents` is -1 where a list ends.

    `untrained` is ``(queries, depth, 3)``, the features of late interaction before training;
    `teacher` its cosine or NaN, `lexical` BM25's score.
    """

    queries: NDArray[np.int64]
    documents: NDArray[np.int64]
    relevant: NDArray[np.bool_]
    untrained: Floats
    teacher: Floats
    lexical: Floats

    def take(self, rows: NDArray[np.int64]) -> "Lists":
        """Some of the rows."""
        return Lists(*(getattr(self, name)[rows] for name in LIST_FIELDS))


LIST_FIELDS = ("queries", "documents", "relevant", "untrained", "teacher", "lexical")


@dataclass(frozen=True, slots=True)
class Mined:
    """One source's texts, queries and lists: those to train on, and those to measure on."""

    name: str
    texts: tuple[str, ...]
    query_texts: tuple[str, ...]
    train: Lists
    dev: Lists


def mine(
    source: TrainingSource,
    spec: SourceSpec,
    mining: MiningSpec,
    encoder: Encoder,
    teacher: Embed | None,
    seed: int,
) -> Mined:
    """Retrieve for every query and keep what a list needs."""
    states = [own.astype(np.float16) for own in encoder.states(source.texts)]
    query_side = [own.astype(np.float16) for own in encoder.states(source.queries)]
    means = _means(states), _means(query_side)
    taught = None if teacher is None else (teacher(source.texts), teacher(source.queries))
    lexical = Bm25(source.texts)
    rng = np.random.default_rng([seed, len(source.texts)])
    rows: list[tuple[bool, list[int], Floats]] = []
    for start in range(0, len(source.queries), QUERIES_AT_ONCE):
        block = range(start, min(start + QUERIES_AT_ONCE, len(source.queries)))
        near = means[1][block.start : block.stop] @ means[0].T
        for place, dense in zip(block, near, strict=True):
            words = lexical.scores(source.queries[place])
            held_out = place in source.dev
            documents = _candidates(source, place, held_out, spec, mining, words, dense, rng)
            rows.append((held_out, documents, words[documents]))

    def lists(held_out: bool) -> Lists:
        places = [place for place, row in enumerate(rows) if row[0] is held_out]
        return _lists(source, places, rows, states, query_side, taught)

    return Mined(source.name, source.texts, source.queries, lists(False), lists(True))


def _candidates(
    source: TrainingSource,
    place: int,
    held_out: bool,
    spec: SourceSpec,
    mining: MiningSpec,
    words: Floats,
    dense: Floats,
    rng: np.random.Generator,
) -> list[int]:
    """Answers first, then what is named as none, then first stages' best, then random ones."""
    positives, named = source.positives[place], source.negatives[place]
    if held_out and not spec.mined:
        return [*positives, *named]
    by_words = np.argsort(-words, kind="stable")
    by_words = by_words[words[by_words] > 0]  # a text that shares no word was not found
    by_meaning = np.argsort(-dense, kind="stable")
    if held_out:  # as a first stage would hand them over: an answer that it misses is missed
        return list(dict.fromkeys([*by_words[:DEV_DEPTH], *by_meaning[:DEV_DEPTH], *named]))
    if not spec.mined:
        return [*positives, *named]
    at_random = rng.integers(len(source.texts), size=mining.random)
    picked = [*named, *_sample(by_words[: 2 * mining.lexical].tolist(), mining.lexical, rng)]
    picked += _sample(by_meaning[: 2 * mining.dense].tolist(), mining.dense, rng)
    wrong = [int(own) for own in dict.fromkeys([*picked, *at_random]) if own not in positives]
    return [*positives, *wrong]


def _sample(places: Sequence[int], count: int, rng: np.random.Generator) -> list[int]:
    """Half of them the best, half sampled from twice as deep."""
    rest = list(places[count // 2 :])
    rng.shuffle(rest)
    return [*places[: count // 2], *rest[: count - count // 2]]


def _lists(
    source: TrainingSource,
    places: Sequence[int],
    rows: Sequence[tuple[bool, list[int], Floats]],
    states: Sequence[NDArray[np.float16]],
    query_side: Sequence[NDArray[np.float16]],
    taught: tuple[Floats, Floats] | None,
) -> Lists:
    depth = max((len(rows[place][1]) for place in places), default=0)
    shape = (len(places), depth)
    lists = Lists(
        np.array(places, np.int64),
        np.full(shape, NONE, np.int64),
        np.zeros(shape, np.bool_),
        np.zeros((*shape, 3), np.float32),
        np.full(shape, np.nan, np.float32),
        np.zeros(shape, np.float32),
    )
    for row, place in enumerate(places):
        _, documents, words = rows[place]
        size = len(documents)
        lists.documents[row, :size] = documents
        lists.relevant[row, :size] = np.isin(documents, source.positives[place])
        lists.lexical[row, :size] = words
        query = query_states(query_side[place].astype(np.float32))
        for column, document in enumerate(documents):
            own = states[document].astype(np.float32)[None]
            lists.untrained[row, column] = features(query, own, np.ones(own.shape[:2], np.int64))[0]
        if taught is not None:
            lists.teacher[row, :size] = taught[0][documents] @ taught[1][place]
    return lists


def _means(states: Sequence[NDArray[np.float16]]) -> Floats:
    return unit(np.stack([own.astype(np.float32).mean(axis=0) for own in states]))


class Bm25:
    """BM25 over a list of texts: Lucene's formula, k1 0.9, b 0.4, Porter stems, by bm25s."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._bm25s = require("bm25s", "train")
        stemmer = require("Stemmer", "train").Stemmer("english")
        self._options = {"stopwords": "en", "stemmer": stemmer, "show_progress": False}
        self._index = self._bm25s.BM25(method="lucene", k1=0.9, b=0.4)
        tokens = self._bm25s.tokenize(list(texts), **self._options)
        self._index.index(tokens, show_progress=False)
        self._size = len(texts)

    def scores(self, query: str) -> Floats:
        """One score a text, ``(texts,)``; 0 where no word is shared."""
        tokens = self._bm25s.tokenize([query], return_ids=False, **self._options)[0]
        known = [token for token in tokens if token in self._index.vocab_dict]
        if not known:
            return np.zeros(self._size, np.float32)
        scores: Floats = self._index.get_scores(known)
        return scores


def save(mined: Mined, file: Path) -> None:
    """One ``.npz`` a source, written beside and moved over: a kill leaves no half of one."""
    arrays: dict[str, Any] = {
        f"{part}_{name}": getattr(lists, name)
        for part, lists in (("train", mined.train), ("dev", mined.dev))
        for name in LIST_FIELDS
    }
    arrays |= {"texts": np.array(mined.texts), "query_texts": np.array(mined.query_texts)}
    arrays["name"] = np.array(mined.name)
    beside = file.with_suffix(".new.npz")
    np.savez_compressed(beside, **arrays)
    os.replace(beside, file)


def load(file: Path) -> Mined:
    """What `save` wrote."""
    with np.load(file) as stored:
        train, dev = (
            Lists(*(stored[f"{part}_{name}"] for name in LIST_FIELDS)) for part in ("train", "dev")
        )
        return Mined(
            str(stored["name"]),
            tuple(stored["texts"].tolist()),
            tuple(stored["query_texts"].tolist()),
            train,
            dev,
        )
