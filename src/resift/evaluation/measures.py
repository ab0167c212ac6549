"""What a run is worth, by ir_measures: the semantics of trec_eval. The only door to it."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from resift.extras import require

PRIMARY = "nDCG@10"

Qrels = Mapping[str, Mapping[str, int]]
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
    """

    def __init__(self, qrels: Qrels, measures: Iterable[str]) -> None:
        ir_measures = require("ir_measures", "eval")
        self._qrels = qrels
        self._measures: list[Any] = [ir_measures.parse_measure(name) for name in measures]
        # trec_eval counts grades by number: where all are below -1 it writes before its memory.
        self._evaluator = ir_measures.evaluator(self._measures, [
            ir_measures.Qrel(query_id, doc_id, max(grade, 0))
            for query_id, grades in qrels.items() for doc_id, grade in grades.items()
        ])  # fmt: skip

    def by_query(self, run: Scores) -> dict[str, dict[str, float]]:
        """Measure → query → value; a judged query that the run does not have counts as 0."""
        found: dict[str, dict[str, float]] = {
            str(measure): dict.fromkeys(self._qrels, 0.0) for measure in self._measures
        }
        listed = {query_id: _ranked(scores) for query_id, scores in run.items() if scores}
        for metric in self._evaluator.iter_calc(listed) if listed else ():
            if metric.query_id in self._qrels:
                found[str(metric.measure)][metric.query_id] = float(metric.value)
        return found


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
