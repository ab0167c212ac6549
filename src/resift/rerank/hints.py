"""What a caller should know of its own calls, said once: costly depths, odd scores, odd words."""

import warnings

from resift.rerank.thresholds import Thresholds
from resift.types import Receipt

DEPTH_ADVICE = 100


class Hints:
    """Warns of each thing once, at the place of whoever called its caller."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def of_depth(self, receipt: Receipt) -> None:
        """Candidates beyond the depth that pays."""
        depth = receipt.depth
        if depth <= DEPTH_ADVICE or receipt.partial or "depth" in self._said:
            return
        self._said.add("depth")
        took_ms = receipt.timings_ms["total"]
        rest = took_ms * (1 - DEPTH_ADVICE / depth)
        warnings.warn(
            f"{depth} candidates took {took_ms:.0f} ms, about {rest:.0f} ms of it for those "
            f"beyond {DEPTH_ADVICE}; depths over {DEPTH_ADVICE} seldom pay",
            stacklevel=3,
        )

    def of_query(self, receipt: Receipt) -> None:
        """Words of the query that the model does not know."""
        share = receipt.query_unknown_share
        if not share or "query" in self._said:
            return
        self._said.add("query")
        warnings.warn(
            f"{receipt.model} does not know {share:.0%} of the query's tokens, which count for "
            "nothing in its scores; use a model of the query's language "
            "(Receipt.query_unknown_share has the share of each call)",
            stacklevel=3,
        )

    def of_scores(self, receipt: Receipt, thresholds: Thresholds) -> None:
        """Thresholds for scores that are no chances."""
        is_chance = receipt.calibration in ("model", "judged")
        if not thresholds.asked or is_chance or "scores" in self._said:
            return
        self._said.add("scores")
        if receipt.calibration == "judged_otherwise":
            warnings.warn(f"min_score and abstain: {receipt.notes[-1]}", stacklevel=3)
            return
        warnings.warn(
            "min_score and abstain look at scores that are not calibrated, so that 0.5 is no even "
            "chance; fit chances to your judgments with  resift calibrate",
            stacklevel=3,
        )
