"""Scored candidates → `Ranking` and `Receipt`, of any depth and weight, without the model.

A logit depends on its pair alone, so the order of the first 20 candidates follows from the scores
of 100.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from resift.rerank.candidate_stream import NOTHING_UNREAD, UnreadCandidates
from resift.rerank.candidates import as_candidate, candidate_or_empty, first_rank, title_part
from resift.rerank.options import RankOptions, checked_count
from resift.rerank.ordering import Interpolation, Numbers, fusion, order
from resift.rerank.scorer import Scorer
from resift.rerank.state import NO_ROW, CallState
from resift.types import Calibrated, Candidate, Explainer, Hit, Ranking, Receipt, Status

MOSTLY = 0.5
"""A document with a higher share of unknown tokens is mostly unknown."""

_UNREADABLE: tuple[Status, ...] = ("empty", "not_text")


@dataclass(frozen=True, slots=True, eq=False)
class ScoredCandidates:
    """A query and its candidates with the model's logits: `Reranker.score_candidates` makes it.

    `took_ms` maps a number of candidates to the milliseconds until the first so many were scored.
    """

    query: str
    candidates: Sequence[Candidate]
    took_ms: Mapping[int, float]
    _state: CallState
    _scorer: Scorer
    _exact: bool = True
    _unread: UnreadCandidates = NOTHING_UNREAD

    def ranking(
        self,
        top_n: int | None = None,
        *,
        depth: int | None = None,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
    ) -> Ranking:
        """The best `top_n` of the first `depth` candidates; None means all.

        The other arguments are as in `Reranker.rank`. Raises `InputError` for values out of range.
        """
        options = RankOptions(
            top_n, fusion_weight, min_score=min_score, abstain_below=abstain_below
        )
        return make_ranking(self, options, depth=checked_count("depth", depth))

    def order(self, *, depth: int | None = None, fusion_weight: float | None = None) -> list[int]:
        """The indices of the first `depth` candidates, best first: a `ranking` without its hits."""
        options = RankOptions(fusion_weight=fusion_weight)
        indices: list[int] = _ordered(self, options, checked_count("depth", depth)).indices.tolist()
        return indices

    def followed_by(self, later: "ScoredCandidates") -> "ScoredCandidates":
        """These candidates and then `later` ones of the same query and model."""
        return replace(
            self,
            candidates=[*self.candidates, *later.candidates],
            _state=self._state.followed_by(later._state),
        )

    def tokens(self, depth: int) -> int:
        """How many tokens the model read for the first `depth` candidates."""
        return self._state.head(depth).tokens

    @property
    def cached(self) -> bool:
        """Whether any score came from an earlier call, so that `took_ms` is too low."""
        return bool(self._state.cached.any())


def scorer_of(scored: ScoredCandidates) -> Scorer:
    """What scored the candidates."""
    return scored._scorer


def make_ranking(
    scored: ScoredCandidates,
    options: RankOptions,
    *,
    depth: int | None = None,
    explainer: Explainer | None = None,
    started: float | None = None,
) -> Ranking:
    """Order, cut and calibrate; the total time counts from `started`, a ``perf_counter``.

    Pruning was for one depth and weight. If candidates were pruned, a ranking of another depth or
    weight is approximate.
    """
    unread = scored._unread if depth is None else NOTHING_UNREAD
    order = _ordered(scored, options, depth)
    remaining = above_min_score(
        order.indices, order.scores, order.state.statuses, options.min_score
    )
    shown = _with_unread(remaining, order, unread, options.top_n)
    documents = [
        order.candidates[index] if index < len(order.candidates) else unread.at(index)
        for index in shown.tolist()
    ]
    left_out = np.isfinite(order.scores).sum() - np.isfinite(order.scores[remaining]).sum()
    receipt = _receipt(scored, order, unread, options.abstain_below, int(left_out), started)
    added = (order.added.fusion, order.feedback)
    hits = Hits(shown, documents, order.state, order.scores, added)
    return Ranking.of(scored.query, hits, receipt, explainer)


@dataclass(frozen=True, slots=True)
class _Order:
    """Candidates and their order: `indices`, best first. All other fields are by index.

    `scores`, in 0..1, are logits plus fusion (in `added`) and `feedback`; `meaning` describes them.
    """

    candidates: Sequence[Candidate]
    state: CallState
    added: Interpolation
    feedback: Numbers
    scores: Numbers
    meaning: Calibrated
    indices: NDArray[np.intp]


def _ordered(scored: ScoredCandidates, options: RankOptions, depth: int | None) -> _Order:
    candidates = scored.candidates[:depth]
    state = scored._state.head(len(candidates))
    added = interpolation(candidates, options, scored._scorer)
    logits = state.logits.astype(np.float64)
    feedback = added.feedback(logits, state.means)
    sums = logits + added.fusion + feedback
    curve, meaning = scored._scorer.scale.curve(added.weight, added.feedback_weight)
    ranks = [first_rank(index, candidate) for index, candidate in enumerate(candidates)]
    behind = np.where(state.pruned, 100 - state.stages, 0).astype(np.int8)  # the earliest last
    indices = order(sums, logits, ranks, behind)
    return _Order(candidates, state, added, feedback, curve(sums), meaning, indices)


def _receipt(
    scored: ScoredCandidates,
    order: _Order,
    unread: UnreadCandidates,
    abstain_below: float | None,
    left_out: int,
    started: float | None,
) -> Receipt:
    state, added, statuses = order.state, order.added, order.state.statuses
    depth = len(statuses) + len(unread)
    count = int(np.isfinite(state.logits).sum())
    calibration, note = scored._scorer.scale.meaning(order.meaning, depth)
    partial = state.partial or bool(unread.missing)
    reasons = (state.reason or "time was up", *unread.missing) if unread.missing else ()
    best = float(order.scores[order.indices[0]]) if len(order.indices) else math.nan
    rows = list(state.rows.values())
    timings = dict(state.timings_ms)
    if started is not None:
        timings["total"] = (time.perf_counter() - started) * 1000
    return Receipt(
        model=scored._scorer.name,
        fingerprint=scored._scorer.fingerprint,
        runtime=scored._scorer.runtime,
        depth=depth,
        scored=count,
        cut=statuses.count("cut"),
        skipped=sum(map(statuses.count, _UNREADABLE)),
        partial=partial,
        reason="; ".join(reasons) or state.reason,
        timings_ms=timings,
        tokens=state.tokens,
        padding_share=float(state.padding_share),
        fusion_weight=added.weight if count else 0.0,
        feedback_weight=added.feedback_weight if count and state.means is not None else 0.0,
        pruned=int(state.pruned.sum()),
        exact=scored._exact,
        cached=int(state.cached.sum()),
        precomputed=int(state.precomputed.sum()),
        calibration=calibration,
        below_min_score=left_out,
        abstained=abstains(best, partial, abstain_below),
        first_stage_left_out=added.left_out,
        query_unknown_share=state.query_unknown_share,
        notes=(note,) if note and count else (),
        windowed=sum(row.windows > 0 for row in rows),
        windows=sum(row.windows for row in rows),
        mostly_unknown=sum(row.unknown_share > MOSTLY for row in rows),
        query_prompt=scored._scorer.query_prompt,
        late=statuses.count("late") + len(unread),
        failed=statuses.count("failed"),
    )


def interpolation(
    candidates: Sequence[Candidate], options: RankOptions, scorer: Scorer
) -> Interpolation:
    """The terms added to the logits; none if a readable text has no first-stage score."""
    weight = options.fusion_weight
    weight = scorer.fusion_weight if weight is None else weight
    scores = [candidate.score for candidate in candidates]
    missing = [
        index
        for index, candidate in enumerate(candidates)
        if not _is_number(candidate.score)
        and isinstance(candidate.text, str)
        and candidate.text.strip()
    ]
    if not missing and weight:
        added = np.nan_to_num(fusion(scores, weight))
        return Interpolation(added, weight, scorer.feedback_weight)
    reason = None
    has_scores = any(score is not None for score in scores)
    if has_scores and options.fusion_weight is None and not scorer.fusion_weight:
        reason = "this model has no fitted weight for them; pass fusion_weight to use them"
    elif has_scores and weight:
        reason = (
            f"{len(missing)} of {len(scores)} candidates came without a score that is a number, "
            f"the first at index {missing[0]}"
        )
    return Interpolation(np.zeros(len(scores)), left_out=reason)


def _is_number(score: float | None) -> bool:
    """False for None and for NaN, which stands for a score that is not a number."""
    return score is not None and not math.isnan(score)


def above_min_score(
    indices: NDArray[np.intp],
    scores: Numbers,
    statuses: Sequence[Status],
    min_score: float | None,
) -> NDArray[np.intp]:
    """The `indices` that stay, in rank order; `scores` and `statuses` are by index.

    Scored candidates after the first one below `min_score` are left out: those among them that were
    pruned could not have overtaken it. Unreadable candidates are left out too. Late ones stay,
    because their scores are not known.
    """
    if min_score is None:
        return indices
    ranked = scores[indices]
    below = np.logical_or.accumulate(ranked < min_score)  # NaN is below nothing
    unreadable = np.array([statuses[index] in _UNREADABLE for index in indices], bool)
    return indices[np.where(np.isnan(ranked), ~unreadable, ~below)]


def abstains(best: float, partial: bool, abstain_below: float | None) -> bool:
    """Whether the best score (NaN for none) is too low; False for a partial ranking."""
    return abstain_below is not None and not partial and not best >= abstain_below


def _with_unread(
    indices: NDArray[np.intp], order: _Order, unread: UnreadCandidates, top_n: int | None
) -> NDArray[np.intp]:
    """The first `top_n` of `indices` and `unread`: scored ones, best first, then others by rank.

    Skips the work for unread candidates that cannot be among them.
    """
    is_scored = ~np.isnan(order.scores[indices])
    scored, unscored = indices[is_scored], indices[~is_scored]
    if not len(unread) or (top_n is not None and len(scored) >= top_n):
        return indices[:top_n]
    ranks = [float(first_rank(index, order.candidates[index])) for index in unscored.tolist()]
    unread_indices, unread_ranks = unread.head(None if top_n is None else top_n - len(scored))
    behind = np.append(unscored, unread_indices)
    by_rank = np.argsort(np.append(ranks, unread_ranks), kind="stable")
    return np.append(scored, behind[by_rank])[:top_n]


class Hits(Sequence[Hit]):
    """Hits in rank order, each built once, when it is first accessed. Threads may share it."""

    def __init__(
        self,
        indices: NDArray[np.intp],
        documents: Sequence[object],
        state: CallState,
        scores: Numbers,
        added: tuple[Numbers, Numbers],
    ) -> None:
        """`indices` and `documents` are those of the hits, ``(n,)``, in rank order.

        `scores` and `added` (fusion and feedback) are by index for the documents in `state`; later
        documents were not read. Keeps only the values that the hits need.
        """
        size = len(state.statuses)
        numbers = np.flatnonzero(indices < size)
        read = indices[numbers]
        self._indices = indices
        self._size = size
        # If the caller changes a dict later, its hit must not change.
        self._documents = [item.copy() if type(item) is dict else item for item in documents]
        self._statuses: list[Status] = ["late"] * len(indices)
        for number, index in zip(numbers.tolist(), read.tolist(), strict=True):
            self._statuses[number] = state.statuses[index]
        self._numbers = np.full((len(indices), 5), np.nan)
        columns: tuple[NDArray[Any], ...] = (scores, state.logits, state.stages, *added)
        for column, values in enumerate(columns):
            self._numbers[numbers, column] = values[read]
        needed = set(read.tolist())
        self._rows = {
            n: replace(row, ids=NO_ROW.ids) for n, row in state.rows.items() if n in needed
        }
        self._built: dict[int, Hit] = {}

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Hit]:
        return map(self._hit, range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        numbers = range(len(self))[index]
        return self._hit(numbers) if isinstance(numbers, int) else tuple(map(self._hit, numbers))

    def _hit(self, number: int) -> Hit:
        hit = self._built.get(number)
        return hit if hit is not None else self._built.setdefault(number, self._build(number))

    def _build(self, number: int) -> Hit:
        index = int(self._indices[number])
        score, logit, stages, fusion, feedback = self._numbers[number].tolist()
        candidate = self._documents[number]
        if index >= self._size or not isinstance(candidate, Candidate):
            candidate = candidate_or_empty(str(index), as_candidate(str(index), candidate))
        row = self._rows.get(index)
        scored = math.isfinite(logit)
        title = len(title_part(candidate.title))
        span = (max(row.start - title, 0), max(row.end - title, 0)) if row and scored else (0, 0)
        return Hit(
            rank=number + 1,
            index=index,
            id=candidate.id,
            score=score if scored else None,
            logit=logit if scored else None,
            text=candidate.text if isinstance(candidate.text, str) else "",
            first_stage_rank=first_rank(index, candidate),
            first_stage_score=candidate.score if _is_number(candidate.score) else None,
            tokens_seen=row.seen if row and scored else 0,
            tokens_dropped=row.dropped if row else 0,
            span=span,
            status=self._statuses[number],
            stages=int(stages) if scored else 0,
            title=candidate.title,
            metadata=candidate.metadata,
            citation=candidate.citation,
            fusion=fusion if scored else 0.0,
            feedback=feedback if scored else 0.0,
            dropped_counted=row.counted if row else True,
            windows=row.windows if row and scored else 0,
            unknown_share=row.unknown_share if row else 0.0,
        )
