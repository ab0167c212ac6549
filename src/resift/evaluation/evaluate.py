"""Does reranking help? candidates → rerank at every depth → measure → compare → advise.

Every query is read once. Knows no files and prints nothing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resift.errors import DatasetError, InputError
from resift.evaluation.compare import SystemComparison
from resift.evaluation.first_stage import FirstStage
from resift.evaluation.measures import PRIMARY, Evaluator, means, names
from resift.evaluation.observed import TITLED, FirstSeen, SecondSeen
from resift.evaluation.qrels import MOST
from resift.evaluation.result import Evaluation, SystemResult
from resift.evaluation.second_stage import SecondStage
from resift.evaluation.task import Task

DEPTHS = (10, 20, 50, 100)
DEEPEST = 1_000_000


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """How to evaluate: rising `depths`, the least grade that counts, and a latency to stay below.

    `target_ms` is of the 95th percentile of reranking.
    """

    depths: Sequence[int] = DEPTHS
    relevant: int = 1
    target_ms: float | None = None

    def __post_init__(self) -> None:
        rising = list(self.depths) == sorted(set(self.depths))
        if not (self.depths and rising and 1 <= self.depths[0] and self.depths[-1] <= DEEPEST):
            given = ",".join(map(str, self.depths))
            raise InputError(f"depths={given}: expected rising whole numbers from 1 to {DEEPEST:,}")
        if not 1 <= self.relevant <= MOST:
            raise InputError(f"relevant={self.relevant}: expected a grade from 1 to {MOST:,}")
        if self.target_ms is not None and not self.target_ms > 0:
            raise InputError(f"target_ms={self.target_ms}: expected more than 0, or None")


def evaluate(
    task: Task,
    first_stage: FirstStage,
    systems: Sequence[SecondStage],
    plan: EvaluationPlan,
    advance: Callable[[str], None] = lambda query_id: None,
) -> Evaluation:
    """Measure the first stage and every system on all of a task's queries.

    Raises `DatasetError` where no query has a candidate.
    """
    start = time.perf_counter()
    evaluator = Evaluator(task.qrels, names(plan.depths, plan.relevant)) if task.qrels else None
    first, seconds = FirstSeen(), [SecondSeen() for _ in systems]
    for number, (query_id, query) in enumerate(task.queries.items()):
        window = first_stage.window(query_id, query, plan.depths[-1])
        first.note(query_id, window)
        shown = list(window.candidates[:TITLED])
        for system, second in zip(systems, seconds, strict=True):
            shown += second.rerank(system, (query_id, query, number), window, plan.depths)
        first.note_titles(shown)
        advance(query_id)
    if not any(first.lists.values()):
        raise DatasetError(
            f"{first_stage.name}: no candidate for any of {len(task.queries)} queries; are the "
            "queries of this collection?"
        )
    comparison = SystemComparison(task, first, evaluator, plan.depths, plan.target_ms)
    results: list[SystemResult] = []
    labels = _distinct([system.setting.label for system in systems])
    for label, system, second in zip(labels, systems, seconds, strict=True):
        results.append(comparison.result(label, system, second))
    return Evaluation(
        collection=task.name,
        first_stage=first_stage.name,
        queries=len(task.queries),
        judged=len(task.qrels),
        main_measure=PRIMARY,
        first=means(comparison.before),
        first_latency=first.latency,
        requests=first.requests,
        systems=tuple(results),
        notes=(*task.notes, *first_stage.notes, *_oddities(task, first, seconds)),
        seconds=time.perf_counter() - start,
    )


def _distinct(labels: Sequence[str]) -> list[str]:
    """Labels that tell the systems apart: the second of one name has its number."""
    seen: dict[str, int] = {}
    distinct = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        distinct.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return distinct


def _oddities(task: Task, first: FirstSeen, seconds: Sequence[SecondSeen]) -> list[str]:
    """What a reader of the figures should know, a sentence each."""
    empty = [query_id for query_id, found in first.lists.items() if not found]
    unjudged = [
        query_id for query_id, found in first.lists.items()
        if found
        and task.qrels
        and not task.qrels[query_id].keys() & set(found[: first.windows[query_id]])
    ]  # fmt: skip
    unread = list(dict.fromkeys(query_id for own in seconds for query_id in own.unread))
    recalled = list(dict.fromkeys(query_id for own in seconds for query_id in own.recalled))
    cases = (
        (empty, "have no candidate: they count as 0"),
        (unjudged, "have no judged document among their candidates: reranking cannot change them"),
        (unread, "cannot be read by the reranker (empty or too long): they keep their order"),
        (recalled, "were read before, and came out of the pair cache: they are not timed"),
        (first.tied, "have candidates with equal scores among the first: the first stage is "
                     "measured by document id there, downwards, as trec_eval does"),
    )  # fmt: skip
    return [
        f"{len(found)} of {len(task.queries)} queries {what}; the first is {found[0]:.80}"
        for found, what in cases
        if found
    ]
