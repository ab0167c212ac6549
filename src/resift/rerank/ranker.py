"""The protocol of second stages."""

from typing import Protocol

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
