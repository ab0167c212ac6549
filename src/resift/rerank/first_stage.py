"""The ranking of candidates that were not reranked, in the order of the first stage."""

from collections.abc import Sequence

import numpy as np

from resift.rerank.result import Hits
from resift.rerank.state import CallState
from resift.types import Candidate, Ranking, Receipt


def first_stage_ranking(
    query: str, candidates: Sequence[Candidate], top_n: int, reason: str | None = None
) -> Ranking:
    """The first `top_n` candidates in input order, without scores.

    With a `reason` why they were not reranked, the receipt is `partial`.
    """
    state = CallState.of([""] * len(candidates))
    state.statuses = ["not_reranked"] * len(candidates)
    unscored = np.full(len(candidates), np.nan)
    indices = np.arange(min(top_n, len(candidates)))
    hits = Hits(indices, candidates[:top_n], state, unscored, (unscored, unscored))
    receipt = Receipt(
        model="none",
        fingerprint="none",
        runtime="none",
        depth=len(candidates),
        scored=0,
        cut=0,
        skipped=0,
        partial=reason is not None,
        reason=reason,
        timings_ms={},
        tokens=0,
        padding_share=0.0,
        fusion_weight=0.0,
    )
    return Ranking.of(query, hits, receipt)
