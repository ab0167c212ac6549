"""The first stage: text → retrieve → fuse → take the window's texts → candidates."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

from resift.index.embed import Embedder
from resift.index.keep import Keeper
from resift.index.normalisation import searchable
from resift.index.rows import Passage
from resift.index.snapshot import Scored, Snapshot, View
from resift.rerank.thresholds import ANYTHING, Thresholds
from resift.search.clock import Clock
from resift.search.fusion import reciprocal_rank_fusion
from resift.types import Candidate

Mode = Literal["hybrid", "dense", "lexical"]
MODES: tuple[Mode, ...] = ("hybrid", "dense", "lexical")


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How to search: `depth` candidates go to the reranker, `top_n` come back.

    `budget_ms` is for the whole search: the reranker gets what the first stage leaves of it.
    `max_requests` to the object store: once they are made only the first `top_n` passages are read
    yet, and nothing else is begun. `where` is the filter as SQL, from `index.where`. `thresholds`
    are for the reranker's scores.
    """

    top_n: int = 10
    depth: int = 100
    mode: Mode = "hybrid"
    budget_ms: float | None = None
    max_requests: int | None = None
    where: str | None = None
    thresholds: Thresholds = ANYTHING


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What a first stage found, best first, and what it took: nothing that a reranker did.

    `depth` candidates were found; `candidates` are those that were read. `reason` says why some
    were not.
    """

    candidates: list[Candidate]
    depth: int
    version: int
    requests: int
    bytes: int
    reason: str | None
    timings_ms: Mapping[str, float]


def retrieve(
    query: str,
    snapshot: Snapshot,
    embedder: Embedder,
    reranker: object,
    plan: SearchPlan,
    clock: Clock,
) -> Retrieved:
    """The candidates that a search would hand to `reranker`, with what is kept for it.

    Without a reranker only the first `top_n` are read.
    """
    query = searchable(query) or query
    view = snapshot.view()
    purse = _Purse(view, plan.max_requests)
    window = _retrieve(query, view, embedder, plan, clock, purse)[: plan.depth]
    with clock.stage("fetch"):
        passages = _fetch(view, [row_id for row_id, _ in window], reranker, plan, purse)
    return Retrieved(
        _candidates(passages, window[: len(passages)]),
        len(window),
        snapshot.version.number,
        view.requests,
        view.bytes,
        purse.reason,
        clock.timings_ms | {"total": clock.elapsed_ms()},
    )


def _retrieve(
    query: str, view: View, embedder: Embedder, plan: SearchPlan, clock: Clock, purse: "_Purse"
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
    view: View, row_ids: Sequence[int], reranker: object, plan: SearchPlan, purse: "_Purse"
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
    def reason(self) -> str | None:
        """What was left out, if anything was."""
        if not self._refused:
            return None
        return f"max_requests={self._most} were made: without {', '.join(self._refused)}"


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
