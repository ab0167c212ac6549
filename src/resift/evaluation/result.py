"""The result of an evaluation: plain data, the same for the terminal, JSON and HTML."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from resift.evaluation.significance import PairedTest
from resift.search.options import Mode


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds a query, over the `queries` that were timed."""

    p50: float
    p95: float
    queries: int

    @classmethod
    def of(cls, ms: Sequence[float]) -> Self | None:
        """Median and 95th percentile (nearest rank); None where nothing was timed."""
        if not ms:
            return None
        ordered = sorted(ms)
        p95 = ordered[max(0, -(-95 * len(ordered) // 100) - 1)]
        return cls(statistics.median(ordered), p95, len(ordered))


@dataclass(frozen=True, slots=True)
class Row:
    """One depth: measures by name, and the mean cost of a query."""

    depth: int
    measures: Mapping[str, float]
    latency: Latency | None
    pairs: float
    tokens: float


@dataclass(frozen=True, slots=True)
class MovedDocument:
    """A document of the first ten before or after; ranks count from 1. `grade` None: not judged."""

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
    """The settings to use, chosen on the queries that they are measured on.

    `depth` 0 means: do not rerank. `fusion_weight` None is the model's own weight. `quality` is the
    primary measure with these settings, `gain_share` the share of the greatest gain that this depth
    reaches, and `time_share` the share of the greatest depth's milliseconds that it takes. `p` is
    corrected for all that was tried; None where nothing is advised.
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
    """One reranker with its options, against the first stage.

    `compared` has every measure at the greatest depth, `weights` the primary one by fusion weight
    at the advised depth, `changes` every judged query, worst first. `against` compares with the
    first system of the evaluation. `replaced` is how many of a query's first ten documents are new,
    on average. Fields that need judgments are empty where there are none.
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
        """Worst first."""
        return [change for change in self.changes if change.after < change.before]

    def helped(self) -> list[QueryChange]:
        """Best first."""
        return [change for change in reversed(self.changes) if change.after > change.before]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to search an index, in an ablation.

    `reranking` is none, alone (by the model only) or fused (with the first stage's scores).
    `latency` and `requests`, to the object store, are of a whole search; `compared` tests the
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
    """All results. `notes` name what is missing or unusual, a sentence each."""

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
        """For JSON."""
        return asdict(self)

    def main(self) -> tuple[float, float] | None:
        """The primary measure of the first stage, and of the first system at its greatest depth.

        None where there are no judgments.
        """
        compared = self.systems[0].compared.get(self.main_measure)
        return (compared.before, compared.after) if compared else None
