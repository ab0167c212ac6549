"""DSPy modules: `ResiftRetriever` searches an index, `ResiftReranker` reranks another retriever.

Both are called directly, ``retriever(query).passages``, inside a program, or by ``dspy.Retrieve``
after ``dspy.configure(rm=retriever)``.
"""

import asyncio
import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

from resift.errors import InputError, shown
from resift.extras import require
from resift.integrations.index_search import opened_index, search_arguments
from resift.integrations.lazy_ranker import LazyRanker, rank_arguments
from resift.integrations.passage_records import (
    Record,
    lists_of_records,
    of_first_stage,
    records_of_lists,
    records_of_passages,
)
from resift.plain_json import plain
from resift.rerank.options import checked_flag
from resift.rerank.ranker import Ranker
from resift.search.index import Index
from resift.search.options import Collapse, Mode, checked_count
from resift.types import DEPTH, Candidate, LongDocuments, Ranking

try:
    from dspy import Module, Prediction
    from dspy.dsp.utils import dotdict
except ModuleNotFoundError:
    require("dspy", "dspy")
    raise

_FIELDS = ("long_text", "score", "status", "id", "title", "metadata", "citation")
_RERANKED = ("long_text", "score", "status", "first_stage_rank")


class Passages(Prediction):
    """Passages, best first, with lists of the same length and the receipt as plain values.

    `scores` are `Hit.score`, from 0 to 1, and None for passages that were not scored, which follow
    the others; `statuses` tell why (`resift.Status`). Iterating gives a record with ``long_text``
    and the other fields of each passage: ``dspy.Retrieve`` expects this of what is configured as
    ``rm``. The names of the lists are `keys`.
    """

    def __iter__(self) -> Iterator[Any]:
        return map(dotdict, records_of_lists(dict(self.items())))


class ResiftRetriever(Module):
    """Searches a `resift.Index`, and reranks what it finds.

    Calls return `Passages` with `ids`, `titles`, `metadata` and `citations` (fields of
    `resift.Citation`). With ``rerank=False`` the scores are the first stage's. Threads may share
    the object; copies share the index. A pickle, and a saved program, has the arguments and opens
    the index again.
    """

    def __init__(
        self,
        index: Index | str | os.PathLike[str],
        k: int = 3,
        *,
        depth: int = DEPTH,
        mode: Mode = "hybrid",
        rerank: bool = True,
        where: str | None = None,
        budget_ms: float | None = None,
        min_score: float | None = None,
        collapse: Collapse | None = None,
        callbacks: list[Any] | None = None,
    ) -> None:
        """Read nothing yet.

        `index` is an `Index` or the URI of one; `k` is the `top_n` of `Index.search`, whose other
        arguments these are. Raises `InputError` for invalid values.
        """
        super().__init__(callbacks=callbacks)
        self.index: Index = opened_index(index)
        self.k = checked_count("k", k)
        self.rerank = rerank
        self.options = search_arguments(
            {
                "depth": depth,
                "mode": mode,
                "rerank": rerank,
                "where": where,
                "budget_ms": budget_ms,
                "min_score": min_score,
                "collapse": collapse,
            }
        )

    def __repr__(self) -> str:
        return f"ResiftRetriever({self.index.uri!r}, k={self.k})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Optimisers copy programs; an index that each copy opened would load its models again."""
        copied = memo[id(self)] = copy.copy(self)
        copied.options = dict(self.options)
        return copied

    def forward(self, query: str, k: int | None = None, **options: Any) -> Passages:
        """The best `k` passages; `options` replace those of the constructor.

        Raises as `Index.search` does.
        """
        call = self._call(k, options)
        return self._passages(self.index.search(query, **call), call["rerank"])

    async def aforward(self, query: str, k: int | None = None, **options: Any) -> Passages:
        """`forward` without blocking the event loop."""
        call = self._call(k, options)
        return self._passages(await self.index.asearch(query, **call), call["rerank"])

    def _call(self, k: int | None, options: Mapping[str, Any]) -> dict[str, Any]:
        top_n = self.k if k is None else checked_count("k", k)
        return {**self.options, **search_arguments(options), "top_n": top_n}

    def _passages(self, ranking: Ranking, rerank: bool) -> Passages:
        records = [
            {
                "long_text": hit.text,
                "score": hit.score if rerank else hit.first_stage_score,
                "status": hit.status,
                "id": hit.id,
                "title": hit.title,
                "metadata": dict(hit.metadata),
                "citation": None if hit.citation is None else asdict(hit.citation),
            }
            for hit in ranking
        ]
        return _passages(records, _FIELDS, ranking)


class ResiftReranker(Module):
    """Reranks the passages of any retriever: a DSPy module, ``dspy.Embeddings``, or a function.

    Calls return `Passages` with `first_stage_ranks`, from 1. Other fields of the retriever's
    passages stay with them, such as the `indices` of ``dspy.Embeddings``; its scores become
    `first_stage_scores`. Threads may share the object; copies share the model.
    """

    def __init__(
        self,
        retriever: Callable[..., Any],
        k: int = 3,
        *,
        depth: int | None = None,
        model: str | os.PathLike[str] | None = None,
        budget_ms: float | None = None,
        exact: bool = False,
        min_score: float | None = None,
        long_documents: LongDocuments = "cut",
        use_scores: bool = False,
        fusion_weight: float | None = None,
        reranker: Ranker | None = None,
        callbacks: list[Any] | None = None,
    ) -> None:
        """Load nothing yet: the first call does.

        Args:
            retriever: It is called with a query, and returns a ``Prediction`` with ``passages``
                (or ``docs``), or a list of texts or of records with ``long_text``.
            k: How many passages to return.
            depth: How many passages to rerank: the argument `k` of the retriever. None leaves that
                out; then the retriever decides, as ``dspy.Embeddings(corpus, embedder, k=30)``.
            model: A name of `open_ranker`: a folder, a hub id, a service, a chain. None is the
                settings' model, else the bundled one.
            budget_ms: Milliseconds for reranking, without retrieving and loading the model.
            exact: True switches early exits off.
            min_score: Leave out passages with a lower score (0 to 1) and unreadable ones.
            long_documents: How to read what is longer than the model reads (`LongDocuments`).
            use_scores: Whether the retriever's scores count too (first-stage interpolation).
            fusion_weight: Their weight; None is the weight fitted for the model.
            reranker: Another second stage instead of `model`.
            callbacks: DSPy's callbacks for this module.

        Raises `InputError` for invalid values.

        """
        super().__init__(callbacks=callbacks)
        if not callable(retriever):
            raise InputError(f"retriever={shown(retriever)}: expected a function of a query")
        self.retriever = retriever
        self.k = checked_count("k", k)
        self.depth = None if depth is None else checked_count("depth", depth)
        self.use_scores = checked_flag("use_scores", use_scores)
        self.ranker = LazyRanker(model, reranker)
        self.options = rank_arguments(
            budget_ms=budget_ms,
            exact=exact,
            min_score=min_score,
            long_documents=long_documents,
            use_scores=use_scores,
            fusion_weight=fusion_weight,
        )

    def __repr__(self) -> str:
        return f"ResiftReranker({self.retriever!r}, k={self.k})"

    def forward(self, query: str, k: int | None = None, **options: Any) -> Passages:
        """The best `k` passages; `options` go to the retriever.

        Raises the errors of the retriever, and as `Reranker.rank` does.
        """
        top_n = self._top_n(k)
        records = _read(self.retriever(query, **self._retrieval(options)))
        ranking = self.ranker.rank(query, self._candidates(records), top_n=top_n, **self.options)
        return _reranked(records, ranking)

    async def aforward(self, query: str, k: int | None = None, **options: Any) -> Passages:
        """`forward` without blocking the event loop: a retriever without `acall` gets a thread."""
        top_n = self._top_n(k)
        arguments = self._retrieval(options)
        acall = getattr(self.retriever, "acall", None)
        result = await (
            asyncio.to_thread(self.retriever, query, **arguments)
            if acall is None
            else acall(query, **arguments)
        )
        records = _read(result)
        candidates = self._candidates(records)
        ranking = await self.ranker.arank(query, candidates, top_n=top_n, **self.options)
        return _reranked(records, ranking)

    def _top_n(self, k: int | None) -> int:
        return self.k if k is None else checked_count("k", k)

    def _retrieval(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return dict(options) if self.depth is None else {"k": self.depth, **options}

    def _candidates(self, records: Sequence[Mapping[str, Any]]) -> list[Candidate]:
        return [
            Candidate(
                str(rank - 1),
                record["long_text"],
                rank=rank,
                score=record.get("first_stage_score") if self.use_scores else None,
            )
            for rank, record in enumerate(records, start=1)
        ]


def _read(result: Any) -> list[Record]:
    """A record for each passage of what a retriever returned."""
    if isinstance(result, Prediction):
        return of_first_stage(records_of_lists(dict(result.items())))
    return of_first_stage(records_of_passages(result))


def _reranked(records: Sequence[Record], ranking: Ranking) -> Passages:
    ranked = [
        {
            **records[hit.index],
            "score": hit.score,
            "status": hit.status,
            "first_stage_rank": hit.index + 1,
        }
        for hit in ranking
    ]
    return _passages(ranked, _RERANKED, ranking)


def _passages(records: Sequence[Record], first: Sequence[str], ranking: Ranking) -> Passages:
    return Passages(**lists_of_records(records, first), receipt=plain(ranking.receipt))
