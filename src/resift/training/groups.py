"""Candidate lists → groups to train on. The same seed and step give the same groups.

A group is a query, one of its relevant documents and some of its other candidates, drawn again each
time the list is used. A batch pads all queries together, and documents in chunks of similar length.
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
from resift.training.recipe import NetworkSpec

CHUNKS = 4  # per batch, of documents in length order

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class DocumentBatch:
    """Documents that are padded together. `query` is the row of each document's query.

    `indices` are positions of documents in the batch's flat ``queries * documents``.
    """

    rows: TokenBatch
    query: Tensor
    indices: Tensor


@dataclass(frozen=True, slots=True)
class Groups:
    """A batch; all tensors are ``(queries, documents)``.

    `present` is False after the end of a short list; `teacher` is NaN if unknown. `first_stage` is
    BM25's score, standardised over the whole list, in every second group, and 0 in the others,
    since a model is used with and without first-stage scores. `terms` is what term matching adds to
    a logit; it is not trained.
    """

    queries: TokenBatch
    chunks: tuple[DocumentBatch, ...]
    labels: Tensor
    teacher: Tensor
    first_stage: Tensor
    terms: Tensor
    present: Tensor


@dataclass(frozen=True, slots=True)
class Corpus:
    """A source with token ids of all queries and texts, truncated.

    `teacher` and `first_stage` are scores of the training lists' candidates. `terms` is what term
    matching adds to the logits of the training lists' and the held-out lists' candidates.
    """

    mined: Mined
    queries: list[Ids]
    documents: list[Ids]
    teacher: Floats
    first_stage: Floats
    terms: tuple[Floats, Floats]

    @classmethod
    def of(
        cls,
        mined: Mined,
        tokens: Tokens,
        limits: NetworkSpec,
        teacher: Floats,
        terms: tuple[Floats, Floats] | None = None,
    ) -> "Corpus":
        return cls(
            mined,
            _token_ids(tokens, mined.query_texts, limits.query_tokens),
            _token_ids(tokens, mined.texts, limits.document_tokens),
            teacher,
            _first_stage(mined.train),
            (_zeros(mined.train), _zeros(mined.dev)) if terms is None else terms,
        )


def _zeros(lists: Lists) -> Floats:
    return np.zeros(lists.documents.shape, np.float32)


class Batches:
    """Step number → groups. Independent of earlier steps, so that a run can resume exactly."""

    def __init__(self, corpora: Sequence[Corpus], queries: int, documents: int, seed: int) -> None:
        self._queries, self._documents = queries, documents
        self._seed = seed
        self._lists = [
            (corpus, row)
            for corpus in corpora
            for row in range(len(corpus.mined.train.queries))
            if corpus.mined.train.relevant[row].any()
        ]
        if not self._lists:
            raise DatasetError(
                "no training list has a relevant document; expected at least one to learn from"
            )

    def __len__(self) -> int:
        """Steps per epoch, which uses a list at most once and leaves out an incomplete batch."""
        return max(len(self._lists) // self._queries, 1)

    def at(self, step: int) -> Groups:
        """The groups of a step; steps count from 0."""
        epoch, batch = divmod(step, len(self))
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._lists))
        chosen = order[batch * self._queries : (batch + 1) * self._queries]
        rng = np.random.default_rng([self._seed, epoch, batch])
        picked = [self._lists[index] for index in chosen]
        return collate(
            [(corpus, row, self._draw(corpus.mined.train, row, rng)) for corpus, row in picked],
            self._documents,
        )

    def _draw(self, lists: Lists, row: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw the columns of one relevant document and of other candidates."""
        relevant = np.flatnonzero(lists.relevant[row])
        others = np.flatnonzero(~lists.relevant[row] & (lists.documents[row] != NONE))
        rng.shuffle(others)
        return np.array([rng.choice(relevant), *others[: self._documents - 1]], np.int64)


def collate(picked: Sequence[tuple[Corpus, int, NDArray[np.int64]]], width: int) -> Groups:
    """Pad groups, given as (corpus, row of its training lists, columns), to a batch."""
    shape = (len(picked), width)
    labels, present = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    teacher = np.full(shape, np.nan, np.float32)
    first_stage, terms = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    documents: list[tuple[int, Ids]] = []
    queries = []
    for group, (corpus, row, columns) in enumerate(picked):
        lists = corpus.mined.train
        size = len(columns)
        labels[group, :size] = lists.relevant[row, columns]
        present[group, :size] = True
        teacher[group, :size] = corpus.teacher[row, columns]
        terms[group, :size] = corpus.terms[0][row, columns]
        if group % 2:
            first_stage[group, :size] = corpus.first_stage[row, columns]
        queries.append(corpus.queries[int(lists.queries[row])])
        for column, document in enumerate(lists.documents[row, columns]):
            documents.append((group * width + column, corpus.documents[int(document)]))
    tensors = (torch.from_numpy(x) for x in (labels, teacher, first_stage, terms, present))
    return Groups(pad(queries), tuple(_chunks(documents, width)), *tensors)


def pad(rows: Sequence[Ids]) -> TokenBatch:
    """Pad token ids to rows with masks."""
    ids = np.zeros((len(rows), max(len(row) for row in rows)), np.int64)
    mask, content = np.zeros(ids.shape, np.bool_), np.zeros(ids.shape, np.bool_)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = True
        content[index, 1 : len(row) - 1] = True
    return TokenBatch(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(content))


def _token_ids(tokens: Tokens, texts: Sequence[str], limit: int) -> list[Ids]:
    """The ids of each text, truncated to `limit` including the last special token."""
    end = tokens.single(["a"])[0].ids[-1]
    rows = [row.ids[:limit].astype(np.int32) for row in tokens.single(texts)]
    for ids in rows:
        ids[-1] = end
    return rows


def _first_stage(lists: Lists) -> Floats:
    """BM25's scores, standardised over each list's candidates; 0 after the list's end."""
    scores = np.zeros(lists.lexical.shape, np.float32)
    for row, lexical in enumerate(lists.lexical):
        present = lists.documents[row] != NONE
        scores[row, present] = standardised(lexical[present].astype(np.float64))
    return scores


def _chunks(documents: list[tuple[int, Ids]], width: int) -> Iterator[DocumentBatch]:
    documents.sort(key=lambda document: len(document[1]))
    for part in np.array_split(np.arange(len(documents)), CHUNKS):
        if len(part):
            indices = torch.tensor([documents[i][0] for i in part])
            yield DocumentBatch(pad([documents[i][1] for i in part]), indices // width, indices)
