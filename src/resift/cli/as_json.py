"""Plain JSON: no NaN, no numpy types, metadata of other types as text."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from resift.plain_json import plain
from resift.types import Ranking

FORMAT = 1
"""Version of the ``--json`` document. It changes where a field goes or changes its meaning."""


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
    return [hit | plain(extra) for hit, extra in zip(ranking.to_dicts(), extras, strict=True)]


def text(value: Any, indent: int | None = None) -> str:
    """JSON text; ASCII where the encoding of stdout cannot show it (lone surrogates)."""
    known = plain(value)
    shown = json.dumps(known, ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        shown.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(known, indent=indent, allow_nan=False)
    return shown
