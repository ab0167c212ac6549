"""Rerankers without a model."""

from collections.abc import Sequence
from dataclasses import replace

from resift.types import Candidate, Hit, Ranking, Receipt


class Backwards:
    """Reverses the candidates and records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[Candidate], int | None, float | None]] = []

    def rank(
        self,
        query: str,
        documents: Sequence[Candidate],
        *,
        top_n: int | None = None,
        budget_ms: float | None = None,
    ) -> Ranking:
        self.calls.append((list(documents), top_n, budget_ms))
        hits = [_hit(rank, document) for rank, document in enumerate(reversed(documents), start=1)]
        receipt = Receipt(
            model="backwards", fingerprint="f", runtime="none", depth=len(documents),
            scored=len(documents), cut=0, skipped=0, partial=False, reason=None,
            timings_ms={"run": 1.5}, tokens=0, padding_share=0.0, fusion_weight=0.0,
        )  # fmt: skip
        return Ranking(query, tuple(hits[:top_n]), receipt)


class Picky(Backwards):
    """Accepts and records all arguments of a reranker; always abstains."""

    def __init__(self) -> None:
        super().__init__()
        self.arguments: list[dict[str, float]] = []

    def rank(
        self,
        query: str,
        documents: Sequence[Candidate],
        *,
        top_n: int | None = None,
        budget_ms: float | None = None,
        **thresholds: float,
    ) -> Ranking:
        self.arguments.append(thresholds)
        ranking = super().rank(query, documents, top_n=top_n, budget_ms=budget_ms)
        return replace(ranking, receipt=replace(ranking.receipt, abstained=True))


class Broken:
    """Fails as a model might."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def rank(
        self,
        query: str,
        documents: Sequence[Candidate],
        *,
        top_n: int | None = None,
        budget_ms: float | None = None,
        **more: object,
    ) -> Ranking:
        raise self.error


def _hit(rank: int, document: Candidate) -> Hit:
    assert document.rank is not None
    return Hit(
        rank=rank, index=document.rank - 1, id=document.id, score=1 / rank, logit=0.0,
        text=document.text, first_stage_rank=document.rank, first_stage_score=document.score,
        tokens_seen=1, tokens_dropped=0, span=(0, 1), status="ok", title=document.title,
        metadata=document.metadata,
        citation=document.citation,
    )  # fmt: skip
