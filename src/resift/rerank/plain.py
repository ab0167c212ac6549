"""Values of any library as plain Python: a number, a whole number, a text, or nothing.

Callers' values come out of numpy, pandas, Arrow, torch, JSON and databases. What is read of them
here is what hits and receipts hold, so that they compare, pickle and print as plain Python does.
Knows no library but numpy.
"""

import math
import operator
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

_MISSING = ("NAType", "NaTType")  # pandas' own, which are no floats
_SHOWN = 60  # characters of a value in a message
_WRITTEN_BITS = 14_000  # Python writes no longer integers
DEEPEST = 100
"""Levels of lists and mappings in what is written as JSON."""


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


def string(value: object) -> str | None:
    """A plain string for any kind of string (numpy's, an enumeration's), None for all else."""
    return str.__str__(value) if isinstance(value, str) else None


def is_missing(value: object) -> bool:
    """Whether a value stands for none: None, NaN, pandas' NA and NaT."""
    if value is None or type(value).__name__ in _MISSING:
        return True
    return isinstance(value, float | np.floating) and math.isnan(value)


def shown(value: object) -> str:
    """A value in a message: on one line, and not without end."""
    try:
        line = " ".join(repr(value).split())
    except Exception:  # a foreign __repr__, or a number of too many digits
        return f"a {type(value).__name__}"
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


def as_json(value: object, depth: int = DEEPEST) -> Any:
    """The value as every JSON reader understands it: no NaN, no infinity, names that are texts.

    Numbers of any library become plain ones, and null where they are not finite or have more digits
    than Python writes; frozen results become objects, arrays and sets lists, bytes and all else
    text. What lies deeper than `depth` is null.
    """
    value = _unwrapped(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value) if value.bit_length() < _WRITTEN_BITS else None
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return _nested_as_json(value, depth - 1)


def _nested_as_json(value: object, depth: int) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        named = {_key(key): part for key, part in value.items()}
        return {key: as_json(part, depth) for key, part in named.items()} if depth else None
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return [as_json(part, depth) for part in value] if depth else None
    return None if is_missing(value) else str(value)


def _key(key: object) -> str:
    return str.__str__(key) if isinstance(key, str) else str(_unwrapped(key))


def _unwrapped(value: object) -> object:
    """What a scalar or 0-d array of numpy, torch and their like holds."""
    if isinstance(value, str | int | float):
        return value
    try:
        return value.item() if getattr(value, "shape", None) == () else value  # type: ignore[attr-defined]
    except Exception:  # on a device that is gone, without data: nothing that could be read
        return None
