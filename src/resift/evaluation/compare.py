"""One system against the first stage: rows by depth, significance, and what moved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from resift.evaluation.advice import Tried, advise, verdict
from resift.evaluation.measures import PRIMARY, Evaluator, in_order, means
from resift.evaluation.observed import CUT, WEIGHTS, FirstSeen, Lists, SecondSeen, ranks
from resift.evaluation.result import Moved, QueryChange, Row, SystemResult
from resift.evaluation.second_stage import SecondStage
from resift.evaluation.significance import Paired, paired
from resift.evaluation.task import Task

SHOWN = 6  # documents that moved, a query

ByQuery = Mapping[str, Mapping[str, float]]
"""Measure → query → value."""


@dataclass(slots=True)
class SystemComparison:
    """The first stage, measured once, and each system against it and against the first system."""

    task: Task
    first: FirstSeen
    evaluator: Evaluator | None
    depths: Sequence[int]
    target_ms: float | None
    before: ByQuery = field(init=False)
    _reference: Mapping[str, float] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.before = self.evaluator.by_query(self.first.scores) if self.evaluator else {}

    def result(self, label: str, system: SecondStage, second: SecondSeen) -> SystemResult:
        """All that is to be said of one system, which goes by `label`."""
        measured = {depth: self._measured(second, depth) for depth in self.depths}
        after = measured[self.depths[-1]]
        rows = tuple(
            Row(depth, means(measured[depth]), *second.cost(depth, len(self.task.queries)))
            for depth in self.depths
        )
        compared = {name: _paired(self.before[name], own) for name, own in after.items()}
        against = None
        if after and self._reference is not None:
            against = _paired(self._reference, after[PRIMARY])
        elif after:
            self._reference = after[PRIMARY]
        first = self.before.get(PRIMARY, {})
        quality = {depth: own.get(PRIMARY, {}) for depth, own in measured.items()}
        advice = None
        weights: dict[float, float] = {}
        if after:
            by_weight = cache(lambda depth: self._by_weight(second, depth))
            advice = advise(rows, Tried(first, quality, by_weight), self.target_ms)
            shown = by_weight(advice.depth or self.depths[-1])
            weights = {weight: _mean(values) for weight, values in shown.items()}
        deepest = second.filled(self.first.lists, (self.depths[-1], None))
        return SystemResult(
            label=label,
            model=system.reranker.name,
            fingerprint=system.reranker.fingerprint,
            rows=rows,
            compared=compared,
            against=against,
            weights=weights,
            changes=tuple(self._changes(first, after.get(PRIMARY, {}), deepest)),
            replaced=_replaced(self.first.lists, deepest),
            advice=advice,
            verdict=verdict(compared.get(PRIMARY), rows, advice),
        )

    def _measured(self, second: SecondSeen, depth: int, weight: float | None = None) -> ByQuery:
        if self.evaluator is None:
            return {}
        # A query that was not reranked keeps the first stage's scores, so that its ties stay.
        run: dict[str, Mapping[str, float]] = dict(self.first.scores)
        for query_id, doc_ids in second.reranked((depth, weight)).items():
            run[query_id] = in_order(doc_ids)
        return self.evaluator.by_query(run)

    def _by_weight(self, second: SecondSeen, depth: int) -> dict[float, Mapping[str, float]]:
        return {
            weight: self._measured(second, depth, weight)[PRIMARY]
            for weight in WEIGHTS
            if second.has((depth, weight))
        }

    def _changes(
        self, before: Mapping[str, float], after: Mapping[str, float], lists: Lists
    ) -> list[QueryChange]:
        """Every judged query, the one that lost most first."""
        changes = []
        for query_id, now in after.items():
            was = before[query_id]
            moved = self._moved(query_id, lists[query_id]) if was != now else ()
            changes.append(QueryChange(query_id, self.task.queries[query_id], was, now, moved))
        return sorted(changes, key=lambda own: (own.after - own.before, own.query_id))

    def _moved(self, query_id: str, now: Sequence[str]) -> tuple[Moved, ...]:
        """What came into the first ten, left them or moved in them; judged relevant first."""
        was, grades = self.first.lists[query_id], self.task.qrels[query_id]
        old, new = ranks(was), ranks(now)
        seen = dict.fromkeys([*now[:CUT], *was[:CUT]])
        moved = [
            Moved(own, self.first.titles.get(own, ""), grades.get(own), old.get(own), new.get(own))
            for own in seen
            if old.get(own) != new.get(own)
        ]
        moved.sort(key=lambda own: (-(own.grade or 0), own.now or 0))
        return tuple(moved[:SHOWN])


def _paired(before: Mapping[str, float], after: Mapping[str, float]) -> Paired:
    return paired([before[query_id] for query_id in after], list(after.values()))


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)


def _replaced(before: Lists, after: Lists) -> float:
    """How many of the first ten were not among them before, a query."""
    new = [len(set(after[query_id][:CUT]) - set(own[:CUT])) for query_id, own in before.items()]
    return sum(new) / len(new)
