"""The protocol of second stages, and the check of what they return."""

import math
from typing import Any, Protocol

from resift.errors import RerankerError, shown
from resift.types import Candidate, Ranking


class Ranker(Protocol):
    """The protocol of a second stage, such as `Reranker`.

    `rank` also gets those of `exact`, `tolerance`, `fusion_weight`, `min_score`, `abstain_below`
    and `long_documents` that the caller of a search sets. The query is in the form of indexed text
    (`index.normalisation`). `outages.is_outage` decides which of
    its errors end a search. `Index.asearch` awaits `arank`, with the same arguments, if the object
    has it.
    """

    def rank(
        self,
        query: str,
        documents: "list[Candidate]",
        *,
        top_n: int | None = None,
        budget_ms: float | None = None,
    ) -> Ranking:
        """Put `documents` in order for `query` and return the first `top_n`."""
        ...


def checked_ranking(
    ranking: object, count: int, reranker: object, top_n: int | None, *, may_omit: bool = False
) -> Ranking:
    """The ranking that `reranker` made of `count` candidates, if it is one.

    Raises `RerankerError` unless each hit is another one of the candidates, no logit is infinite or
    NaN, and there are `top_n` hits, or one for every candidate. With `may_omit`, because of a
    `min_score`, there may be fewer.
    """
    name = getattr(reranker, "name", None) or type(reranker).__name__
    if not isinstance(ranking, Ranking):
        raise RerankerError(f"{name}: returned {shown(ranking)}; expected a Ranking")
    expected = count if top_n is None else min(top_n, count)
    indices: list[Any] = [hit.index for hit in ranking]
    known = {index for index in indices if isinstance(index, int) and 0 <= index < count}
    if len(known) < len(indices) or (len(known) < expected and not may_omit):
        raise RerankerError(
            f"{name}: returned {len(indices)} hits, {len(known)} of them of different candidates; "
            f"expected {expected} of {count} candidates"
        )
    if any(hit.logit is not None and not math.isfinite(hit.logit) for hit in ranking):
        raise RerankerError(f"{name}: returned a logit that is no finite number")
    return ranking
