"""The options of `Reranker.rank` as fields, for frameworks whose classes are pydantic models."""

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, PrivateAttr, model_validator

from resift.integrations.lazy_ranker import LazyRanker
from resift.rerank.options import RankOptions, checked_budget
from resift.types import Candidate, LongDocuments, Ranking


class RerankFields(BaseModel):
    """A second stage and its options; only those that are set are passed on.

    Invalid values raise pydantic's `ValidationError`, with resift's message in it.
    """

    reranker: Any = None
    """A `resift.Ranker`, such as a `Reranker`. None is ``open_ranker(model)``.

    It is opened by the first call, and not within its `budget_ms`; pass an open one to avoid that.
    """

    model: str | Path | None = None
    """A name of `open_ranker`: a folder, a hub id, a service, a chain.

    None is the settings' model, else the bundled one.
    """

    top_n: int | None = None
    """How many documents to return; None is all."""

    budget_ms: float | None = None
    """Milliseconds for a call (`Reranker.rank`). None is no limit."""

    exact: bool = False
    tolerance: float | None = None
    fusion_weight: float | None = None
    min_score: float | None = None
    abstain_below: float | None = None
    long_documents: LongDocuments = "cut"

    _opened: tuple[Any, Any, LazyRanker] | None = PrivateAttr(None)
    """The fields `reranker` and `model`, and the ranker of these."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._ranker()
        arguments = self._arguments()
        checked_budget(arguments.pop("budget_ms", None))
        RankOptions(**arguments)
        return self

    def _arguments(self) -> dict[str, Any]:
        """The arguments of `Ranker.rank` that are set: not every ranker has all of them."""
        arguments = {
            "top_n": self.top_n,
            "budget_ms": self.budget_ms,
            "exact": self.exact or None,
            "tolerance": self.tolerance,
            "fusion_weight": self.fusion_weight,
            "min_score": self.min_score,
            "abstain_below": self.abstain_below,
            "long_documents": None if self.long_documents == "cut" else self.long_documents,
        }
        return {name: value for name, value in arguments.items() if value is not None}

    def _rank(self, query: str, candidates: list[Candidate]) -> Ranking:
        return self._ranker().rank(query, candidates, **self._arguments())

    async def _arank(self, query: str, candidates: list[Candidate]) -> Ranking:
        """`_rank` without blocking the event loop, not even while the model is opened."""
        return await self._ranker().arank(query, candidates, **self._arguments())

    def _ranker(self) -> LazyRanker:
        """The ranker of the fields; another one in a copy whose fields were changed."""
        opened = self._opened
        if opened is None or opened[0] is not self.reranker or opened[1] != self.model:
            opened = self.reranker, self.model, LazyRanker(self.model, self.reranker)
            self._opened = opened
        return opened[2]
