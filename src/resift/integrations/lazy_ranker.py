"""The second stage of an adapter, opened on first use, and the options that are passed to it."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Self

from resift.background import Background, Shared
from resift.errors import InputError, shown
from resift.rerank.base import BaseReranker
from resift.rerank.families.names import open_ranker
from resift.rerank.options import RankOptions, checked_budget, checked_flag
from resift.rerank.ranker import Ranker, checked_ranking
from resift.search.options import check_component
from resift.types import Candidate, LongDocuments, Ranking


class LazyRanker:
    """A given `Ranker`, or the one of a name (`open_ranker`), which is opened on first use.

    Threads may share it. Copies share the ranker too. A pickle has the arguments only: its copy
    opens the model again.
    """

    def __init__(
        self, model: str | os.PathLike[str] | None = None, reranker: Ranker | None = None
    ) -> None:
        """Open nothing yet. Raises `InputError` for what is no ranker, and for two of them."""
        check_component("reranker", reranker, "rank", "model='…'")
        if model is not None and reranker is not None:
            raise InputError(f"model={shown(model)}: expected None beside a reranker")
        self._arguments = model, reranker
        self._background = Background(1, "resift-open")
        self._opened = Shared(self._begin)

    def __reduce__(self) -> tuple[object, ...]:
        return LazyRanker, self._arguments

    def __deepcopy__(self, memo: object = None) -> Self:
        return self

    __copy__ = __deepcopy__

    def open(self) -> Any:
        """The ranker. Raises `ModelError` if its model cannot be opened; a later call tries again.

        It is a `Ranker`, perhaps with `arank` and `rank_many`.
        """
        _, reranker = self._arguments
        return self._opened.job().result() if reranker is None else reranker

    async def aopen(self) -> Any:
        """`open` without blocking the event loop."""
        _, reranker = self._arguments
        if reranker is not None:
            return reranker
        return await asyncio.shield(asyncio.wrap_future(self._opened.job()))

    def close(self) -> None:
        """Close the model if this object has opened one; a later call opens it again."""
        job = self._opened.forget()
        if job is not None and not job.cancel() and job.exception() is None:
            job.result().close()

    def rank(self, query: str, documents: Sequence[Candidate], **arguments: Any) -> Ranking:
        """`Ranker.rank`, after opening the ranker."""
        ranker = self.open()
        return _checked(ranker, documents, arguments, ranker.rank(query, documents, **arguments))

    async def arank(self, query: str, documents: Sequence[Candidate], **arguments: Any) -> Ranking:
        """`rank` without blocking the event loop: a ranker without `arank` runs in a thread."""
        ranker = await self.aopen()
        arank = getattr(ranker, "arank", None)
        ranking = await (
            asyncio.to_thread(ranker.rank, query, documents, **arguments)
            if arank is None
            else arank(query, documents, **arguments)
        )
        return _checked(ranker, documents, arguments, ranking)

    def _begin(self) -> "Future[BaseReranker]":
        model, _ = self._arguments
        return self._background.run(lambda: open_ranker(model))


def _checked(
    ranker: Ranker, documents: Sequence[Candidate], arguments: Mapping[str, Any], ranking: object
) -> Ranking:
    """What a ranker returned, if it is a ranking of the documents. Raises `RerankerError`."""
    top_n, may_omit = arguments.get("top_n"), arguments.get("min_score") is not None
    return checked_ranking(ranking, len(documents), ranker, top_n, may_omit=may_omit)


def rank_arguments(
    *,
    budget_ms: float | None = None,
    exact: bool = False,
    min_score: float | None = None,
    long_documents: LongDocuments = "cut",
    use_scores: bool = False,
    fusion_weight: float | None = None,
) -> dict[str, Any]:
    """The options of `Reranker.rank` that are set, so that a ranker without the others works.

    `use_scores` tells whether candidates will have first-stage scores, without which a
    `fusion_weight` means nothing. Raises `InputError` for invalid values.
    """
    options = RankOptions(
        fusion_weight=fusion_weight, exact=exact, min_score=min_score, long_documents=long_documents
    )
    if not checked_flag("use_scores", use_scores) and fusion_weight is not None:
        raise InputError(f"fusion_weight={shown(fusion_weight)}: expected use_scores=True with it")
    arguments = {
        "budget_ms": checked_budget(budget_ms),
        "exact": options.exact or None,
        "min_score": options.min_score,
        "long_documents": None if options.long_documents == "cut" else options.long_documents,
        "fusion_weight": options.fusion_weight,
    }
    return {name: value for name, value in arguments.items() if value is not None}
