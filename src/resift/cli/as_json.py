"""Rankings as plain JSON: no NaN, no numpy types, and metadata of other types as text."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from resift.plain_json import plain
from resift.types import Ranking

FORMAT = 1
"""Version of the ``--json`` document, raised if a field is removed or changes its meaning."""


def document(ranking: Ranking, extra: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """A ranking as ``{"format", "query", "hits", "receipt"}``.

    Hits have the fields of `Hit`, in rank order; `extra` adds fields to the first hits.
    """
    return {
        "format": FORMAT,
        "query": ranking.query,
        "hits": lines(ranking, extra),
        "receipt": plain(ranking.receipt),
    }


def lines(ranking: Ranking, extra: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """The hits of a ranking, without the receipt."""
    hits = ranking.to_dicts()
    for hit, added in zip(hits, extra, strict=False):
        hit.update(plain(added))
    return hits


def text(value: Any, indent: int | None = None) -> str:
    """JSON text; escaped as ASCII if stdout cannot encode it (lone surrogates)."""
    value = plain(value)
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent, allow_nan=False)
    return text
