"""What a caller wants of a ranking, checked."""

import math
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


def checked_budget(budget_ms: object) -> float | None:
    """Milliseconds as a float; None for no limit, which infinity is as well.

    0 takes what is known at once. Raises `InputError` for what is no time.
    """
    if budget_ms is None:
        return None
    number = isinstance(budget_ms, int | float | np.number) and not isinstance(budget_ms, bool)
    try:
        value = float(budget_ms) if number else math.nan  # type: ignore[arg-type]
    except (OverflowError, TypeError):
        value = math.nan if not number else math.inf
    if not value >= 0:
        raise InputError(f"budget_ms={budget_ms!r}: expected milliseconds from 0, or None")
    return None if math.isinf(value) else value
