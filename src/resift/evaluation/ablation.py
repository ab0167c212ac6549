"""What does each part bring? Every arm of an index alone, reranked, and reranked with its say."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from resift.errors import InputError, QueryError
from resift.evaluation.first_stage import FirstStageCandidates, FromIndex, doc_id
from resift.evaluation.measures import PRIMARY, Evaluator, in_order, means, names
from resift.evaluation.observed import latency
from resift.evaluation.result import Latency
from resift.evaluation.second_stage import SecondStage
from resift.evaluation.significance import Paired, paired
from resift.evaluation.task import Task
from resift.search.index import Index
from resift.search.options import MODES, Mode

SECONDS = ("none", "alone", "fused")


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to search: `second` is none, alone (by the model) or fused (with the arm's say).

    `latency` is of the whole search and `requests` are to the object store, both a query;
    `compared` is the main measure against the same arm without reranking.
    """

    mode: Mode
    second: str
    measures: dict[str, float]
    latency: Latency | None
    requests: float
    compared: Paired | None


@dataclass(slots=True)
class _Measurements:
    """One way to search, query by query."""

    run: dict[str, dict[str, float]] = field(default_factory=dict)
    ms: list[float] = field(default_factory=list)

    def note(self, query_id: str, ids: Sequence[str], places: Sequence[int], ms: float) -> None:
        """Keep the order of the documents; the best of its passages stands for each."""
        self.run[query_id] = in_order(list(dict.fromkeys(ids[place] for place in places)))
        self.ms.append(ms)


def ablate(
    task: Task,
    index: Index,
    system: SecondStage,
    depth: int,
    relevant: int,
    advance: Callable[[], None] = lambda: None,
) -> list[Variant]:
    """Nine ways to search, in the order of `MODES` and `SECONDS`; a query is read once an arm.

    Raises `InputError` where there are no judgments: nothing could be compared.
    """
    if not task.qrels:
        raise InputError(f"{task.name}: no judgments, so that nothing can be compared; make some")
    evaluator = Evaluator(task.qrels, names([depth], relevant))
    variants: list[Variant] = []
    for mode in MODES:
        first_stage = FromIndex(index, mode, system.reranker)
        seen = {second: _Measurements() for second in SECONDS}
        requests = 0
        for query_id, query in task.queries.items():
            window = first_stage.window(query_id, query, depth)
            requests += window.requests
            _search(system, query_id, query, window, depth, seen)
            advance()
        variants += _variants(mode, seen, evaluator, requests / len(task.queries))
    return variants


def _search(
    system: SecondStage,
    query_id: str,
    query: str,
    window: FirstStageCandidates,
    depth: int,
    seen: dict[str, _Measurements],
) -> None:
    """All three orders of one window; a query that cannot be read keeps its own."""
    ids = [doc_id(own) for own in window.candidates]
    as_found = range(len(ids))
    first_ms = window.ms or 0.0
    start = time.perf_counter()
    alone: Sequence[int] = as_found
    fused: Sequence[int] = as_found
    if ids:
        try:
            orders = system.orders(query, window.candidates, [depth], [0.0], timed=False).places
            alone, fused = orders[depth, 0.0], orders[depth, None]
        except QueryError:
            pass  # as a search answers it: by the first stage
    both_ms = first_ms + (time.perf_counter() - start) * 1000
    seen["none"].note(query_id, ids, as_found, first_ms)
    seen["alone"].note(query_id, ids, alone, both_ms)
    seen["fused"].note(query_id, ids, fused, both_ms)


def _variants(
    mode: Mode, seen: dict[str, _Measurements], evaluator: Evaluator, requests: float
) -> list[Variant]:
    values = {second: evaluator.by_query(own.run) for second, own in seen.items()}
    before = values["none"][PRIMARY]
    return [
        Variant(
            mode,
            second,
            means(values[second]),
            latency(own.ms[1:] or own.ms),
            requests,
            None if second == "none" else _paired(before, values[second][PRIMARY]),
        )
        for second, own in seen.items()
    ]


def _paired(before: dict[str, float], after: dict[str, float]) -> Paired:
    return paired([before[query_id] for query_id in after], list(after.values()))
