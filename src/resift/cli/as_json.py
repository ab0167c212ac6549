"""JSON that every reader takes: no NaN, nothing of numpy's, odd metadata as text."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from resift.plain_json import plain
from resift.types import Ranking

FORMAT = 1
"""Of the document that ``--json`` prints. Raised where a field goes or changes its meaning."""


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
    return [hit | plain(own) for hit, own in zip(ranking.to_dicts(), beside, strict=True)]


def text(value: Any, indent: int | None = None) -> str:
    """As people read it where stdout can show that, else in ASCII; lone surrogates need it."""
    known = plain(value)
    shown = json.dumps(known, ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        shown.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(known, indent=indent, allow_nan=False)
    return shown
