"""Values of any library as plain Python: a number, a whole number, a text, or nothing.

Callers' values come out of numpy, pandas, Arrow, torch, JSON and databases. What is read of them
here is what hits and receipts hold, so that they compare, pickle and print as plain Python does.
Knows no library but numpy.
"""

import math
import operator

import numpy as np

from resift.errors import shown as shown

_MISSING = ("NAType", "NaTType")  # pandas' own, which are no floats


def number(value: object, *, text: bool = False) -> float | None:
    """A finite number, of whatever kind: Decimal, Fraction, a scalar or 0-d array of any library.

    None for what is no number, a truth value among them. With `text` a string that says a number
    is one as well.
    """
    value = _unwrapped(value)
    if isinstance(value, str):
        if not text or "_" in value:
            return None
    elif isinstance(value, bool | np.bool_ | bytes) or not hasattr(type(value), "__float__"):
        return None
    try:
        result = float(value)  # type: ignore[arg-type]
    except Exception:  # whatever a foreign __float__ raises, it gave no number
        return None
    return result if math.isfinite(result) else None


def whole(value: object, *, text: bool = False) -> int | None:
    """A whole number, 3.0 among them; None for all else. `text` as in `number`."""
    value = _unwrapped(value)
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(operator.index(value))
    if isinstance(value, str) and text and value.strip().isdecimal():
        return int(value) if len(value) < 100 else None
    approximate = number(value, text=text)
    return int(approximate) if approximate is not None and approximate.is_integer() else None


def truth(value: object) -> bool | None:
    """A truth value of any library; None for all else, numbers and texts among them."""
    value = _unwrapped(value)
    return bool(value) if isinstance(value, bool | np.bool_) else None


def string(value: object) -> str | None:
    """A plain string for any kind of string (numpy's, an enumeration's), None for all else."""
    return str.__str__(value) if issubclass(type(value), str) else None


def is_text(text: str) -> bool:
    """Whether a string has no lone surrogates: bytes that were decoded badly leave some."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_missing(value: object) -> bool:
    """Whether a value stands for none: None, NaN, pandas' NA and NaT."""
    if value is None or type(value).__name__ in _MISSING:
        return True
    return isinstance(value, float | np.floating) and math.isnan(value)


def _unwrapped(value: object) -> object:
    """What a scalar or 0-d array of numpy, torch and their like holds."""
    if isinstance(value, str | int | float):
        return value
    try:
        return value.item() if getattr(value, "shape", None) == () else value  # type: ignore[attr-defined]
    except Exception:  # on a device that is gone, without data: nothing that could be read
        return None
