"""Values of any library as plain Python types: a number, a whole number, a text, or None.

Callers' values come from numpy, pandas, Arrow, torch, JSON and databases. Hits and receipts hold
plain Python types, so that they compare, pickle and print in the usual way.
"""

import math
import operator
import re

import numpy as np

TOKEN_IDS = 1 << 31  # of any vocabulary
_SURROGATES = re.compile("[\ud800-\udfff]")
_MISSING = ("NAType", "NaTType")  # pandas' types, which are not floats


def number(value: object, *, text: bool = False) -> float | None:
    """A finite number of any kind: Decimal, Fraction, a scalar or 0-d array of any library.

    None for anything else, booleans included. With `text`, a string like "1.5" is a number.
    """
    value = _unwrap(value)
    if isinstance(value, str):
        if not text or "_" in value:
            return None
    elif isinstance(value, bool | np.bool_ | bytes) or not hasattr(type(value), "__float__"):
        return None
    try:
        result = float(value)  # type: ignore[arg-type]
    except Exception:  # a foreign __float__ may raise anything
        return None
    return result if math.isfinite(result) else None


def whole(value: object, *, text: bool = False) -> int | None:
    """A whole number, such as 3 or 3.0; None for anything else. `text` as in `number`."""
    value = _unwrap(value)
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(operator.index(value))
    if isinstance(value, str) and text and value.strip().isdecimal():
        return int(value) if len(value) < 100 else None
    approximate = number(value, text=text)
    return int(approximate) if approximate is not None and approximate.is_integer() else None


def token_ids(values: object, name: str) -> tuple[int, ...]:
    """A JSON list of token ids, which is called `name` in the error. Raises `ValueError`."""
    if not isinstance(values, list | tuple) or not all(
        type(value) is int and 0 <= value < TOKEN_IDS for value in values
    ):
        raise ValueError(f"{name} {str(values)[:40]}, expected whole numbers from 0")
    return tuple(values)


def is_newer(format_: object, known: int) -> bool:
    """Whether the format number of a file is above the one that this version reads."""
    return type(format_) is int and format_ > known


def truth(value: object) -> bool | None:
    """A boolean of any library; None for anything else, numbers and strings included."""
    value = _unwrap(value)
    return bool(value) if isinstance(value, bool | np.bool_) else None


def string(value: object) -> str | None:
    """A plain string for any kind of string (numpy's, an enumeration's); None for anything else."""
    return str.__str__(value) if issubclass(type(value), str) else None


def is_text(text: str) -> bool:
    """Whether a string has no lone surrogates, which badly decoded bytes leave."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def without_surrogates(text: str) -> str:
    """A string of the same length with U+FFFD for lone surrogates."""
    return _SURROGATES.sub("\ufffd", text)


def is_missing(value: object) -> bool:
    """Whether a value is None, NaN, or NA or NaT of pandas."""
    if value is None or type(value).__name__ in _MISSING:
        return True
    return isinstance(value, float | np.floating) and math.isnan(value)


def _unwrap(value: object) -> object:
    """The value in a scalar or 0-d array of numpy, torch and similar libraries."""
    if isinstance(value, str | int | float):
        return value
    try:
        return value.item() if getattr(value, "shape", None) == () else value  # type: ignore[attr-defined]
    except Exception:  # its device or its data is gone
        return None
