"""What wrong numbers look like: a wrong head, a broken quantisation, this machine. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resift.rerank.checks import ORDER, ModelCheck, agreement
from resift.rerank.ordering import sigmoid
from resift.rerank.references import Numbers

SQUASHED = 0.02  # from a sigmoid of float32's logits
STRAIGHT = 5  # pairs; two numbers are fitted to them, and leave a tenth of what was off at most
NEAR = 2  # tolerances; the two runtimes are .2 apart, the slightest broken layer tried 4


@dataclass(frozen=True, slots=True)
class Wrong:
    """Numbers that are not what they were, ``(pairs,)``: here, where it was made, in float32."""

    found: Numbers
    kept: Numbers
    exact: Numbers
    tolerance: float
    is_quantised: bool
    is_embedder: bool

    @property
    def head(self) -> str:
        """What stands between a model's layers and its number."""
        return "pooling or prompt" if self.is_embedder else "head"


def diagnosis(wrong: Wrong, checks: Sequence[ModelCheck]) -> str:
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
        return _of_one_number(wrong, layers)
    if "reference" not in failed:
        return f"broken {layers}, and so from the day it was converted; convert it again"
    if tau is None:
        return "the model or the runtime is broken here; convert it again, with more pairs"
    if tau <= -ORDER:
        return f"wrong {wrong.head}: the order is reversed, as another label's is; convert it again"
    if tau < ORDER:
        return f"wrong {wrong.head} or the weights of another model: {_unlike(layers)}"
    if np.abs(found - wrong.kept).max() <= NEAR * wrong.tolerance:
        return "this processor or runtime computes otherwise; set RESIFT_RUNTIME to another runtime"
    if _is_straight(wrong):
        return f"wrong {wrong.head}: another scale or bias, all else as it was; convert it again"
    return f"broken {layers}: in order, and off by more than a runtime is; convert it again"


def _of_one_number(wrong: Wrong, layers: str) -> str:
    """Softmax over one label is 1, its logarithm 0; broken layers say something else of all."""
    first = float(wrong.found[0])
    if not np.ptp(wrong.found) and first in (0.0, 1.0):
        return f"wrong {wrong.head}: {first:g} for every pair, as softmax over one label gives"
    return (
        f"wrong {wrong.head} or broken {layers}: the same number for every pair; convert it again"
    )


def _unlike(layers: str) -> str:
    """Few pairs cannot tell weights that were broken beyond all likeness from other weights."""
    broken = ", unless the quantisation is broken beyond likeness" if layers != "weights" else ""
    return f"nothing follows the references{broken}; copy or convert it again"


def _is_straight(wrong: Wrong) -> bool:
    """Whether a scale and a bias of what it was explain nearly all of it."""
    if len(wrong.found) < STRAIGHT:
        return False
    scale, bias = np.polyfit(wrong.kept, wrong.found, 1)
    left = np.abs(wrong.found - (scale * wrong.kept + bias)).max()
    return bool(left <= min(np.abs(wrong.found - wrong.kept).max(), np.ptp(wrong.found)) / 10)
