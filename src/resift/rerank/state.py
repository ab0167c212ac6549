"""What became of each text of a call: logits, vectors, statuses, and what it took."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.rerank.cache_file import Score
from resift.rerank.texts import Texts
from resift.rerank.tokenization import TokenRow
from resift.rerank.values import is_text
from resift.types import Status

Floats = NDArray[np.float32]

BEGINNING = 65_536
"""Characters of a text that are looked at before it is read; what comes later is seldom read."""


@dataclass(slots=True)
class CallState:
    """What became of each text, in input order.

    `logits` is the best estimate, NaN where there is none; `stages` says how many of the model's
    stages gave it, `pruned` which texts the early exit went on without, `cached` which were known, `precomputed`
    of which the half that needs no query was.
    `by_stage` has what each stage gave, by place, and `recalled` what a cache has of a text.
    `query_unknown_share` is of the query's tokens, 0..1.
    `means` are unit mean vectors, ``(n, dim)``, zero where there is none, None for a cross-encoder.
    """

    logits: Floats
    stages: NDArray[np.int8]
    pruned: NDArray[np.bool_]
    cached: NDArray[np.bool_]
    precomputed: NDArray[np.bool_]
    statuses: list[Status]
    means: NDArray[np.float64] | None = None
    rows: dict[int, TokenRow] = field(default_factory=dict)
    partial: bool = False
    reason: str | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    positions: int = 0
    query_unknown_share: float = 0.0
    by_stage: dict[int, tuple[float, ...]] = field(default_factory=dict)
    recalled: dict[int, Score] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Sequence[object]) -> "CallState":
        """Nothing is known yet but what can be said before scored."""
        size = len(texts)
        none = np.full(size, np.nan, np.float32)
        pruned, cached, precomputed = (np.zeros(size, bool) for _ in range(3))
        beginnings = texts.beginnings(BEGINNING) if isinstance(texts, Texts) else texts
        statuses = [_status(text) for text in beginnings]
        return cls(none, np.zeros(size, np.int8), pruned, cached, precomputed, statuses)

    def head(self, size: int) -> "CallState":
        """What is known of the first `size` texts; itself where these are all."""
        if size >= len(self.logits):
            return self
        rows = {place: row for place, row in self.rows.items() if place < size}
        ran = [p for p in rows if self.stages[p] and not self.precomputed[p]]
        tokens = sum(len(rows[place].ids) for place in ran)
        return replace(
            self,
            logits=self.logits[:size],
            stages=self.stages[:size],
            pruned=self.pruned[:size],
            cached=self.cached[:size],
            precomputed=self.precomputed[:size],
            statuses=self.statuses[:size],
            means=None if self.means is None else self.means[:size],
            rows=rows,
            tokens=tokens,
            positions=round(tokens / (1 - self.padding_share)),
        )

    def joined(self, later: "CallState") -> "CallState":
        """What is known of these texts and of those that were read after them."""
        shift = len(self.logits)
        both = CallState.of([""] * (shift + len(later.logits)))
        for name in ("logits", "stages", "pruned", "cached", "precomputed"):
            setattr(both, name, np.concatenate([getattr(self, name), getattr(later, name)]))
        both.statuses = self.statuses + later.statuses
        both.rows = self.rows | {place + shift: row for place, row in later.rows.items()}
        for own, at in ((self, 0), (later, shift)):
            for place, mean in enumerate(own.means if own.means is not None else ()):
                both.keep_mean(place + at, mean)
        both.partial = self.partial or later.partial
        both.reason = self.reason or later.reason
        both.timings_ms = {
            name: self.timings_ms.get(name, 0.0) + later.timings_ms.get(name, 0.0)
            for name in self.timings_ms | later.timings_ms
        }
        both.query_unknown_share = self.query_unknown_share
        both.tokens, both.positions = self.tokens + later.tokens, self.positions + later.positions
        return both

    @property
    def unread(self) -> list[int]:
        """Places of the readable texts that have no logit."""
        missing = np.isnan(self.logits)
        return [n for n, own in enumerate(self.statuses) if missing[n] and own in ("ok", "cut")]

    def recall(self, place: int, score: Score, stages: int) -> None:
        """A text's score was known."""
        nothing = np.empty(0, np.int64)
        dropped, counted = abs(score.dropped), score.dropped >= 0
        self.rows[place] = TokenRow(nothing, 0, score.seen, dropped, score.end, counted)
        self.logits[place], self.stages[place] = score.logits[-1], stages
        self.recalled[place] = score
        self.cached[place] = True
        if score.mean:
            self.keep_mean(place, np.frombuffer(score.mean, np.float32))
        if score.dropped:
            self.statuses[place] = "cut"

    @property
    def padding_share(self) -> float:
        return 1 - self.tokens / self.positions if self.positions else 0.0

    def keep_mean(self, place: int, mean: NDArray[Any]) -> None:
        """A document's vector is known."""
        if self.means is None:
            self.means = np.zeros((len(self.logits), len(mean)))
        self.means[place] = mean

    def leave(self, reason: str) -> None:
        """Nothing can be scored: the first stage's order is all there is."""
        self.statuses = ["not_reranked" if own == "ok" else own for own in self.statuses]
        self.note(reason)

    def fail(self, place: int, reason: str) -> None:
        """A row that an earlier stage gave a logit keeps it as its best estimate."""
        if np.isnan(self.logits[place]):
            self.statuses[place] = "failed"
        self.note(reason)

    def note(self, reason: str) -> None:
        """Something that could have been scored was not; the first reason stays."""
        self.partial = True
        self.reason = self.reason or reason


def _status(text: object) -> Status:
    """What can be said of a text before it is read, by its beginning."""
    if not isinstance(text, str) or not is_text(text[:BEGINNING]):
        return "not_text"
    if len(text) <= BEGINNING and not text.strip():
        return "empty"
    return "ok"
