"""The part of a request that all dialects share: its time limit and its question to the service."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from resift.errors import shown
from resift.serve.problems import Kind, RequestProblem
from resift.serve.service import Service
from resift.types import DocumentLike, Ranking

BUDGET_HEADER = "x-budget-ms"

MAX_DOCUMENTS = 10_000


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the service. `budget_ms` comes from its header or its ``timeout``."""

    service: Service
    budget_ms: float | None

    async def rank(
        self,
        query: str,
        documents: Sequence[DocumentLike],
        *,
        model: str | None = None,
        budget_ms: float | None = None,
        max_tokens_per_doc: int | None = None,
        truncate: bool = True,
        **options: Any,
    ) -> Ranking:
        """The ranking, within the shorter of the two budgets. Raises as `Service.rank` does.

        Of documents that are strings, `max_tokens_per_doc` (None or 0: all) keeps the beginning.
        Without `truncate`, one that is longer than the model reads raises `TooLong`.
        """
        _check_count(len(documents))
        budget_ms = shorter(self.budget_ms, budget_ms)
        return await self.service.rank(
            query,
            documents,
            model=model,
            budget_ms=budget_ms,
            max_tokens_per_doc=max_tokens_per_doc,
            truncate=truncate,
            **options,
        )

    async def rank_each(
        self,
        queries: Sequence[str],
        documents: Sequence[Sequence[DocumentLike]],
        *,
        budget_ms: float | None = None,
        **options: Any,
    ) -> list[Ranking]:
        """A ranking of the documents of each query, as one call. Options are those of `rank`."""
        _check_count(sum(map(len, documents)))
        budget_ms = shorter(self.budget_ms, budget_ms)
        return await self.service.rank_each(queries, documents, budget_ms=budget_ms, **options)


def the_call(request: Request) -> Call:
    """The call of a request; a FastAPI dependency."""
    return Call(request.app.state.service, budget_of(request))


TheCall = Annotated[Call, Depends(the_call)]


def budget_of(request: Request) -> float | None:
    """Milliseconds from the header ``x-budget-ms`` or the query's ``timeout`` in seconds."""
    from_header = _positive(BUDGET_HEADER, request.headers.get(BUDGET_HEADER), 1)
    from_query = _positive("timeout", request.query_params.get("timeout"), 1000)
    return shorter(from_header, from_query)


def shorter(first: float | None, second: float | None) -> float | None:
    """The shorter of two budgets; None is no limit."""
    given = [budget for budget in (first, second) if budget is not None]
    return min(given, default=None)


def _check_count(documents: int) -> None:
    if documents > MAX_DOCUMENTS:
        raise RequestProblem(
            Kind.too_large,
            f"{documents:,} documents: at most {MAX_DOCUMENTS:,} are accepted",
            "documents",
        )


def _positive(name: str, text: str | None, factor: float) -> float | None:
    if text is None:
        return None
    try:
        value = float(text) * factor
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise RequestProblem(Kind.invalid, f"{name}={shown(text)}: expected a number over 0", name)
    return value
