"""The result of an evaluation: plain data for the terminal, JSON and HTML."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from resift.evaluation.significance import PairedTest
from resift.search.options import Mode


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds per query, over `queries` timed queries."""

    p50: float
    p95: float
    queries: int

    @classmethod
    def of(cls, ms: Sequence[float]) -> Self | None:
        """Median and 95th percentile (nearest rank); None if nothing was timed."""
        if not ms:
            return None
        ordered = sorted(ms)
        p95 = ordered[max(0, -(-95 * len(ordered) // 100) - 1)]
        return cls(statistics.median(ordered), p95, len(ordered))


@dataclass(frozen=True, slots=True)
class Row:
    """One depth: measures by name, and the mean cost per query."""

    depth: int
    measures: Mapping[str, float]
    latency: Latency | None
    pairs: float
    tokens: float


@dataclass(frozen=True, slots=True)
class MovedDocument:
    """A document in the first ten before or after; ranks count from 1. Unjudged: `grade` None."""

    doc_id: str
    title: str
    grade: float | None
    rank_before: int | None
    rank_after: int | None


@dataclass(frozen=True, slots=True)
class QueryChange:
    """The primary measure of one query, before and after reranking to the greatest depth."""

    query_id: str
    query: str
    before: float
    after: float
    moved: tuple[MovedDocument, ...]


@dataclass(frozen=True, slots=True)
class Advice:
    """Advised settings, chosen on the same queries that they are measured on.

    `depth` 0 means: do not rerank. `fusion_weight` None is the model's own weight. `quality` is the
    primary measure with these settings. `gain_share` and `time_share` are shares of the greatest
    gain and of the greatest depth's time. `p` is corrected for all tried settings; None without
    advice.
    """

    reason: str
    quality: float
    depth: int = 0
    fusion_weight: float | None = None
    gain_share: float | None = None
    time_share: float | None = None
    latency: Latency | None = None
    p: float | None = None


@dataclass(frozen=True, slots=True)
class SystemResult:
    """A reranker with its options, compared with the first stage.

    `compared` has every measure at the greatest depth, `weights` the primary measure by fusion
    weight at the advised depth, `changes` every judged query, worst first. `against` compares with
    the first system of the evaluation. `replaced` is the average number of new documents among a
    query's first ten. Without judgments, fields that need them are empty.
    """

    label: str
    model: str
    fingerprint: str
    rows: tuple[Row, ...]
    compared: Mapping[str, PairedTest]
    against: PairedTest | None
    weights: Mapping[float, float]
    changes: tuple[QueryChange, ...]
    replaced: float
    advice: Advice | None
    verdict: str

    def hurt(self) -> list[QueryChange]:
        """Queries with a lower value, worst first."""
        return [change for change in self.changes if change.after < change.before]

    def helped(self) -> list[QueryChange]:
        """Queries with a higher value, best first."""
        return [change for change in reversed(self.changes) if change.after > change.before]


@dataclass(frozen=True, slots=True)
class Variant:
    """One configuration of an ablation.

    `reranking` is "none", "alone" (only the model) or "fused" (with the first stage's scores).
    `latency` and `requests` (to the object store) are those of a whole search. `compared` tests the
    primary measure against the same mode without reranking.
    """

    mode: Mode
    reranking: str
    measures: Mapping[str, float]
    latency: Latency | None
    requests: float
    compared: PairedTest | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All results. `notes` are sentences about missing or unusual data."""

    collection: str
    first_stage: str
    queries: int
    judged: int
    main_measure: str
    first: Mapping[str, float]
    first_latency: Latency | None
    requests: float
    systems: tuple[SystemResult, ...]
    notes: tuple[str, ...]
    seconds: float

    @property
    def is_timed(self) -> bool:
        """Whether any depth of any system was timed."""
        return any(row.latency for system in self.systems for row in system.rows)

    def as_dict(self) -> dict[str, Any]:
        """The evaluation as JSON values."""
        return asdict(self)

    def main(self) -> tuple[float, float] | None:
        """The primary measure of the first stage, and of the first system at its greatest depth.

        None without judgments.
        """
        compared = self.systems[0].compared.get(self.main_measure)
        return (compared.before, compared.after) if compared else None
