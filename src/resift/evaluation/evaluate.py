"""Does reranking help? Retrieve candidates, rerank to every depth, measure, compare, advise.

`ablate` measures by the same steps what each retriever of an index contributes.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from resift.errors import DatasetError, InputError, shown
from resift.evaluation.advice import Trials, advise, verdict
from resift.evaluation.collection import Task
from resift.evaluation.first_stage import FirstStage, FirstStageResults, FromIndex
from resift.evaluation.measures import (
    CUTOFF,
    PRIMARY,
    Evaluator,
    QueryValues,
    Scores,
    mean,
    means,
    measure_names,
    scores_by_rank,
)
from resift.evaluation.result import (
    Evaluation,
    Latency,
    MovedDocument,
    QueryChange,
    Row,
    SystemResult,
    Variant,
)
from resift.evaluation.second_stage import (
    SHOWN,
    WEIGHTS,
    DepthAndWeight,
    SecondStage,
    SecondStageResults,
)
from resift.evaluation.significance import paired_test_by_query
from resift.evaluation.trec import MAX_GRADE
from resift.index.embed import precomputer_of
from resift.search.index import Index
from resift.search.options import MODES

DEPTHS = (10, 20, 50, 100)
MAX_DEPTH = 1_000_000
MAX_MOVED = 6  # documents that are listed per query

Ranked = Mapping[str, Sequence[str]]
"""Query ids to document ids, best first."""

PerQuery = Mapping[str, QueryValues]
"""Measure → query → value."""


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """How to evaluate: rising `depths`, the lowest `relevant` grade, and a latency target.

    `target_ms` is an upper limit for the 95th percentile of reranking.
    """

    depths: Sequence[int] = DEPTHS
    relevant: int = 1
    target_ms: float | None = None

    def __post_init__(self) -> None:
        rising = list(self.depths) == sorted(set(self.depths))
        if not (self.depths and rising and 1 <= self.depths[0] and self.depths[-1] <= MAX_DEPTH):
            depths = ",".join(map(str, self.depths))
            raise InputError(
                f"depths={depths}: expected rising whole numbers from 1 to {MAX_DEPTH:,}"
            )
        if not 1 <= self.relevant <= MAX_GRADE:
            raise InputError(f"relevant={self.relevant}: expected a grade from 1 to {MAX_GRADE:,}")
        if self.target_ms is not None and not self.target_ms > 0:
            raise InputError(f"target_ms={self.target_ms}: expected more than 0, or None")


def evaluate(
    task: Task,
    first_stage: FirstStage,
    systems: Sequence[SecondStage],
    plan: EvaluationPlan,
    advance: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Measure the first stage and every system; `advance` is called after each query.

    Raises `DatasetError` if no query has a candidate.
    """
    start = time.perf_counter()
    first, reranked = _collect(task, first_stage, systems, plan.depths, advance)
    if not any(first.ranked.values()):
        raise DatasetError(
            f"{first_stage.name}: no candidate for any of {len(task.queries)} queries; are the "
            "queries of this collection?"
        )
    comparison = _Comparison(task, plan, first)
    labels = _distinct_labels([system.options.label for system in systems])
    return Evaluation(
        collection=task.name,
        first_stage=first_stage.name,
        queries=len(task.queries),
        judged=len(task.qrels),
        main_measure=PRIMARY,
        first=means(comparison.before),
        first_latency=first.latency,
        requests=first.requests,
        systems=tuple(map(comparison.result, labels, systems, reranked)),
        notes=(*task.notes, *first_stage.notes, *_warnings(task, first, reranked)),
        seconds=time.perf_counter() - start,
    )


def ablate(
    task: Task,
    index: Index,
    system: SecondStage,
    depth: int,
    relevant: int,
    advance: Callable[[], None] = lambda: None,
) -> list[Variant]:
    """Measure each mode of an index without reranking, reranked alone, and fused.

    `advance` is called after each query of each mode. Raises `InputError` without judgments.
    """
    if not task.qrels:
        raise InputError(f"{task.name}: no judgments to compare by; make some with resift judge")
    evaluator = Evaluator(task.qrels, measure_names([depth], relevant))
    variants: list[Variant] = []
    for mode in MODES:
        first_stage = FromIndex(index, mode, precomputer_of(system.reranker))
        first, (reranked,) = _collect(task, first_stage, [system], [depth], advance)
        before = evaluator.per_query(first.scores)
        variants.append(Variant(mode, "none", means(before), first.latency, first.requests, None))
        second_ms = reranked.ms.get(depth, {})
        total_ms = [ms + second_ms.get(number, 0.0) for number, ms in enumerate(first.ms)]
        latency = Latency.of(total_ms[1:] or total_ms)
        for reranking, weight in (("alone", 0.0), ("fused", None)):
            after = evaluator.per_query(_run(first, reranked, (depth, weight)))
            compared = paired_test_by_query(before[PRIMARY], after[PRIMARY])
            variants.append(
                Variant(mode, reranking, means(after), latency, first.requests, compared)
            )
    return variants


def _collect(
    task: Task,
    first_stage: FirstStage,
    systems: Sequence[SecondStage],
    depths: Sequence[int],
    advance: Callable[[], None],
) -> tuple[FirstStageResults, list[SecondStageResults]]:
    """Retrieve the candidates of each query, and rerank them by each system."""
    first = FirstStageResults()
    reranked = [SecondStageResults() for _ in systems]
    for number, (query_id, query) in enumerate(task.queries.items()):
        retrieved = first_stage.retrieve(query_id, query, depths[-1])
        first.add(query_id, retrieved)
        shown = list(retrieved.candidates[:SHOWN])
        for system, results in zip(systems, reranked, strict=True):
            shown += results.rerank(system, (query_id, query, number), retrieved, depths)
        first.add_titles(shown)
        advance()
    return first, reranked


def _run(first: FirstStageResults, reranked: SecondStageResults, key: DepthAndWeight) -> Scores:
    """The scores of a reranked run; other queries keep the first stage's scores and ties."""
    ranked = reranked.ranked(key).items()
    return {**first.scores, **{query_id: scores_by_rank(doc_ids) for query_id, doc_ids in ranked}}


@dataclass(slots=True)
class _Comparison:
    """Compares each system with the first stage, which is measured once, and the first system."""

    task: Task
    plan: EvaluationPlan
    first: FirstStageResults
    evaluator: Evaluator | None = field(init=False, default=None)
    before: PerQuery = field(init=False, default_factory=dict)
    _first_system: QueryValues | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.task.qrels:
            names = measure_names(self.plan.depths, self.plan.relevant)
            self.evaluator = Evaluator(self.task.qrels, names)
            self.before = self.evaluator.per_query(self.first.scores)

    def result(self, label: str, system: SecondStage, results: SecondStageResults) -> SystemResult:
        depths = self.plan.depths
        by_depth = {depth: self._measure(results, depth) for depth in depths}
        after = by_depth[depths[-1]]
        rows = tuple(
            Row(depth, means(values), *results.cost(depth, len(self.task.queries)))
            for depth, values in by_depth.items()
        )
        compared = {name: paired_test_by_query(self.before[name], after[name]) for name in after}
        against = advice = None
        weights: dict[float, float] = {}
        if after:
            if self._first_system is None:
                self._first_system = after[PRIMARY]
            else:
                against = paired_test_by_query(self._first_system, after[PRIMARY])
            by_weight = cache(lambda depth: self._by_weight(results, depth))
            primary = {depth: values[PRIMARY] for depth, values in by_depth.items()}
            trials = Trials(self.before[PRIMARY], primary, by_weight)
            advice = advise(rows, trials, self.plan.target_ms)
            values_by_weight = by_weight(advice.depth or depths[-1])
            weights = {weight: mean(values) for weight, values in values_by_weight.items()}
        ranked = {**self.first.ranked, **results.ranked((depths[-1], None))}
        return SystemResult(
            label=label,
            model=system.reranker.name,
            fingerprint=system.reranker.fingerprint,
            rows=rows,
            compared=compared,
            against=against,
            weights=weights,
            changes=tuple(self._changes(after.get(PRIMARY, {}), ranked)),
            replaced=self._replaced(ranked),
            advice=advice,
            verdict=verdict(compared.get(PRIMARY), rows, advice),
        )

    def _measure(
        self, results: SecondStageResults, depth: int, weight: float | None = None
    ) -> PerQuery:
        if self.evaluator is None:
            return {}
        return self.evaluator.per_query(_run(self.first, results, (depth, weight)))

    def _by_weight(self, results: SecondStageResults, depth: int) -> dict[float, QueryValues]:
        return {
            weight: self._measure(results, depth, weight)[PRIMARY]
            for weight in WEIGHTS
            if results.has((depth, weight))
        }

    def _changes(self, after: QueryValues, ranked: Ranked) -> list[QueryChange]:
        """Every judged query, the greatest loss first."""
        changes = []
        for query_id, value in after.items():
            before = self.before[PRIMARY][query_id]
            moved = self._moved(query_id, ranked[query_id]) if value != before else ()
            query = self.task.queries[query_id]
            changes.append(QueryChange(query_id, query, before, value, moved))
        return sorted(changes, key=lambda change: (change.after - change.before, change.query_id))

    def _moved(self, query_id: str, after: Sequence[str]) -> tuple[MovedDocument, ...]:
        """Documents that entered or left the first ten or moved in them; best grades first."""
        before, grades = self.first.ranked[query_id], self.task.qrels[query_id]
        ranks_before = {doc_id: rank for rank, doc_id in enumerate(before, 1)}
        ranks_after = {doc_id: rank for rank, doc_id in enumerate(after, 1)}
        moved = [
            MovedDocument(
                doc_id,
                self.first.titles.get(doc_id, ""),
                grades.get(doc_id),
                ranks_before.get(doc_id),
                ranks_after.get(doc_id),
            )
            for doc_id in dict.fromkeys([*after[:CUTOFF], *before[:CUTOFF]])
            if ranks_before.get(doc_id) != ranks_after.get(doc_id)
        ]
        moved.sort(key=lambda document: (-(document.grade or 0), document.rank_after or 0))
        return tuple(moved[:MAX_MOVED])

    def _replaced(self, after: Ranked) -> float:
        """The average number of new documents among a query's first ten."""
        new = [
            len(set(after[query_id][:CUTOFF]) - set(before[:CUTOFF]))
            for query_id, before in self.first.ranked.items()
        ]
        return sum(new) / len(new)


def _distinct_labels(labels: Sequence[str]) -> list[str]:
    """Number repeated labels from the second on."""
    counts: dict[str, int] = {}
    distinct = []
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
        distinct.append(label if counts[label] == 1 else f"{label} ({counts[label]})")
    return distinct


def _warnings(
    task: Task, first: FirstStageResults, reranked: Sequence[SecondStageResults]
) -> list[str]:
    """Sentences about queries whose figures need an explanation."""
    empty = [query_id for query_id, ranked in first.ranked.items() if not ranked]
    unjudged = [
        query_id
        for query_id, ranked in first.ranked.items()
        if ranked
        and task.qrels
        and not task.qrels[query_id].keys() & set(ranked[: first.reachable[query_id]])
    ]
    unreadable = [query_id for results in reranked for query_id in results.unreadable]
    from_cache = [query_id for results in reranked for query_id in results.from_cache]
    cases = (
        (empty, "have no candidate: they count as 0"),
        (unjudged, "have no judged document among their candidates: reranking cannot change them"),
        (unreadable, "cannot be read by the reranker (empty or too long): they keep their order"),
        (from_cache, "have scores from the pair cache: they are not timed"),
        (
            first.tied,
            "have candidates with equal scores among the first: the first stage is "
            "measured by document id there, descending, as trec_eval does",
        ),
    )
    foreign = []
    if task.qrels and not first.has_a_judged_id(task.qrels.values()):
        example = next(ranked[0] for ranked in first.ranked.values() if ranked)
        foreign = [
            "no id that the first stage returned is in the judgments of any query, so that nothing "
            f"is measured; its first is {shown(example)}: is it of the column that they name (id=)?"
        ]
    return foreign + [
        f"{len(set(ids))} of {len(task.queries)} queries {problem}; the first is {ids[0]:.80}"
        for ids, problem in cases
        if ids
    ]
