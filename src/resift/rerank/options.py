"""Checks of the arguments of a call. Each returns the value in a plain type or raises `InputError`.

Numbers may be of any library. Booleans and strings are not numbers.
"""

import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from resift.errors import InputError, shown
from resift.rerank.early_exit import TOLERANCE
from resift.rerank.values import number, truth, whole
from resift.types import LongDocuments

LONG_DOCUMENTS: tuple[LongDocuments, ...] = ("cut", "windows")

MAX_MS = threading.TIMEOUT_MAX * 1000
"""The longest time that a thread can wait, 292 years; a longer budget is no limit."""

MAX_WEIGHT = 1_000_000
"""The highest `fusion_weight`; at much lower weights the first stage alone decides the order."""


@dataclass(frozen=True, slots=True)
class RankOptions:
    """The options of `Reranker.rank`, documented there. Raises `InputError` for invalid values."""

    top_n: int | None = None
    fusion_weight: float | None = None
    exact: bool = False
    tolerance: float = TOLERANCE
    min_score: float | None = None
    abstain_below: float | None = None
    long_documents: LongDocuments = "cut"

    def __post_init__(self) -> None:
        tolerance = number(self.tolerance)
        if tolerance is None or not 0 < tolerance <= 0.5:
            raise InputError(
                f"tolerance={shown(self.tolerance)}: expected a number over 0, up to 0.5"
            )
        checked = {
            "top_n": checked_count("top_n", self.top_n),
            "fusion_weight": checked_weight(self.fusion_weight),
            "exact": checked_flag("exact", self.exact),
            "tolerance": tolerance,
            "min_score": _checked("min_score", self.min_score, 1),
            "abstain_below": _checked("abstain_below", self.abstain_below, 1),
            "long_documents": checked_long_documents(self.long_documents),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def given(self) -> dict[str, Any]:
        """The options besides `top_n` that are not the default: a `Ranker` need not know others."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        defaults = {item.name: item.default for item in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if name != "top_n" and value != defaults[name]
        }


def checked_count(name: str, count: object) -> int | None:
    """A whole number from 1, or None for all. Raises `InputError`."""
    if count is None:
        return None
    value = whole(count)
    if value is None or value < 1:
        raise InputError(f"{name}={shown(count)}: expected a whole number from 1, or None for all")
    return min(value, sys.maxsize)


def checked_weight(weight: object) -> float | None:
    """A `fusion_weight` from 0, or None for the model's weight. Raises `InputError`."""
    return _checked("fusion_weight", weight, MAX_WEIGHT)


def _checked(name: str, value: object, highest: int) -> float | None:
    """A number from 0 to `highest`, or None."""
    if value is None:
        return None
    checked = number(value)
    if checked is None or not 0 <= checked <= highest:
        raise InputError(f"{name}={shown(value)}: expected a number from 0 to {highest:,}, or None")
    return checked


def checked_long_documents(mode: object) -> LongDocuments:
    """How to read long documents. Raises `InputError`."""
    for name in LONG_DOCUMENTS:
        if isinstance(mode, str) and mode == name:
            return name
    raise InputError(f"long_documents={shown(mode)}: expected {' or '.join(LONG_DOCUMENTS)}")


def checked_flag(name: str, flag: object) -> bool:
    """A boolean of any library. Raises `InputError` for anything else, such as the string "no"."""
    value = truth(flag)
    if value is None:
        raise InputError(f"{name}={shown(flag)}: expected True or False")
    return value


def checked_depths(depths: object) -> list[int]:
    """Whole numbers, ascending, without duplicates. Raises `InputError`."""
    expected = f"depths={shown(depths)}: expected whole numbers, like [10, 20]"
    if not isinstance(depths, Iterable) or isinstance(depths, str | bytes | bytearray | Mapping):
        raise InputError(expected)
    try:
        counts = [whole(depth) for depth in depths]
    except TypeError:  # an array of no dimensions is an Iterable that cannot be iterated
        raise InputError(expected) from None
    if None in counts:
        raise InputError(expected)
    return sorted({count for count in counts if count is not None})


def checked_budget(budget_ms: object) -> float | None:
    """Milliseconds from 0, or None for no limit. Raises `InputError`.

    Infinity, and more than a thread can wait, become None.
    """
    if budget_ms is None:
        return None
    if isinstance(budget_ms, int | float | np.floating) and budget_ms >= MAX_MS:
        return None
    value = number(budget_ms)
    if value is None or value < 0:
        raise InputError(f"budget_ms={shown(budget_ms)}: expected milliseconds from 0, or None")
    return value if value < MAX_MS else None
