"""How far chances are from what happened: pure, on arrays of one entry a judged pair.

`chances` are in 0..1, ``(n,)`` float64, and `relevant` is whether the pair was judged an answer,
``(n,)`` bool; neither is empty.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15  # as many as in Guo et al. 2017
LEAST = 1e-15  # a chance of nothing that happened would cost everything

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs of like chances: how many, their mean chance, and the share that are answers."""

    pairs: int
    chance: float
    share: float


def reliability(chances: Floats, relevant: Bools, bins: int = BINS) -> list[Bin]:
    """At most `bins` bins with rising chances, of like size as far as equal chances allow.

    Of like size, not of like width (Nixon et al. 2019): of a hundred candidates most have next to
    no chance, and bins of like width would leave all but the first to a few pairs each.
    """
    inner = np.quantile(chances, np.linspace(0, 1, bins + 1)[1:-1])
    own = np.searchsorted(inner, chances, side="right")
    found = []
    for number in np.unique(own):
        inside = own == number
        found.append(
            Bin(int(inside.sum()), float(chances[inside].mean()), float(relevant[inside].mean()))
        )
    return found


def calibration_error(chances: Floats, relevant: Bools, bins: int = BINS) -> float:
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017) over `reliability`'s bins.

    The mean over pairs of how far their bin's mean chance is from its share of answers.
    """
    found = reliability(chances, relevant, bins)
    return sum(own.pairs * abs(own.chance - own.share) for own in found) / len(chances)


def log_loss(chances: Floats, relevant: Bools) -> float:
    """Mean of minus the log of the chance that was given to what happened, in nats."""
    given = np.where(relevant, chances, 1 - chances)
    return float(-np.log(np.maximum(given, LEAST)).mean())
