"""Warnings about the use of a reranker, each once: costly depths, thresholds, unknown words."""

import logging
import warnings

from resift.rerank.options import RankOptions
from resift.types import Receipt

DEPTH_ADVICE = 100

_log = logging.getLogger("resift")


def warn(message: str, category: type[Warning], stacklevel: int) -> None:
    """Warn; if filters turn the warning into an error, log the message instead of raising.

    `stacklevel` 1 is the caller.
    """
    try:
        warnings.warn(message, category, stacklevel=stacklevel + 1)
    except category:
        _log.warning(message)


class Hints:
    """Gives each warning once; it points at the caller of `Reranker`."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def give(self, receipt: Receipt, options: RankOptions, *, of_depth: bool = False) -> None:
        """Warn about a call; with `of_depth`, for calls that ran alone, also about its time."""
        hints = {
            "depth": _of_depth(receipt) if of_depth else None,
            "query": _of_query(receipt),
            "documents": _of_documents(receipt),
            "scores": _of_scores(receipt, options),
        }
        for topic, hint in hints.items():
            if hint and topic not in self._given:
                self._given.add(topic)
                warn(hint, UserWarning, stacklevel=3)


def _of_depth(receipt: Receipt) -> str | None:
    """A warning about a costly depth."""
    depth = receipt.depth
    if depth <= DEPTH_ADVICE or receipt.partial:
        return None
    took_ms = receipt.timings_ms["total"]
    excess_ms = took_ms * (1 - DEPTH_ADVICE / depth)
    return (
        f"{depth} candidates took {took_ms:.0f} ms, about {excess_ms:.0f} ms of it for those "
        f"beyond {DEPTH_ADVICE}; depths over {DEPTH_ADVICE} seldom pay"
    )


def _of_query(receipt: Receipt) -> str | None:
    share = receipt.query_unknown_share
    if not share:
        return None
    return (
        f"{receipt.model} does not know {share:.0%} of the query's tokens, which count for "
        "nothing in its scores; use a model of the query's language "
        "(Receipt.query_unknown_share has the share of each call)"
    )


def _of_documents(receipt: Receipt) -> str | None:
    count = receipt.mostly_unknown
    if not count:
        return None
    return (
        f"{receipt.model} does not know most of the tokens of {count} of {receipt.depth} "
        "documents, which count for nothing in their scores; use a model of their language "
        "(Hit.unknown_share has the share of each document)"
    )


def _of_scores(receipt: Receipt, options: RankOptions) -> str | None:
    """A warning about thresholds for scores that are not probabilities."""
    thresholds = (options.min_score, options.abstain_below)
    if thresholds == (None, None) or receipt.calibration in ("model", "judged"):
        return None
    if receipt.calibration == "judged_other_depth":
        return f"min_score and abstain_below: {receipt.notes[-1]}"
    return (
        "min_score and abstain_below: scores are not calibrated here, so that 0.5 is not a "
        "probability of one half; fit them to your judgments with  resift calibrate"
    )
