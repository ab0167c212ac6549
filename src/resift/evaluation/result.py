"""What an evaluation found: plain data, the same for the terminal, JSON and HTML."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from resift.evaluation.significance import Paired


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds a query, over the `queries` that were timed."""

    p50: float
    p95: float
    queries: int


@dataclass(frozen=True, slots=True)
class Row:
    """One depth: measures by name, and what it costs a query on the mean."""

    depth: int
    measures: Mapping[str, float]
    latency: Latency | None
    pairs: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Moved:
    """A document of either first ten; ranks count from 1. `grade` is None where not judged."""

    doc_id: str
    title: str
    grade: float | None
    was: int | None
    now: int | None


@dataclass(frozen=True, slots=True)
class QueryChange:
    """What reranking did to one query, by the main measure, at the greatest depth."""

    query_id: str
    query: str
    before: float
    after: float
    moved: tuple[Moved, ...]


@dataclass(frozen=True, slots=True)
class Advice:
    """What to set. `depth` 0 is: do not rerank. `fusion_weight` None is the model's own.

    `share` is the part of the greatest gain that is left at this depth, `time` the part of its
    milliseconds. `p` is how often chance would show as much, corrected for all that was tried; None
    where nothing is advised. Chosen on the queries that it is measured on.
    """

    depth: int
    fusion_weight: float | None
    quality: float
    share: float | None
    time: float | None
    latency: Latency | None
    why: str
    p: float | None = None


@dataclass(frozen=True, slots=True)
class SystemResult:
    """One reranker under one setting, against the first stage.

    `compared` has every measure at the greatest depth, `weights` the main one by fusion weight at
    the advised depth, `changes` every judged query, worst first. `against` compares with the first
    system of the report. `replaced` is how many of a query's first ten were not among them before,
    on the mean. What needs judgments is empty where there are none.
    """

    label: str
    model: str
    fingerprint: str
    rows: tuple[Row, ...]
    compared: Mapping[str, Paired]
    against: Paired | None
    weights: Mapping[float, float]
    changes: tuple[QueryChange, ...]
    replaced: float
    advice: Advice | None
    verdict: str

    def hurt(self) -> list[QueryChange]:
        """Worst first."""
        return [own for own in self.changes if own.after < own.before]

    def helped(self) -> list[QueryChange]:
        """Best first."""
        return [own for own in reversed(self.changes) if own.after > own.before]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All of it. `notes` name what is missing or odd, a sentence each."""

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

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def main(self) -> tuple[float, float] | None:
        """The main measure of the first stage, and of the first system at its greatest depth.

        None where there are no judgments.
        """
        compared = self.systems[0].compared.get(self.main_measure)
        return (compared.before, compared.after) if compared else None
