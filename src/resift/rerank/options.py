"""What a caller wants of a ranking, checked: each argument is taken, or refused in one line.

Numbers may be of any library. Truth values and texts are none, so that a mistake is not taken.
"""

import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from resift.errors import InputError
from resift.rerank.thresholds import Thresholds
from resift.rerank.values import number, shown, truth, whole

MOST_MS = threading.TIMEOUT_MAX * 1000
"""What a thread can wait for: 292 years, so that more is no limit."""


@dataclass(frozen=True, slots=True)
class RankOptions:
    """Its first `top_n`, at so much `weight` of the first stage; None takes all.

    `tolerance` is for the early_exit, which `exact` forbids. Raises `InputError` for what no call can
    use.
    """

    top_n: int | None
    weight: float
    exact: bool
    tolerance: float
    thresholds: Thresholds

    def __post_init__(self) -> None:
        tolerance = number(self.tolerance)
        if tolerance is None or not 0 < tolerance <= 0.5:
            raise InputError(
                f"tolerance={shown(self.tolerance)}: expected a number over 0, up to 0.5"
            )
        object.__setattr__(self, "top_n", checked_count("top_n", self.top_n))
        object.__setattr__(self, "exact", checked_flag("exact", self.exact))
        object.__setattr__(self, "tolerance", tolerance)


def checked_count(name: str, count: object) -> int | None:
    """A whole number from 1; None, for all, stays None. Raises `InputError`."""
    if count is None:
        return None
    value = whole(count)
    if value is None or value < 1:
        raise InputError(f"{name}={shown(count)}: expected a whole number from 1, or None for all")
    return min(value, sys.maxsize)


def checked_flag(name: str, flag: object) -> bool:
    """True or False, of any library. Raises `InputError`: texts that say no are true in Python."""
    value = truth(flag)
    if value is None:
        raise InputError(f"{name}={shown(flag)}: expected True or False")
    return value


def checked_steps(steps: object) -> list[int]:
    """Whole numbers, ascending, each once. Raises `InputError`."""
    expected = f"steps={shown(steps)}: expected whole numbers, like [10, 20]"
    if not isinstance(steps, Iterable) or isinstance(steps, str | bytes | bytearray | Mapping):
        raise InputError(expected)
    try:
        counts = [whole(step) for step in steps]
    except TypeError:  # an array without a dimension says only here that it is no list
        raise InputError(expected) from None
    if None in counts:
        raise InputError(expected)
    return sorted({count for count in counts if count is not None})


def checked_budget(budget_ms: object) -> float | None:
    """Milliseconds from 0: at 0 what is known already is the answer. None is no limit.

    So are infinity and more than a thread can wait for. Raises `InputError` for what is no time.
    """
    if budget_ms is None:
        return None
    if isinstance(budget_ms, int | float | np.floating) and budget_ms >= MOST_MS:
        return None
    value = number(budget_ms)
    if value is None or value < 0:
        raise InputError(f"budget_ms={shown(budget_ms)}: expected milliseconds from 0, or None")
    return value if value < MOST_MS else None
