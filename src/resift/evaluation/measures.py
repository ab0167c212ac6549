"""What a run is worth, with the semantics of trec_eval. The only door to ir_measures."""

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from resift.extras import require

PRIMARY = "nDCG@10"
CUT = 10

Qrels = Mapping[str, Mapping[str, float]]
"""Query ids to the grades of their judged documents."""

Scores = Mapping[str, Mapping[str, float]]
"""Query ids to the scores of their documents, higher is better; equals go by id, downwards."""


def names(depths: Sequence[int], relevant: int) -> list[str]:
    """What is measured: `relevant` is the least grade that counts where grades do not."""
    grade = f"(rel={relevant})" if relevant != 1 else ""
    recall = [f"R{grade}@{depth}" for depth in depths]
    others = [f"{own}{grade}@{cut}" for own, cut in
              (("RR", 10), ("P", 10), ("P", 1), ("Success", 10))]  # fmt: skip
    return [PRIMARY, *others, *recall, "Judged@10"]


class Evaluator:
    """Judgments, bound once; runs are measured against them.

    nDCG: Järvelin and Kekäläinen 2002, https://doi.org/10.1145/582415.582418, with linear gains;
    RR, P, R and Success as in trec_eval; Judged@k is the share of the first k that was judged.

    A grade may have a fraction (1.5). nDCG takes it as it is, as a gain; it is reckoned here, since
    ir_measures has whole grades only. The others ask whether a grade reaches a whole number, which
    it does if what is left of it without its fraction does. A grade below 0 counts as 0.
    """

    def __init__(self, qrels: Qrels, measures: Iterable[str]) -> None:
        ir_measures = require("ir_measures", "eval")
        self._qrels, self._names = qrels, list(measures)
        # trec_eval counts grades by number: where all are below -1 it writes before its memory.
        whole = [
            ir_measures.Qrel(query_id, doc_id, max(math.floor(grade), 0))
            for query_id, grades in qrels.items()
            for doc_id, grade in grades.items()
        ]
        others = [ir_measures.parse_measure(name) for name in self._names if name != PRIMARY]
        self._evaluator: Any = ir_measures.evaluator(others, whole) if others else None

    def by_query(self, run: Scores) -> dict[str, dict[str, float]]:
        """Measure → query → value; a judged query that the run does not have counts as 0."""
        values = {name: dict.fromkeys(self._qrels, 0.0) for name in self._names}
        listed = {query_id: _ranked(scores) for query_id, scores in run.items() if scores}
        for metric in self._evaluator.iter_calc(listed) if listed and self._evaluator else ():
            if metric.query_id in self._qrels:
                values[str(metric.measure)][metric.query_id] = float(metric.value)
        if PRIMARY in values:
            values[PRIMARY] = {
                query_id: ndcg(listed.get(query_id, ()), grades)
                for query_id, grades in self._qrels.items()
            }
        return values


def ndcg(ranked: Iterable[str], grades: Mapping[str, float]) -> float:
    """nDCG@10 of a list of documents, best first; 0 where nothing has a grade above 0."""
    ideal = _discounted(sorted(grades.values(), reverse=True))
    return _discounted(grades.get(doc_id, 0) for doc_id in ranked) / ideal if ideal else 0.0


def _discounted(gains: Iterable[float]) -> float:
    first = islice(gains, CUT)
    return sum(max(gain, 0) / math.log2(rank + 1) for rank, gain in enumerate(first, 1))


def _ranked(scores: Mapping[str, float]) -> dict[str, float]:
    """The order that trec_eval sees, without its ties: not every provider breaks them as it does.

    It keeps scores in single precision, and orders what is equal there by id, downwards.
    """
    single = dict(zip(scores, array("f", scores.values()), strict=True))
    return in_order(sorted(single, key=lambda doc_id: (single[doc_id], doc_id), reverse=True))


def means(values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Measure → mean over the queries."""
    return {
        measure: sum(own.values()) / len(own) if own else 0.0 for measure, own in values.items()
    }


def in_order(doc_ids: Sequence[str]) -> dict[str, float]:
    """Scores that fall from each document to the next."""
    return {doc_id: float(-rank) for rank, doc_id in enumerate(doc_ids)}
