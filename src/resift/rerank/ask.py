"""What a caller wants of a ranking, checked."""

from dataclasses import dataclass

import numpy as np

from resift.errors import InputError
from resift.rerank.candidates import is_finite
from resift.rerank.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class Ask:
    """Its first `top_n`, at so much `weight` of the first stage; None takes all.

    `tolerance` is for the race, which `exact` forbids. Raises `InputError` for what no call can
    use.
    """

    top_n: int | None
    weight: float
    exact: bool
    tolerance: float
    thresholds: Thresholds

    def __post_init__(self) -> None:
        top_n = self.top_n
        if top_n is not None and (not isinstance(top_n, int | np.integer) or top_n < 1):
            raise InputError(f"top_n={top_n!r}: expected a whole number from 1, or None for all")
        if not (is_finite(self.tolerance) and 0 < self.tolerance <= 0.5):
            raise InputError(f"tolerance={self.tolerance!r}: expected a number over 0, up to 0.5")
