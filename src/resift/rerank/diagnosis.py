"""What wrong numbers look like: a wrong head, a broken quantisation, this machine. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resift.rerank.checks import FLAT, ORDER, Check, agreement
from resift.rerank.order import sigmoid
from resift.rerank.readings import Numbers

FOLLOWS = 0.6  # Kendall's tau; 8 unrelated pairs reach it in 1 of 60 cases
SQUASHED = 0.02  # from a sigmoid of float32's logits
STRAIGHT = 5  # pairs; two numbers are fitted to them


@dataclass(frozen=True, slots=True)
class Wrong:
    """Numbers that are not what they were: `found` here, `exact` in float32, both ``(pairs,)``."""

    found: Numbers
    exact: Numbers
    tolerance: float
    is_quantised: bool
    is_embedder: bool

    @property
    def head(self) -> str:
        """What stands between a model's layers and its number."""
        return "pooling or prompt" if self.is_embedder else "head"


def diagnosis(wrong: Wrong, checks: Sequence[Check]) -> str:
    """The likeliest cause of the checks that did not pass, and what to do, in a line."""
    failed = {check.name for check in checks if not check.passed}
    layers = "quantisation" if wrong.is_quantised else "weights"
    if "finite" in failed:
        return f"broken {layers}: not every number is one; convert it again"
    if failed & {"head", "reference", "float32", "order"}:
        return _of_numbers(wrong, failed, layers)
    if "alone" in failed:
        return "a score depends on what is read beside it; set RESIFT_RUNTIME to another runtime"
    return "its exits are not those that were measured; convert it again"


def _of_numbers(wrong: Wrong, failed: set[str], layers: str) -> str:
    found, exact = wrong.found, wrong.exact
    tau = agreement(found, exact, 2 * wrong.tolerance)
    if tau is not None and tau >= ORDER and np.abs(found - sigmoid(exact)).max() <= SQUASHED:
        return f"wrong {wrong.head}: a sigmoid stands on top of the logit; convert it again"
    if "head" in failed:
        return (
            f"wrong {wrong.head}: the same number for every pair, as softmax over one label gives; "
            "convert it again"
        )
    if "reference" not in failed:
        return f"broken {layers}, and so from the day it was converted; convert it again"
    if tau is None:
        return "the model or the runtime is broken here; convert it again, with more pairs"
    if tau <= -FOLLOWS:
        return f"wrong {wrong.head}: the order is reversed, as another label's is; convert it again"
    if tau < FOLLOWS:
        return f"wrong {wrong.head} or the weights of another model: {_unlike(layers)}"
    if not failed & {"float32", "order"}:
        return "this processor or runtime computes otherwise; set RESIFT_RUNTIME to another runtime"
    if _is_straight(wrong):
        return f"wrong {wrong.head}: another scale or bias, all else as it was; convert it again"
    return f"broken {layers}: in order, and far from float32; convert it again"


def _unlike(layers: str) -> str:
    """Few pairs cannot tell weights that were broken beyond all likeness from other weights."""
    broken = ", unless the quantisation is broken beyond likeness" if layers != "weights" else ""
    return f"nothing follows the references{broken}; copy or convert it again"


def _is_straight(wrong: Wrong) -> bool:
    """Whether a scale and a bias explain it, to within the tolerance and a share of the range."""
    if len(wrong.found) < STRAIGHT:
        return False
    scale, bias = np.polyfit(wrong.exact, wrong.found, 1)
    off = np.abs(wrong.found - (scale * wrong.exact + bias)).max()
    return bool(off <= max(abs(scale) * 2 * wrong.tolerance, FLAT * np.ptp(wrong.found)))
