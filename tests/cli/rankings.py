"""Hits and rankings made by hand, for tests of what is printed."""

from dataclasses import replace
from typing import Any

from resift.types import Citation, Hit, Ranking, Receipt

RECEIPT = Receipt(
    model="m", fingerprint="", runtime="r", depth=3, scored=3, cut=0, skipped=0, partial=False,
    reason=None, timings_ms={"total": 5.0}, tokens=9, padding_share=0.0, fusion_weight=0.0,
)  # fmt: skip


def citation(uri: str, **fields: Any) -> Citation:
    return Citation(**{"uri": uri, "doc_id": uri, "start": 0, "end": 0, **fields})


def hit(text: Any, title: str = "", uri: str = "", **fields: Any) -> Hit:
    """A hit at rank 1; with fields, it has a citation."""
    return Hit(
        rank=1, index=0, id="a", score=0.5, logit=1.0, text=text, first_stage_rank=4,
        first_stage_score=None, tokens_seen=1, tokens_dropped=0, span=(0, len(str(text))),
        status="ok", title=title, citation=citation(uri, **fields) if uri else None,
    )  # fmt: skip


def ranking(*hits: Hit, query: str = "q", **receipt: Any) -> Ranking:
    """The hits with ranks from 1."""
    ranked = (replace(each, rank=rank) for rank, each in enumerate(hits, 1))
    return Ranking(query, tuple(ranked), replace(RECEIPT, **receipt))
