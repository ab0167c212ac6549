"""The one vocabulary: what goes into a reranker and what comes out. All of it is frozen.

Knows nothing of models, storage or the command line.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

Status = Literal["ok", "cut", "empty", "not_text", "late", "failed", "not_reranked"]
"""What became of a candidate.

``ok``: read whole. ``cut``: scored, but only its first `Hit.tokens_seen` tokens fitted.
``empty``: nothing to read. ``not_text``: its text is no string. ``late``: time was up before
its turn. ``failed``: the model gave no number for it. ``not_reranked``: the first stage's order
was asked for, or is all there is. The last five have no score; they keep their first-stage
order behind the scored ones.
"""

Calibrated = Literal["none", "model", "judged"]
"""What a score means.

``none``: nothing was fitted; a score is the sigmoid of its logit and no chance of anything, or a
model's curve at weights that it was not fitted at. ``model``: the chance of an answer on the
judgments that the model's maker had. ``judged``: the chance of an answer on the user's own, by
``resift calibrate``.
"""


@dataclass(frozen=True, slots=True)
class Document:
    """A text with a name. `metadata` is carried through untouched."""

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a model has read of a document before any query came; `Reranker.keep` makes it.

    `model` is the model's fingerprint and `text` names the text: for another model or another text
    it is not used, and the document is read anew. `tokens` are the token ids (4 bytes each, little
    endian), `states` the token states of a split model, empty where they were not kept.
    """

    model: str
    text: bytes = field(repr=False)
    tokens: bytes = field(repr=False)
    states: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Candidate(Document):
    """A document as a first stage hands it over: `rank` counts from 1, higher `score` is better.

    `kept` is what the reranker need not read again.
    """

    rank: int | None = None
    score: float | None = None
    kept: Kept | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Hit:
    """One document of a ranking.

    `rank` counts from 1; `index` is the document's place in the caller's list, from 0. `logit`
    is the model's own output for the pair and depends on nothing else. `score` is what the
    ranking is ordered by, in 0..1: the logit, or the logit fused with the first stage's score (the
    receipt says which), made a probability by a calibration, or else its sigmoid; what it means is
    in `Receipt.calibration`. Both are None where `status` says that there is none. `span` is the
    range of characters of `text` that the model read, `stages` how many of the model's stages its
    logit comes from. The order is by ``logit + prior + feedback``: what the first stage's score
    added, and the likeness to the candidates that lead.
    """

    rank: int
    index: int
    id: str
    score: float | None
    logit: float | None
    text: str
    first_stage_rank: int
    first_stage_score: float | None
    tokens_seen: int
    tokens_dropped: int
    span: tuple[int, int]
    status: Status
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    stages: int = 0
    prior: float = 0.0
    feedback: float = 0.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was done for a ranking, and what was not.

    `depth` candidates were given, `scored` of them have a logit, `cut` of those were longer
    than the model reads, `skipped` had nothing to read. `partial` means that candidates which
    could have been scored were not: `reason` says why. `timings_ms` has one entry a stage, in
    the order in which they ran. `tokens` were read, `padding_share` (0..1) of all positions
    computed were padding. `fusion_weight` is 0 where the first stage's scores played no part, and
    `feedback_weight` where the likeness to the leading candidates played none. `let_go` candidates
    stopped at an exit of the model, since they could not reach the top any more: they have that
    exit's logit and stand behind the rest. `exact` says that none could be let go: because it was
    asked for, or because the model has no exits. `cached` logits were known from an earlier call,
    and of `kept` documents the half that needs no query was; `tokens` counts none of theirs.
    `calibration` says what scores mean. `below_min_score` candidates were scored and left out.
    `abstained` says that nothing in the window answers: all of it that can be read was scored, and
    the best score is below what was asked for; it is False where that was not asked or not seen.
    A search says which `version` of the index it read, and how many `requests` for how many `bytes`
    it made to the object store; none where the index lies on this machine's disk.
    """

    model: str
    fingerprint: str
    runtime: str
    depth: int
    scored: int
    cut: int
    skipped: int
    partial: bool
    reason: str | None
    timings_ms: Mapping[str, float]
    tokens: int
    padding_share: float
    fusion_weight: float
    feedback_weight: float = 0.0
    let_go: int = 0
    exact: bool = True
    cached: int = 0
    kept: int = 0
    calibration: Calibrated = "none"
    below_min_score: int = 0
    abstained: bool = False
    version: int | None = None
    requests: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Ranking(Sequence[Hit]):
    """Hits in rank order, at most `top_n` of them, with the receipt of the call."""

    query: str
    hits: tuple[Hit, ...]
    receipt: Receipt

    @property
    def abstained(self) -> bool:
        """Whether nothing in the window answers, as the receipt has it."""
        return self.receipt.abstained

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[index]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)
