"""Any value as plain types for JSON: no NaN, no numpy types, other objects as text."""

import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

_DEEPEST = 64

_MAX_BITS = 14_000
"""A longer int has too many digits for Python to write in decimal."""


def plain(value: Any, parents: tuple[int, ...] = ()) -> Any:
    """The value as dicts, lists, text, numbers, booleans and None. Raises nothing.

    NaN and infinities become None. Values of other types become text, and so do iterators, which
    can be read only once, and values that raise when they are read. `parents` are the ids of the
    values that contain this one.
    """
    if value is None or isinstance(value, bool):
        return value
    try:
        number = _number(value)
        if number is not None:
            return None if isinstance(number, float) and not math.isfinite(number) else number
        if issubclass(type(value), str):
            return str(value)
        if len(parents) >= _DEEPEST or id(value) in parents or isinstance(value, Iterator):
            return _text(value)
        return _contents(value, (*parents, id(value)))
    except Exception:  # an object in metadata runs foreign code
        return _text(value)


def _contents(value: Any, parents: tuple[int, ...]) -> Any:
    """A value that is not a scalar: a dict, a list or text."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {_text(key): plain(entry, parents) for key, entry in value.items()}
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if hasattr(value, "tolist"):  # an array or scalar of numpy
        return plain(value.tolist(), parents)
    if isinstance(value, Iterable) and not hasattr(value, "isoformat"):
        return [plain(entry, parents) for entry in value]
    return _text(value)


def _text(value: Any) -> str:
    """The value's text; its type if the text raises."""
    try:
        return str(value)
    except Exception:
        kind = type(value)
        return str.__str__(value) if issubclass(kind, str) else f"<{kind.__name__} object>"


def _number(value: Any) -> int | float | None:
    """An int or a float; None for other types. Subclasses and numpy types are converted."""
    if isinstance(value, float):
        return float(value)
    try:
        number = operator.index(value)
    except Exception:  # a foreign __index__
        return None
    return number if number.bit_length() <= _MAX_BITS else None
