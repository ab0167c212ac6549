"""JSON that every reader takes: no NaN, nothing of numpy's, odd metadata as text."""

import json
import math
import operator
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from resift.types import Ranking

FORMAT = 1
"""Of the document that ``--json`` prints. Raised where a field goes or changes its meaning."""

_DEEPEST = 64


def document(ranking: Ranking, more: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """A ranking as ``{"format", "query", "hits", "receipt"}``.

    Hits have the fields of `Hit`, in rank order; `more` is for the first of them, beside theirs.
    """
    return {
        "format": FORMAT,
        "query": ranking.query,
        "hits": lines(ranking, more),
        "receipt": plain(ranking.receipt),
    }


def lines(ranking: Ranking, more: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Its hits alone."""
    beside = [*more, *({} for _ in range(len(ranking) - len(more)))]
    return [plain(hit) | plain(own) for hit, own in zip(ranking, beside, strict=True)]


def text(value: Any, indent: int | None = None) -> str:
    """As people read it where stdout can show that, else in ASCII; lone surrogates need it."""
    known = plain(value)
    shown = json.dumps(known, ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        shown.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(known, indent=indent, allow_nan=False)
    return shown


def plain(value: Any, depth: int = 0) -> Any:
    """The same of what JSON has: a number that is none is null, what it has no word for is text."""
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    number = _number(value)
    if number is not None:
        return number if math.isfinite(number) else None
    if depth >= _DEEPEST:
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return plain(named, depth)
    if isinstance(value, Mapping):
        return {_key(key): plain(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if hasattr(value, "tolist"):  # an array of numpy's, or a number
        return plain(value.tolist(), depth + 1)
    if isinstance(value, Iterable) and not hasattr(value, "isoformat"):
        return [plain(entry, depth + 1) for entry in value]
    return str(value)


def _number(value: Any) -> int | float | None:
    """An int or a float, also where it comes as a subclass or as numpy's."""
    if isinstance(value, float):
        return float(value)
    try:
        return operator.index(value)
    except TypeError:
        return None


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(key)
