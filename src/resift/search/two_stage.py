"""One search: text → retrieve → fuse → take the window's texts → rerank → Ranking."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from resift.index.embed import Embedder
from resift.index.keep import Keeper
from resift.index.rows import Passage
from resift.index.snapshot import Scored, Snapshot, View
from resift.search.fusion import reciprocal_rank_fusion
from resift.types import Candidate, Hit, Ranking, Receipt

Mode = Literal["hybrid", "dense", "lexical"]
MODES: tuple[Mode, ...] = ("hybrid", "dense", "lexical")


class Ranker(Protocol):
    """A second stage: what `search` asks of a reranker.

    `min_score` and `abstain` are handed to `rank` as well, only where a search sets them.
    """

    def rank(
        self,
        query: str,
        documents: Sequence[Candidate],
        *,
        top_n: int | None = None,
        budget_ms: float | None = None,
    ) -> Ranking:
        """Put `documents` in order for `query` and keep the first `top_n`."""
        ...


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How to search: `depth` candidates go to the reranker, `top_n` come back.

    `budget_ms` is for the whole search: the reranker gets what the first stage leaves of it.
    `max_requests` to the object store: once they are made only the first `top_n` passages are read
    yet, and nothing else is begun. `where` is the filter as SQL, from `index.where`. `min_score`
    and `abstain` are the reranker's.
    """

    top_n: int = 10
    depth: int = 100
    mode: Mode = "hybrid"
    budget_ms: float | None = None
    max_requests: int | None = None
    where: str | None = None
    min_score: float | None = None
    abstain: float | None = None


def search(
    query: str, snapshot: Snapshot, embedder: Embedder, reranker: Ranker | None, plan: SearchPlan
) -> Ranking:
    """Search one version of an index.

    Without a reranker, or when it fails or has no time left, the first stage's order is the
    answer; in the last two cases the receipt is `partial` and says why.
    """
    clock = _Clock(plan.budget_ms)
    view = snapshot.view()
    purse = _Purse(view, plan.max_requests)
    window = _retrieve(query, view, embedder, plan, clock, purse)[: plan.depth]
    with clock.stage("fetch"):
        passages = _fetch(view, [row_id for row_id, _ in window], reranker, plan, purse)
    candidates = _candidates(passages, window[: len(passages)])
    ranking = _rerank(query, candidates, reranker, plan, clock)
    timings_ms = clock.timings_ms | dict(ranking.receipt.timings_ms)
    receipt = replace(
        ranking.receipt,
        depth=len(window),
        version=snapshot.version.number,
        requests=view.requests,
        bytes=view.bytes,
        partial=ranking.receipt.partial or purse.is_empty,
        reason=ranking.receipt.reason or purse.reason,
        abstained=ranking.receipt.abstained and not purse.is_empty,  # some of it was not seen
        timings_ms=timings_ms | {"total": clock.elapsed_ms()},
    )
    return replace(ranking, receipt=receipt)


def _retrieve(
    query: str, view: View, embedder: Embedder, plan: SearchPlan, clock: "_Clock", purse: "_Purse"
) -> Scored:
    """Row ids with scores, best first: one arm's, or both fused. The two look at once."""
    allowed = None
    if plan.where:
        with clock.stage("filter"):
            allowed = view.allowed(plan.where)
        if not allowed.count:
            return []

    def dense() -> Scored:
        with clock.stage("embed"):
            vector = embedder.embed_query(query)
        with clock.stage("dense"):
            return view.dense(vector, plan.depth, allowed)

    def lexical() -> Scored:
        with clock.stage("lexical"):
            return view.lexical(query, plan.depth, allowed)

    if plan.mode != "hybrid":
        return dense() if plan.mode == "dense" else lexical()
    if plan.max_requests is None:
        with ThreadPoolExecutor(1, "resift-lexical") as other:
            words = other.submit(lexical)
            arms = [dense(), words.result()]
    else:
        arms = [lexical()]
        if purse.has("the dense arm"):
            arms.insert(0, dense())
    with clock.stage("fuse"):
        return reciprocal_rank_fusion([[row_id for row_id, _ in arm] for arm in arms])


def _fetch(
    view: View, row_ids: Sequence[int], reranker: Ranker | None, plan: SearchPlan, purse: "_Purse"
) -> list[Passage]:
    """The window's passages, with the states that this reranker has kept of them.

    Without a reranker nobody looks at more of them than are asked for.
    """
    if reranker is None or (len(row_ids) > plan.top_n and not purse.has("the rest of the window")):
        return view.take(row_ids[: plan.top_n])
    passages = view.take(row_ids)
    if not isinstance(reranker, Keeper):
        return passages
    own = [
        row_id
        for row_id, passage in zip(row_ids, passages, strict=True)
        if passage.has_states and passage.kept and passage.kept.model == reranker.fingerprint
    ]
    states = view.states(own) if own and purse.has("kept states") else {}
    return [
        replace(passage, kept=replace(passage.kept, states=states[row_id]))
        if passage.kept and row_id in states
        else passage
        for row_id, passage in zip(row_ids, passages, strict=True)
    ]


def _rerank(
    query: str,
    candidates: list[Candidate],
    reranker: Ranker | None,
    plan: SearchPlan,
    clock: "_Clock",
) -> Ranking:
    if reranker is None:
        return _first_stage(query, candidates, plan, clock, reason=None)
    left = clock.left_ms()
    if left is not None and left <= 0:
        return _first_stage(query, candidates, plan, clock, "time was up before reranking")
    asked = {"min_score": plan.min_score, "abstain": plan.abstain}
    more = {name: value for name, value in asked.items() if value is not None}
    try:
        return reranker.rank(query, candidates, top_n=plan.top_n, budget_ms=left, **more)
    except Exception as error:  # whatever goes wrong there, the first stage's answer stands
        reason = f"the reranker failed: {type(error).__name__}: {error}".partition("\n")[0]
        return _first_stage(query, candidates, plan, clock, reason)


class _Purse:
    """How many requests may still be made."""

    def __init__(self, view: View, most: int | None) -> None:
        self._view = view
        self._most = most
        self._refused: list[str] = []

    def has(self, what: str) -> bool:
        """Whether `what` may be read; noted where it may not."""
        if self._most is None or self._view.requests < self._most:
            return True
        self._refused.append(what)
        return False

    @property
    def is_empty(self) -> bool:
        """Whether something was refused."""
        return bool(self._refused)

    @property
    def reason(self) -> str | None:
        """What was left out, if anything was."""
        if not self._refused:
            return None
        return f"max_requests={self._most} were made: without {', '.join(self._refused)}"


class _Clock:
    """Milliseconds by stage, and what is left of the budget."""

    def __init__(self, budget_ms: float | None) -> None:
        self._started = time.perf_counter()
        self._budget_ms = budget_ms
        self.timings_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        started = time.perf_counter()
        yield
        self.timings_ms[name] = (time.perf_counter() - started) * 1000

    def left_ms(self) -> float | None:
        """What is left of the budget; None where there is none."""
        if self._budget_ms is None:
            return None
        return self._budget_ms - self.elapsed_ms()

    def elapsed_ms(self) -> float:
        """Since the search began."""
        return (time.perf_counter() - self._started) * 1000


def _candidates(passages: list[Passage], window: Scored) -> list[Candidate]:
    return [
        Candidate(
            id=passage.id,
            text=passage.text,
            title=passage.title,
            metadata={
                **passage.metadata,
                "uri": passage.origin.uri,
                "etag": passage.origin.etag,
                "object_version": passage.origin.object_version,
                "doc_id": passage.doc_id,
                "heading": passage.heading,
                "page": passage.page,
                "row": passage.row,
                "start": passage.start,
                "end": passage.end,
            },
            rank=rank,
            score=score,
            kept=passage.kept,
        )
        for rank, (passage, (_, score)) in enumerate(zip(passages, window, strict=True), start=1)
    ]


def _first_stage(
    query: str, candidates: list[Candidate], plan: SearchPlan, clock: _Clock, reason: str | None
) -> Ranking:
    """The candidates as they came. Not reranked: they have no score of their own."""
    hits = tuple(
        Hit(
            rank=index + 1,
            index=index,
            id=candidate.id,
            score=None,
            logit=None,
            text=candidate.text,
            first_stage_rank=index + 1,
            first_stage_score=candidate.score,
            tokens_seen=0,
            tokens_dropped=0,
            span=(0, 0),
            status="not_reranked",
            title=candidate.title,
            metadata=candidate.metadata,
        )
        for index, candidate in enumerate(candidates[: plan.top_n])
    )
    receipt = Receipt(
        model="none",
        fingerprint="none",
        runtime="none",
        depth=len(candidates),
        scored=0,
        cut=0,
        skipped=0,
        partial=reason is not None,
        reason=reason,
        timings_ms=clock.timings_ms | {"total": clock.elapsed_ms()},
        tokens=0,
        padding_share=0.0,
        fusion_weight=0.0,
    )
    return Ranking(query, hits, receipt)
