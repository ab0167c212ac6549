"""Any value as plain types for JSON: no NaN, no numpy types, other objects as text."""

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

_DEEPEST = 64


def plain(value: Any, depth: int = 0) -> Any:
    """The value as dicts, lists, text, numbers, booleans and None.

    NaN and infinities become None; values of other types become text.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    number = _number(value)
    if number is not None:
        return None if isinstance(number, float) and not math.isfinite(number) else number
    if depth >= _DEEPEST:
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return plain(named, depth)
    if isinstance(value, Mapping):
        return {str(key): plain(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if hasattr(value, "tolist"):  # an array or scalar of numpy
        return plain(value.tolist(), depth + 1)
    if isinstance(value, Iterable) and not hasattr(value, "isoformat"):
        return [plain(entry, depth + 1) for entry in value]
    return str(value)


def _number(value: Any) -> int | float | None:
    """An int or a float; None for other types. Subclasses and numpy types are converted."""
    if isinstance(value, float):
        return float(value)
    try:
        return operator.index(value)
    except TypeError:
        return None
