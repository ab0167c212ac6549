"""What a caller should know of its own calls, said once: costly depths, odd scores, odd words."""

import logging
import warnings

from resift.rerank.thresholds import Thresholds
from resift.types import Receipt

DEPTH_ADVICE = 100

_log = logging.getLogger("resift")


def warn(message: str, category: type[Warning], stacklevel: int) -> None:
    """Warn, at the cost of no answer: where warnings are errors it goes to the log ``resift``.

    `stacklevel` 1 is the caller.
    """
    try:
        warnings.warn(message, category, stacklevel=stacklevel + 1)
    except category:  # the filters made an error of it; nothing else raises one here
        _log.warning(message)


class Hints:
    """Warns of each thing once, at the place of whoever called its caller."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def of_depth(self, receipt: Receipt) -> None:
        """Candidates beyond the depth that pays."""
        depth = receipt.depth
        if depth <= DEPTH_ADVICE or receipt.partial:
            return
        took_ms = receipt.timings_ms["total"]
        rest = took_ms * (1 - DEPTH_ADVICE / depth)
        self._say(
            "depth",
            f"{depth} candidates took {took_ms:.0f} ms, about {rest:.0f} ms of it for those "
            f"beyond {DEPTH_ADVICE}; depths over {DEPTH_ADVICE} seldom pay",
        )

    def of_query(self, receipt: Receipt) -> None:
        """Words of the query that the model does not know."""
        share = receipt.query_unknown_share
        if share:
            self._say(
                "query",
                f"{receipt.model} does not know {share:.0%} of the query's tokens, which count for "
                "nothing in its scores; use a model of the query's language "
                "(Receipt.query_unknown_share has the share of each call)",
            )

    def of_scores(self, receipt: Receipt, thresholds: Thresholds) -> None:
        """Thresholds for scores that are no chances."""
        if not thresholds.asked or receipt.calibration in ("model", "judged"):
            return
        if receipt.calibration == "judged_otherwise":
            self._say("scores", f"min_score and abstain_below: {receipt.notes[-1]}")
            return
        self._say(
            "scores",
            "min_score and abstain_below look at scores that are not calibrated, so that 0.5 is no even "
            "chance; fit chances to your judgments with  resift calibrate",
        )

    def _say(self, topic: str, hint: str) -> None:
        if topic in self._said:
            return
        self._said.add(topic)
        warn(hint, UserWarning, stacklevel=4)
