"""What does each part contribute? Each retriever of an index alone, reranked, and fused."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from resift.errors import InputError, QueryError
from resift.evaluation.collection import Task
from resift.evaluation.first_stage import FirstStageCandidates, FromIndex, distinct, doc_id
from resift.evaluation.measures import PRIMARY, Evaluator, means, measure_names, scores_by_rank
from resift.evaluation.result import Latency
from resift.evaluation.second_stage import SecondStage
from resift.evaluation.significance import PairedTest, paired_test_by_query
from resift.search.index import Index
from resift.search.retrieval import MODES, Mode

RERANKINGS = ("none", "alone", "fused")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to search an index.

    `reranking` is none, alone (by the model only) or fused (with the first stage's scores).
    `latency` and `requests`, to the object store, are of a whole search; `compared` tests the
    primary measure against the same mode without reranking.
    """

    mode: Mode
    reranking: str
    measures: dict[str, float]
    latency: Latency | None
    requests: float
    compared: PairedTest | None


@dataclass(slots=True)
class _Measurements:
    """The run and the times of one variant."""

    run: dict[str, dict[str, float]] = field(default_factory=dict)
    ms: list[float] = field(default_factory=list)


def ablate(
    task: Task,
    index: Index,
    system: SecondStage,
    depth: int,
    relevant: int,
    advance: Callable[[], None] = lambda: None,
) -> list[Variant]:
    """All modes with all rerankings, in the order of `MODES` and `RERANKINGS`.

    `advance` is called after each query of each mode. Raises `InputError` without judgments.
    """
    if not task.qrels:
        raise InputError(f"{task.name}: no judgments, so that nothing can be compared; make some")
    evaluator = Evaluator(task.qrels, measure_names([depth], relevant))
    variants: list[Variant] = []
    for mode in MODES:
        first_stage = FromIndex(index, mode, system.reranker)
        measurements = {reranking: _Measurements() for reranking in RERANKINGS}
        requests = 0
        for query_id, query in task.queries.items():
            retrieved = first_stage.retrieve(query_id, query, depth)
            requests += retrieved.requests
            doc_ids = [doc_id(candidate) for candidate in retrieved.candidates]
            orders, ms = _orders(system, query, retrieved, depth)
            for reranking, indices in orders.items():
                ranked = distinct(doc_ids[index] for index in indices)
                measurements[reranking].run[query_id] = scores_by_rank(ranked)
                first_ms = retrieved.ms or 0.0
                measurements[reranking].ms.append(
                    first_ms if reranking == "none" else first_ms + ms
                )
            advance()
        variants += _variants(mode, measurements, evaluator, requests / len(task.queries))
    return variants


def _orders(
    system: SecondStage, query: str, retrieved: FirstStageCandidates, depth: int
) -> tuple[dict[str, Sequence[int]], float]:
    """Indices of candidates by reranking, and the milliseconds of the second stage.

    A query that cannot be read keeps the first stage's order, as in a search.
    """
    unchanged = range(len(retrieved.candidates))
    orders: dict[str, Sequence[int]] = dict.fromkeys(RERANKINGS, unchanged)
    start = time.perf_counter()
    if retrieved.candidates:
        try:
            reranked = system.orders(query, retrieved.candidates, [depth], [0.0], timed=False)
        except QueryError:
            pass
        else:
            orders["alone"] = reranked.indices[depth, 0.0]
            orders["fused"] = reranked.indices[depth, None]
    return orders, (time.perf_counter() - start) * 1000


def _variants(
    mode: Mode, measurements: dict[str, _Measurements], evaluator: Evaluator, requests: float
) -> list[Variant]:
    values = {name: evaluator.per_query(measured.run) for name, measured in measurements.items()}
    before = values["none"][PRIMARY]
    return [
        Variant(
            mode,
            name,
            means(values[name]),
            Latency.of(measured.ms[1:] or measured.ms),
            requests,
            None if name == "none" else paired_test_by_query(before, values[name][PRIMARY]),
        )
        for name, measured in measurements.items()
    ]
