"""Lists → groups: what one step trains on. The same seed and step give the same groups.

A group is a query, one of its answers and some of its other candidates, drawn anew each time
that the list comes round. A batch pads queries together and documents in chunks of like length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resift.errors import DatasetError
from resift.rerank.ordering import standardised
from resift.rerank.tokenization import Tokens
from resift.training.mining import NONE, Lists, Mined
from resift.training.network import TokenBatch

CHUNKS = 4  # a batch's documents in length order, so that neighbours are padded alike

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DocumentBatch:
    """Documents padded together; `places` are theirs among the group's ``queries × documents``."""

    rows: TokenBatch
    query: Tensor
    places: Tensor


@dataclass(frozen=True, slots=True)
class Groups:
    """A batch. `labels` and `teacher` are ``(queries, documents)``, the teacher NaN for unknown.

    `known` says which places hold a document: a short list leaves some empty. `first_stage` is
    BM25's score, standardised over the whole list, in every second group and 0 in the others: a
    model is ranked by with a first stage's scores as well as without.
    """

    queries: TokenBatch
    chunks: tuple[DocumentBatch, ...]
    labels: Tensor
    teacher: Tensor
    first_stage: Tensor
    known: Tensor


class TokenTable:
    """All texts of a source, tokenised once and cut."""

    def __init__(self, tokens: Tokens, texts: Sequence[str], limit: int) -> None:
        end = tokens.single(["a"])[0].ids[-1]
        self._rows = []
        for row in tokens.single(texts):
            ids = row.ids[:limit].astype(np.int32)
            ids[-1] = end
            self._rows.append(ids)

    def __getitem__(self, place: int) -> NDArray[np.int32]:
        return self._rows[place]


@dataclass(frozen=True, slots=True)
class Corpus:
    """A source ready for training."""

    mined: Mined
    queries: TokenTable
    documents: TokenTable
    teacher: Floats
    first_stage: Floats

    @classmethod
    def of(
        cls, mined: Mined, tokens: Tokens, query_limit: int, limit: int, teacher: Floats
    ) -> "Corpus":
        return cls(
            mined,
            TokenTable(tokens, mined.query_texts, query_limit),
            TokenTable(tokens, mined.texts, limit),
            teacher,
            _first_stage(mined.train),
        )


class Batches:
    """Step number → groups, whatever came before: a run that was cut off goes on exactly."""

    def __init__(self, corpora: Sequence[Corpus], queries: int, documents: int, seed: int) -> None:
        self._corpora = corpora
        self._size = (queries, documents)
        self._seed = seed
        self._all = [
            (corpus, row)
            for corpus, own in enumerate(corpora)
            for row in range(len(own.mined.train.queries))
            if own.mined.train.relevant[row].any()
        ]
        if not self._all:
            raise DatasetError("no training list has an answer in it, so there is nothing to learn")

    def __len__(self) -> int:
        """Steps in an epoch, in which a list comes at most once; what is left over waits."""
        return max(len(self._all) // self._size[0], 1)

    def at(self, step: int) -> Groups:
        """The groups of a step, from 0."""
        epoch, place = divmod(step, len(self))
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._all))
        chosen = order[place * self._size[0] : (place + 1) * self._size[0]]
        rng = np.random.default_rng([self._seed, epoch, place])
        picked = [self._all[i] for i in chosen]
        columns = [self._draw(self._corpora[c].mined.train, row, rng) for c, row in picked]
        return collate(
            [(self._corpora[c], row, own) for (c, row), own in zip(picked, columns, strict=True)],
            self._size[1],
        )

    def _draw(self, lists: Lists, row: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Columns of one answer and of other candidates."""
        relevant = np.flatnonzero(lists.relevant[row])
        others = np.flatnonzero(~lists.relevant[row] & (lists.documents[row] != NONE))
        rng.shuffle(others)
        return np.array([rng.choice(relevant), *others[: self._size[1] - 1]], np.int64)


def collate(picked: Sequence[tuple[Corpus, int, NDArray[np.int64]]], width: int) -> Groups:
    """(corpus, row of its training lists, columns) each → a padded batch."""
    shape = (len(picked), width)
    labels, known = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    teacher = np.full(shape, np.nan, np.float32)
    first_stage = np.zeros(shape, np.float32)
    documents: list[tuple[int, NDArray[np.int32]]] = []
    queries = []
    for place, (corpus, row, columns) in enumerate(picked):
        lists = corpus.mined.train
        size = len(columns)
        labels[place, :size] = lists.relevant[row, columns]
        known[place, :size] = True
        teacher[place, :size] = corpus.teacher[row, columns]
        if place % 2:
            first_stage[place, :size] = corpus.first_stage[row, columns]
        queries.append(corpus.queries[int(lists.queries[row])])
        for column, document in enumerate(lists.documents[row, columns]):
            documents.append((place * width + column, corpus.documents[int(document)]))
    return Groups(
        pad(queries),
        tuple(_chunks(documents, width)),
        torch.from_numpy(labels),
        torch.from_numpy(teacher),
        torch.from_numpy(first_stage),
        torch.from_numpy(known),
    )


def _first_stage(lists: Lists) -> Floats:
    """BM25's scores standardised over each list's own candidates, 0 where a list ends."""
    found = np.zeros(lists.lexical.shape, np.float32)
    for row, scores in enumerate(lists.lexical):
        known = lists.documents[row] != NONE
        found[row, known] = standardised(scores[known].astype(np.float64))
    return found


def _chunks(documents: list[tuple[int, NDArray[np.int32]]], width: int) -> Iterator[DocumentBatch]:
    documents.sort(key=lambda own: len(own[1]))
    for part in np.array_split(np.arange(len(documents)), CHUNKS):
        if len(part):
            places = torch.tensor([documents[i][0] for i in part])
            yield DocumentBatch(pad([documents[i][1] for i in part]), places // width, places)


def pad(rows: Sequence[NDArray[np.int32]]) -> TokenBatch:
    """Token ids → padded rows with their masks."""
    ids = np.zeros((len(rows), max(len(row) for row in rows)), np.int64)
    mask, own = np.zeros(ids.shape, np.bool_), np.zeros(ids.shape, np.bool_)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
        mask[place, : len(row)] = True
        own[place, 1 : len(row) - 1] = True
    return TokenBatch(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(own))
