"""Plain JSON: no NaN, no numpy types, metadata of other types as text."""

import json
import math
import operator
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from resift.types import Ranking

FORMAT = 1
"""Version of the ``--json`` document. It changes where a field goes or changes its meaning."""

_DEEPEST = 64


def document(ranking: Ranking, more: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """A ranking as ``{"format", "query", "hits", "receipt"}``.

    Hits have the fields of `Hit`, in rank order; `more` adds fields to the first of them.
    """
    return {
        "format": FORMAT,
        "query": ranking.query,
        "hits": lines(ranking, more),
        "receipt": plain(ranking.receipt),
    }


def lines(ranking: Ranking, more: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """The hits of a ranking, without the receipt."""
    extras = [*more, *({} for _ in range(len(ranking) - len(more)))]
    return [plain(hit) | plain(extra) for hit, extra in zip(ranking, extras, strict=True)]


def text(value: Any, indent: int | None = None) -> str:
    """JSON text; ASCII where the encoding of stdout cannot show it (lone surrogates)."""
    known = plain(value)
    shown = json.dumps(known, ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        shown.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(known, indent=indent, allow_nan=False)
    return shown


def plain(value: Any, depth: int = 0) -> Any:
    """The value in JSON types: NaN and infinity become null, other types become text."""
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
        return {_key(key): plain(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if hasattr(value, "tolist"):  # an array of numpy's, or a number
        return plain(value.tolist(), depth + 1)
    if isinstance(value, Iterable) and not hasattr(value, "isoformat"):
        return [plain(entry, depth + 1) for entry in value]
    return str(value)


def _number(value: Any) -> int | float | None:
    """An int or a float, of numpy and of subclasses too; None for anything else."""
    if isinstance(value, float):
        return float(value)
    try:
        return operator.index(value)
    except TypeError:
        return None


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(key)
