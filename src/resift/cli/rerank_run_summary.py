"""What ``resift rerank-run`` says of a run: as lines on stderr, and as JSON."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resift.cli.output import print_status
from resift.types import Receipt

if TYPE_CHECKING:
    from resift.evaluation.rerank_run import QueryResult, RerankJob, RerankRunOptions


@dataclass
class RunSummary:
    """The results of a run's queries; `not_reranked` maps query ids to reasons.

    An earlier process may have finished some: they are `resumed`.
    """

    job: "RerankJob"
    resumed: int = 0
    start: float = field(default_factory=time.perf_counter)
    scored: int = 0
    partial: int = 0
    reasons: dict[str, None] = field(default_factory=dict)
    weights: set[float] = field(default_factory=set)
    not_reranked: dict[str, str] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    @property
    def pairs(self) -> int:
        """The number of candidates within the depth, over all queries."""
        return sum(map(self.pairs_of, self.job.run))

    def pairs_of(self, query_id: str) -> int:
        """The number of candidates of a query within the depth."""
        return min(len(self.job.run[query_id]), self.job.depth)

    def adding(self, results: "Iterable[QueryResult]") -> "Iterator[QueryResult]":
        """Yield the results, and add each; they are in the order of the run."""
        for result in results:
            if result.receipt is None:
                self.not_reranked[result.query_id] = result.problem
                self.tell(result)
            else:
                self._add(result.receipt)
            yield result

    def tell(self, result: "QueryResult") -> None:
        """Print a query that keeps its order, once."""
        name = result.query_id
        if result.receipt is None and name in self.job.queries and name not in self._told:
            self._told.add(name)
            print_status(f"query {name} keeps its order: {result.problem}")

    def line(self) -> str:
        """The summary as one line."""
        weights = ", ".join(f"{weight:g}" for weight in sorted(self.weights)) or "none"
        line = f"{len(self.job.run)} queries, {self.pairs:,} pairs, first stage's weight {weights}"
        if not self.partial:
            return line
        return f"{line}; {self.partial} queries partial, the first: {next(iter(self.reasons))}"

    def as_dict(self, run_options: "RerankRunOptions") -> dict[str, Any]:
        """The options and the summary as JSON values."""
        return {
            "depth": self.job.depth,
            "top_n": run_options.top_n,
            "exact": run_options.exact,
            "budget_ms": run_options.budget_ms,
            "fusion_weights": sorted(self.weights),
            "queries": len(self.job.run),
            "resumed": self.resumed,
            "pairs": self.pairs,
            "scored": self.scored,
            "partial": self.partial,
            "reasons": sorted(self.reasons),
            "not_reranked": [
                {"query_id": query_id, "reason": reason}
                for query_id, reason in self.not_reranked.items()
            ],
            "notes": list(self.job.notes),
            "seconds": time.perf_counter() - self.start,
        }

    def _add(self, receipt: Receipt) -> None:
        self.scored += receipt.scored
        self.weights.add(receipt.fusion_weight)
        if receipt.partial:
            self.partial += 1
            self.reasons[str(receipt.reason)] = None
