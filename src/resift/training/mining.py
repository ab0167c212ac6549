"""A source → candidate lists: the best of two retrievers for each query, and random texts.

Negatives of BM25 alone would teach a model that shared words are a bad sign. So a list mixes BM25's
best texts, the nearest by cosine, the file's negatives, and random texts. Each candidate has the
features of late interaction before training and, with a teacher, the teacher's similarity.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.extras import require
from resift.rerank.late_interaction import features, query_states, unit
from resift.rerank.models import Encoder
from resift.training.base import Embed
from resift.training.pairs import TrainingSource
from resift.training.recipe import MiningSpec, SourceSpec

DEV_DEPTH = 30  # candidates per retriever in a held-out list
QUERY_BATCH = 256
NONE = -1

Floats = NDArray[np.float32]
States = list[NDArray[np.float16]]


@dataclass(frozen=True, slots=True)
class Lists:
    """Candidate lists; arrays are ``(queries, depth)``, and `documents` is -1 after a list's end.

    `queries` ``(queries,)`` and `documents` are indices of the source's queries and texts.
    `untrained` ``(queries, depth, 3)`` has the features of late interaction before training,
    `teacher` the teacher's cosine or NaN, `lexical` BM25's score.
    """

    queries: NDArray[np.int64]
    documents: NDArray[np.int64]
    relevant: NDArray[np.bool_]
    untrained: Floats
    teacher: Floats
    lexical: Floats


LIST_FIELDS = ("queries", "documents", "relevant", "untrained", "teacher", "lexical")


@dataclass(frozen=True, slots=True)
class Mined:
    """One source's texts, queries, training lists and held-out lists."""

    name: str
    texts: tuple[str, ...]
    query_texts: tuple[str, ...]
    train: Lists
    dev: Lists

    def list_texts(self, lists: Lists, row: int) -> tuple[str, list[str]]:
        """The query and the candidates' texts of a list."""
        documents = lists.documents[row]
        texts = [self.texts[index] for index in documents[documents != NONE]]
        return self.query_texts[int(lists.queries[row])], texts


def mine(
    source: TrainingSource,
    spec: SourceSpec,
    mining: MiningSpec,
    encoder: Encoder,
    teacher: Embed | None,
    seed: int,
) -> Mined:
    """Retrieve candidates for every query and compute their features and scores."""
    miner = _Miner(source, spec, mining, encoder, teacher, seed)
    rows = [
        row
        for start in range(0, len(source.queries), QUERY_BATCH)
        for row in miner.candidates(start)
    ]
    train, dev = (
        miner.lists({q: row for q, row in enumerate(rows) if (q in source.dev) is held_out})
        for held_out in (False, True)
    )
    return Mined(source.name, source.texts, source.queries, train, dev)


class _Miner:
    """A source with its token states, its BM25 index and the teacher's vectors."""

    def __init__(
        self,
        source: TrainingSource,
        spec: SourceSpec,
        mining: MiningSpec,
        encoder: Encoder,
        teacher: Embed | None,
        seed: int,
    ) -> None:
        self.source, self.spec, self.mining = source, spec, mining
        texts_and_queries = (source.texts, source.queries)
        self.documents, self.queries = (
            [states.astype(np.float16) for states in encoder.states(texts)]
            for texts in texts_and_queries
        )
        self.document_means, self.query_means = _means(self.documents), _means(self.queries)
        self.teacher = None if teacher is None else tuple(map(teacher, texts_and_queries))
        self.bm25 = Bm25(source.texts)
        self.rng = np.random.default_rng([seed, len(source.texts)])

    def candidates(self, start: int) -> list[tuple[list[int], Floats]]:
        """Candidates and their BM25 scores, for `QUERY_BATCH` queries from `start`."""
        cosines = self.query_means[start : start + QUERY_BATCH] @ self.document_means.T
        rows = []
        for query, dense in enumerate(cosines, start):
            lexical = self.bm25.scores(self.source.queries[query])
            documents = self._candidates(query, lexical, dense)
            rows.append((documents, lexical[documents]))
        return rows

    def _candidates(self, query: int, lexical: Floats, dense: Floats) -> list[int]:
        """Positives, then the file's negatives, the retrievers' best, and random texts."""
        positives, negatives = self.source.positives[query], self.source.negatives[query]
        if not self.spec.mined:
            return [*positives, *negatives]
        by_bm25 = np.argsort(-lexical, kind="stable")
        by_bm25 = by_bm25[lexical[by_bm25] > 0]  # BM25 retrieves only texts that share a word
        by_cosine = np.argsort(-dense, kind="stable")
        if query in self.source.dev:  # as retrieved, so that a positive may be missing
            retrieved = [*by_bm25[:DEV_DEPTH], *by_cosine[:DEV_DEPTH]]
            return list(dict.fromkeys([*retrieved, *negatives]))
        mining = self.mining
        at_random = self.rng.integers(len(self.source.texts), size=mining.random)
        picked = [*negatives, *self._sample(by_bm25, mining.lexical)]
        picked += self._sample(by_cosine, mining.dense)
        others = (int(text) for text in dict.fromkeys([*picked, *at_random]))
        return [*positives, *(text for text in others if text not in positives)]

    def _sample(self, ranked: NDArray[np.int64], count: int) -> list[int]:
        """The best ``count // 2``, and random ones of the next, `count` in total."""
        best, rest = (part.tolist() for part in np.split(ranked[: 2 * count], [count // 2]))
        self.rng.shuffle(rest)
        return [*best, *rest[: count - count // 2]]

    def lists(self, rows: dict[int, tuple[list[int], Floats]]) -> Lists:
        """Make lists of queries' candidates and BM25 scores."""
        shape = (len(rows), max((len(documents) for documents, _ in rows.values()), default=0))
        lists = Lists(
            np.array(list(rows), np.int64),
            np.full(shape, NONE, np.int64),
            np.zeros(shape, np.bool_),
            np.zeros((*shape, 3), np.float32),
            np.full(shape, np.nan, np.float32),
            np.zeros(shape, np.float32),
        )
        for row, (query, (documents, lexical)) in enumerate(rows.items()):
            size = len(documents)
            lists.documents[row, :size] = documents
            lists.relevant[row, :size] = np.isin(documents, self.source.positives[query])
            lists.lexical[row, :size] = lexical
            states = query_states(self.queries[query].astype(np.float32))
            for column, document in enumerate(documents):
                tokens = self.documents[document].astype(np.float32)[None]
                mask = np.ones(tokens.shape[:2], np.int64)
                lists.untrained[row, column] = features(states, tokens, mask)[0]
            if self.teacher is not None:
                texts, queries = self.teacher
                lists.teacher[row, :size] = texts[documents] @ queries[query]
        return lists


def _means(states: States) -> Floats:
    return unit(np.stack([tokens.astype(np.float32).mean(axis=0) for tokens in states]))


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
        """A score per text, ``(texts,)``; 0 without a shared word."""
        tokens = self._bm25s.tokenize([query], return_ids=False, **self._options)[0]
        tokens = [token for token in tokens if token in self._index.vocab_dict]
        if not tokens:
            return np.zeros(self._size, np.float32)
        scores: Floats = self._index.get_scores(tokens)
        return scores


def save(mined: Mined, file: Path) -> None:
    """Write an ``.npz`` file to a temporary name and rename it."""
    arrays: dict[str, Any] = {
        f"{part}_{name}": getattr(lists, name)
        for part, lists in (("train", mined.train), ("dev", mined.dev))
        for name in LIST_FIELDS
    }
    arrays |= {"texts": np.array(mined.texts), "query_texts": np.array(mined.query_texts)}
    arrays["name"] = np.array(mined.name)
    unfinished = file.with_suffix(".new.npz")
    np.savez_compressed(unfinished, **arrays)
    os.replace(unfinished, file)


def load(file: Path) -> Mined:
    """Read a file of `save`."""
    with np.load(file) as stored:
        train, dev = (
            Lists(*(stored[f"{part}_{name}"] for name in LIST_FIELDS)) for part in ("train", "dev")
        )
        texts, queries = (tuple(stored[name].tolist()) for name in ("texts", "query_texts"))
        return Mined(str(stored["name"]), texts, queries, train, dev)
