"""Measures of runs, as trec_eval computes them. The only file that imports ir_measures."""

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from resift.evaluation.trec import Qrels
from resift.extras import require

PRIMARY = "nDCG@10"
CUTOFF = 10

Scores = Mapping[str, Mapping[str, float]]
"""Query ids to the scores of their documents, higher is better; ties go by id, descending."""

QueryValues = Mapping[str, float]
"""Query ids to the values of one measure."""


def measure_names(depths: Sequence[int], relevant: int) -> list[str]:
    """The measures of an evaluation; `relevant` is the lowest grade that counts as relevant."""
    grade = f"(rel={relevant})" if relevant != 1 else ""
    recall = [f"R{grade}@{depth}" for depth in depths]
    binary = [f"RR{grade}@10", f"P{grade}@10", f"P{grade}@1", f"Success{grade}@10"]
    return [PRIMARY, *binary, *recall, "Judged@10"]


class Evaluator:
    """Measures runs against judgments.

    nDCG: Järvelin and Kekäläinen 2002, https://doi.org/10.1145/582415.582418, with linear gains;
    RR, P, R and Success as in trec_eval; Judged@k is the judged share of the first k.

    Grades may be fractions (1.5). nDCG uses them as gains, and is computed here, since ir_measures
    accepts only whole grades. The other measures round them down. A grade below 0 counts as 0.
    """

    def __init__(self, qrels: Qrels, measures: Iterable[str]) -> None:
        ir_measures = require("ir_measures", "eval")
        self._qrels, self._names = qrels, list(measures)
        # trec_eval counts grades in an array, and writes out of bounds for grades below -1.
        whole = [
            ir_measures.Qrel(query_id, doc_id, max(math.floor(grade), 0))
            for query_id, grades in qrels.items()
            for doc_id, grade in grades.items()
        ]
        others = [ir_measures.parse_measure(name) for name in self._names if name != PRIMARY]
        self._evaluator: Any = ir_measures.evaluator(others, whole) if others else None

    def per_query(self, run: Scores) -> dict[str, dict[str, float]]:
        """Measure → query → value; a judged query that is not in the run counts as 0."""
        values = {name: dict.fromkeys(self._qrels, 0.0) for name in self._names}
        ranked = {query_id: _ranked(scores) for query_id, scores in run.items() if scores}
        for metric in self._evaluator.iter_calc(ranked) if ranked and self._evaluator else ():
            if metric.query_id in self._qrels:
                values[str(metric.measure)][metric.query_id] = float(metric.value)
        if PRIMARY in values:
            values[PRIMARY] = {
                query_id: ndcg(ranked.get(query_id, ()), grades)
                for query_id, grades in self._qrels.items()
            }
        return values


def ndcg(ranked: Iterable[str], grades: Mapping[str, float]) -> float:
    """nDCG@10 of documents, best first; 0 if no grade is above 0."""
    ideal = _discounted(sorted(grades.values(), reverse=True))
    return _discounted(grades.get(doc_id, 0) for doc_id in ranked) / ideal if ideal else 0.0


def _discounted(gains: Iterable[float]) -> float:
    first = islice(gains, CUTOFF)
    return sum(max(gain, 0) / math.log2(rank + 1) for rank, gain in enumerate(first, 1))


def _ranked(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores without ties in trec_eval's order, because providers break ties differently.

    trec_eval compares scores in single precision, and breaks ties by id, descending.
    """
    single = dict(zip(scores, array("f", scores.values()), strict=True))
    return scores_by_rank(sorted(single, key=lambda doc_id: (single[doc_id], doc_id), reverse=True))


def mean(values: QueryValues) -> float:
    """The mean over queries; 0 if there are none."""
    return sum(values.values()) / len(values) if values else 0.0


def means(per_query: Mapping[str, QueryValues]) -> dict[str, float]:
    """Measure → mean over queries."""
    return {measure: mean(values) for measure, values in per_query.items()}


def scores_by_rank(doc_ids: Sequence[str]) -> dict[str, float]:
    """Decreasing scores for documents, best first."""
    return {doc_id: float(-rank) for rank, doc_id in enumerate(doc_ids)}
