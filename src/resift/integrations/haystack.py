"""Haystack components: `ResiftRanker` puts documents in order, `ResiftRetriever` searches an index.

A pipeline is read from YAML with ``Pipeline.loads(text, allowed_modules=["resift.*"])``: Haystack
imports no other packages than those that the caller allows.
"""

import inspect
import os
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any, Self

from resift.errors import InputError, shown
from resift.extras import require
from resift.integrations.index_search import hit_metadata, opened_index, search_arguments
from resift.integrations.lazy_ranker import LazyRanker, rank_arguments
from resift.plain_json import plain
from resift.rerank.options import checked_count, checked_flag
from resift.rerank.ranker import Ranker
from resift.search.index import Index
from resift.search.options import Collapse, Mode
from resift.search.options import checked_count as checked_size
from resift.types import DEPTH, Candidate, Hit, LongDocuments, Ranking

try:
    from haystack import Document, component, default_from_dict, default_to_dict
except ModuleNotFoundError:
    require("haystack", "haystack")
    raise

STATUS = "relevance_status"
"""The key of `Hit.status` in the meta of a ranked document."""


class _Saved:
    """A component whose arguments are attributes of the same names."""

    def to_dict(self) -> dict[str, Any]:
        """The component for `from_dict` and for a pipeline's YAML."""
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        return default_to_dict(self, **{name: getattr(self, name) for name in names})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The component of `to_dict`."""
        return default_from_dict(cls, data)


@component
class ResiftRanker(_Saved):
    """Puts documents in order by their relevance to a query, best first.

    Of documents with the same id, that with the highest score is ranked, as in Haystack's rankers.
    Ranked documents are copies. `Document.score` is `Hit.score`, from 0 to 1, and None for a
    document that was not scored; ``meta["relevance_status"]`` tells why (`resift.Status`). Those
    follow behind the scored ones. Threads may share a component.
    """

    def __init__(
        self,
        model: str | None = None,
        top_k: int | None = 10,
        *,
        score_threshold: float | None = None,
        meta_fields_to_embed: list[str] | None = None,
        meta_data_separator: str = "\n",
        budget_ms: float | None = None,
        exact: bool = False,
        long_documents: LongDocuments = "cut",
        use_scores: bool = False,
        fusion_weight: float | None = None,
        reranker: Ranker | None = None,
    ) -> None:
        """Load nothing yet: `warm_up` or the first `run` does.

        Args:
            model: A name of `open_ranker`: a folder, a hub id, a service, a chain. None is the
                settings' model, else the bundled one.
            top_k: How many documents to return; None is all.
            score_threshold: Leave out documents with a lower score (0 to 1) and unreadable ones.
            meta_fields_to_embed: Fields of `meta` that are read before the content.
            meta_data_separator: The text between these fields, and before the content.
            budget_ms: Milliseconds for ranking, without loading the model (`Reranker.rank`).
            exact: True switches early exits off.
            long_documents: How to read what is longer than the model reads (`LongDocuments`).
            use_scores: Whether the scores of the documents, from a retriever, count too
                (first-stage interpolation). All readable documents must have one.
            fusion_weight: Their weight; None is the weight fitted for the model.
            reranker: Another second stage instead of `model`. A pipeline with it can only be
                saved if it has ``to_dict`` and ``from_dict``.

        Raises `InputError`, which is a ValueError, for invalid values.

        """
        self.model = model
        self.top_k = checked_count("top_k", top_k)
        self.score_threshold = score_threshold
        self.meta_fields_to_embed = list(meta_fields_to_embed or [])
        self.meta_data_separator = meta_data_separator
        self.budget_ms = budget_ms
        self.exact = exact
        self.long_documents = long_documents
        self.use_scores = checked_flag("use_scores", use_scores)
        self.fusion_weight = fusion_weight
        self.reranker = reranker
        self._ranker = LazyRanker(model, reranker)
        self._arguments = rank_arguments(
            budget_ms=budget_ms, exact=exact, min_score=score_threshold,
            long_documents=long_documents, use_scores=use_scores, fusion_weight=fusion_weight,
        )  # fmt: skip

    def warm_up(self) -> None:
        """Load the model, or raise `ModelError`."""
        self._ranker.open()

    async def warm_up_async(self) -> None:
        """`warm_up` without blocking the event loop."""
        await self._ranker.aopen()

    def close(self) -> None:
        """Release the model that this component has loaded; a later run loads it again."""
        self._ranker.close()

    @component.output_types(documents=list[Document], receipt=dict[str, Any])
    def run(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        score_threshold: float | None = None,
        budget_ms: float | None = None,
    ) -> dict[str, Any]:
        """The documents in order, and the fields of the `Receipt` as plain values.

        The last three arguments are as in the constructor; None is its value. Raises `InputError`
        for an invalid argument, `QueryError` for a query that is empty or that the model cannot
        read.
        """
        distinct = _distinct(documents)
        arguments = self._call(top_k, score_threshold, budget_ms)
        ranking = self._ranker.rank(query, self._candidates(distinct), **arguments)
        return _output([_ranked(distinct[hit.index], hit) for hit in ranking], ranking)

    @component.output_types(documents=list[Document], receipt=dict[str, Any])
    async def run_async(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        score_threshold: float | None = None,
        budget_ms: float | None = None,
    ) -> dict[str, Any]:
        """`run` without blocking the event loop."""
        distinct = _distinct(documents)
        arguments = self._call(top_k, score_threshold, budget_ms)
        ranking = await self._ranker.arank(query, self._candidates(distinct), **arguments)
        return _output([_ranked(distinct[hit.index], hit) for hit in ranking], ranking)

    def _call(
        self, top_k: int | None, score_threshold: float | None, budget_ms: float | None
    ) -> dict[str, Any]:
        """The arguments of `Ranker.rank`."""
        top_n = self.top_k if top_k is None else checked_count("top_k", top_k)
        changes = rank_arguments(budget_ms=budget_ms, min_score=score_threshold)
        return {**self._arguments, **changes, "top_n": top_n}

    def _candidates(self, documents: Sequence[Document]) -> list[Candidate]:
        return [
            Candidate(
                document.id,
                self._text(document),
                metadata=document.meta,
                rank=rank,
                score=document.score if self.use_scores else None,
            )
            for rank, document in enumerate(documents, start=1)
        ]

    def _text(self, document: Document) -> Any:
        """What the model reads; None for a document without content, such as an image."""
        fields = [document.meta.get(name) for name in self.meta_fields_to_embed]
        parts = [str(field) for field in fields if field]
        if not parts:
            return document.content
        return self.meta_data_separator.join([*parts, document.content or ""])


@component
class ResiftRetriever(_Saved):
    """Searches a `resift.Index`, and reranks what it finds.

    A document is a passage. Its id is that of the passage, and its meta is the passage's metadata
    with ``source``, ``title``, ``citation`` and ``relevance_status`` (`index_search.hit_metadata`).
    Its score is `Hit.score`, from 0 to 1, or None if it was not scored; with ``rerank=False`` it is
    the first stage's. Threads may share a component.
    """

    def __init__(
        self,
        index: str | os.PathLike[str] | Index,
        top_k: int = 10,
        *,
        depth: int = DEPTH,
        mode: Mode = "hybrid",
        rerank: bool = True,
        where: str | None = None,
        budget_ms: float | None = None,
        score_threshold: float | None = None,
        collapse: Collapse | None = None,
    ) -> None:
        """Read nothing yet: `warm_up` or the first `run` does.

        `index` is a URI, such as ``s3://bucket/index`` or a folder, or an `Index`, with which a
        pipeline cannot be saved. Credentials come from the environment, and never into the YAML.
        `score_threshold` is the `min_score` of `Index.search`; `top_k` is its `top_n`. The other
        arguments are its arguments. `where` has the language of the index, not that of Haystack's
        filters. Raises `InputError`, which is a ValueError, for invalid values.
        """
        self.index = os.fspath(index) if isinstance(index, os.PathLike) else index
        self.top_k = checked_size("top_k", top_k)
        self.depth = depth
        self.mode = mode
        self.rerank = rerank
        self.where = where
        self.budget_ms = budget_ms
        self.score_threshold = score_threshold
        self.collapse = collapse
        self._arguments = search_arguments(
            dict(depth=depth, mode=mode, rerank=rerank, where=where, collapse=collapse)
            | dict(budget_ms=budget_ms, min_score=score_threshold)
        )
        self._index: Index = opened_index(index)

    def warm_up(self) -> None:
        """Open the index and load its models. Raises `StoreError` or `ModelError`."""
        self._index.open()
        self._index.load(self.mode, self.rerank)

    def close(self) -> None:
        """Release an index that was given by its URI; a later run opens it again."""
        if self._index is not self.index:
            self._index.close()

    @component.output_types(documents=list[Document], receipt=dict[str, Any])
    def run(
        self,
        query: str,
        top_k: int | None = None,
        where: str | None = None,
        budget_ms: float | None = None,
    ) -> dict[str, Any]:
        """The best passages, and the fields of the `Receipt` as plain values.

        The last three arguments are as in the constructor; None is its value. Raises as
        `Index.search` does.
        """
        ranking = self._index.search(query, **self._call(top_k, where, budget_ms))
        return _output([self._document(hit) for hit in ranking], ranking)

    @component.output_types(documents=list[Document], receipt=dict[str, Any])
    async def run_async(
        self,
        query: str,
        top_k: int | None = None,
        where: str | None = None,
        budget_ms: float | None = None,
    ) -> dict[str, Any]:
        """`run` without blocking the event loop."""
        ranking = await self._index.asearch(query, **self._call(top_k, where, budget_ms))
        return _output([self._document(hit) for hit in ranking], ranking)

    def _call(
        self, top_k: int | None, where: str | None, budget_ms: float | None
    ) -> dict[str, Any]:
        """The arguments of `Index.search`."""
        top_n = self.top_k if top_k is None else checked_size("top_k", top_k)
        changes = search_arguments({"where": where, "budget_ms": budget_ms})
        return {**self._arguments, **changes, "top_n": top_n}

    def _document(self, hit: Hit) -> Document:
        score = hit.score if self.rerank else hit.first_stage_score
        return Document(id=hit.id, content=hit.text, meta=hit_metadata(hit), score=score)


def _distinct(documents: object) -> list[Document]:
    """The document of each id that has the highest score, in the order of the ids."""
    if not isinstance(documents, list) or not all(isinstance(row, Document) for row in documents):
        raise InputError(f"documents={shown(documents)}: expected a list of haystack's Document")
    best_first = sorted(documents, key=lambda row: inf if row.score is None else -row.score)
    ids = dict.fromkeys(document.id for document in documents)
    return list((ids | {document.id: document for document in reversed(best_first)}).values())


def _ranked(document: Document, hit: Hit) -> Document:
    return replace(document, score=hit.score, meta={**document.meta, STATUS: hit.status})


def _output(documents: list[Document], ranking: Ranking) -> dict[str, Any]:
    return {"documents": documents, "receipt": plain(ranking.receipt)}
