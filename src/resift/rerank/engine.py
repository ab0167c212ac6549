"""The loop: tokenise → schedule → run a stage → scatter, until the stages or the time run out.

Texts in, logits in input order out. Knows no first stage, no ranks and no documents; a row that
cannot be scored is marked and costs nobody else anything.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from resift.errors import RuntimeFailure
from resift.rerank.late_interaction import QueryStates
from resift.rerank.pairs import TokenRow
from resift.rerank.schedule import padded_length, schedule
from resift.rerank.stages import Batch, Halves, Model, Stage
from resift.types import Status

WAVE = 16
"""Under a deadline, candidates are taken this many at a time in first-stage order."""

Floats = NDArray[np.float32]


@dataclass(slots=True)
class Outcome:
    """What became of each text, in input order; `logits` is NaN where there is none.

    `rows`, `states` and `means` are by place: a text's tokens, its ``(tokens, dim)`` between
    stages, and its unit mean vector, ``(dim,)``, where the model is split.
    """

    logits: Floats
    statuses: list[Status]
    rows: dict[int, TokenRow] = field(default_factory=dict)
    states: dict[int, Halves] = field(default_factory=dict)
    means: dict[int, Floats] = field(default_factory=dict)
    partial: bool = False
    reason: str | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    positions: int = 0

    @property
    def padding_share(self) -> float:
        return 1 - self.tokens / self.positions if self.positions else 0.0


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, or never."""

    at: float | None

    @classmethod
    def after(cls, budget_ms: float | None) -> "Deadline":
        return cls(None if budget_ms is None else time.perf_counter() + budget_ms / 1000)

    @property
    def passed(self) -> bool:
        return self.at is not None and time.perf_counter() >= self.at


class Engine:
    """Runs a model over texts. Threads may share it: the runtime takes batches in turn."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def step(self, query: str, texts: Sequence[object], deadline: Deadline) -> Outcome:
        """Score each text against the query, as far as the deadline allows.

        Raises `QueryError` for a query that does not fit whole; nothing else.
        """
        clock = _Clock()
        outcome = Outcome(np.full(len(texts), np.nan, np.float32), [])
        outcome.statuses = [_status(text) for text in texts]
        alive = self._tokenise(query, texts, outcome)
        clock.lap("tokenise")
        half = self._query_half(query, alive, outcome)
        clock.lap("query")
        for stage in self.model.stages:
            alive = self._run(stage, half, alive, outcome, deadline)
        outcome.states.clear()
        clock.lap("score")
        outcome.timings_ms = clock.laps
        return outcome

    def _tokenise(self, query: str, texts: Sequence[object], outcome: Outcome) -> list[int]:
        """Rows of the readable texts; returns their places."""
        places = [i for i, status in enumerate(outcome.statuses) if status == "ok"]
        rows = self.model.rows(query, [str(texts[place]) for place in places])
        for place, row in zip(places, rows, strict=True):
            outcome.rows[place] = row
            if not row.seen:
                outcome.statuses[place] = "empty"
            elif row.dropped:
                outcome.statuses[place] = "cut"
        return [place for place in places if outcome.statuses[place] != "empty"]

    def _query_half(self, query: str, alive: list[int], outcome: Outcome) -> QueryStates | None:
        try:
            return self.model.query(query)
        except RuntimeFailure as error:
            _fail(alive, str(error), outcome)
            alive.clear()
            return None

    def _run(
        self,
        stage: Stage,
        half: QueryStates | None,
        alive: list[int],
        outcome: Outcome,
        deadline: Deadline,
    ) -> list[int]:
        """One stage over the rows still alive; returns those that go on to the next."""
        lengths = [len(outcome.rows[place].ids) for place in alive]
        groups = schedule(lengths, wave=None if deadline.at is None else WAVE)
        done: list[int] = []
        for number, group in enumerate(groups):
            if deadline.passed:
                late = [alive[row] for left in groups[number:] for row in left.rows]
                _run_late(late, outcome)
                break
            places = [alive[row] for row in group.rows]
            done.extend(self._scatter(stage, half, places, outcome))
        return sorted(done)

    def _scatter(
        self, stage: Stage, half: QueryStates | None, places: list[int], outcome: Outcome
    ) -> list[int]:
        """Run rows as one batch and put what comes out in their places; returns the good ones.

        A batch that fails is run again row by row, so that only the row at fault is lost.
        """
        rows = [outcome.rows[place] for place in places]
        length = padded_length(max(len(row.ids) for row in rows))
        states = _padded([outcome.states.get(place) for place in places], length)
        before = None if states is None else outcome.logits[places]
        try:
            batch, logits = stage(Batch(rows, half, states, before))
        except RuntimeFailure as error:
            if len(places) == 1:
                _fail(places, str(error), outcome)
                return []
            return [i for place in places for i in self._scatter(stage, half, [place], outcome)]
        if states is None:  # later stages read states, not tokens
            outcome.positions += len(rows) * length
            outcome.tokens += sum(len(row.ids) for row in rows)
        good = np.isfinite(logits)
        bad = [place for place, fine in zip(places, good, strict=True) if not fine]
        outcome.logits[places] = np.where(good, logits, outcome.logits[places])
        _fail(bad, "the model gave no finite logit", outcome)
        if batch.means is not None:
            outcome.means.update(zip(places, batch.means, strict=True))
        if batch.states is not None and stage is not self.model.stages[-1]:
            for place, row, own in zip(places, rows, batch.states, strict=True):
                outcome.states[place] = own[: len(row.ids)].copy()
        return [place for place in places if place not in bad]


def _run_late(places: list[int], outcome: Outcome) -> None:
    """Time is up: rows without a logit are late, rows with one keep it as their best estimate."""
    outcome.partial = True
    outcome.reason = outcome.reason or "time was up"
    for place in places:
        if np.isnan(outcome.logits[place]):
            outcome.statuses[place] = "late"


def _fail(places: list[int], reason: str, outcome: Outcome) -> None:
    """Rows that an earlier stage gave a logit keep it as their best estimate."""
    for place in places:
        if np.isnan(outcome.logits[place]):
            outcome.statuses[place] = "failed"
        outcome.partial = True
        outcome.reason = outcome.reason or reason


def _padded(states: Sequence[Halves | None], length: int) -> Halves | None:
    """States of rows between stages → ``(rows, length, dim)``; None before the first stage."""
    known = [own for own in states if own is not None]
    if len(known) != len(states) or not known:
        return None
    batch = np.zeros((len(known), length, known[0].shape[1]), np.float16)
    for place, own in enumerate(known):
        batch[place, : len(own)] = own
    return batch


class _Clock:
    """Names the milliseconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = (now - self._last) * 1000
        self._last = now


def _status(text: object) -> Status:
    """What can be said of a text before it is read."""
    if not isinstance(text, str) or not is_text(text):
        return "not_text"
    return "ok" if text.strip() else "empty"


def is_text(text: str) -> bool:
    """Whether a string has no lone surrogates: bytes that were decoded badly leave some."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
