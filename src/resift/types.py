"""The one vocabulary: what goes into a reranker and what comes out. All of it is frozen.

Equal ones have one hash; what is a mapping in them, and the many hits of a ranking, has no part in
it. Knows nothing of models, storage or the command line.
"""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from reprlib import Repr
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, overload

from resift.errors import InputError, shown

_REPR = Repr()
_REPR.maxstring = _REPR.maxother = 80
_HITS_SHOWN = 10

DEPTH = 30
"""How many candidates a search reranks where nobody says (benchmarks/default_depth.py)."""

Status = Literal["ok", "cut", "empty", "not_text", "late", "failed", "not_reranked"]
"""What became of a candidate.

``ok``: read whole. ``cut``: scored, but only its first `Hit.tokens_seen` tokens fitted.
``empty``: nothing to read, or no word that the model knows. ``not_text``: its text is no string, or
it is no document at all. ``late``: time was up before its turn. ``failed``: the model gave no
number for it. ``not_reranked``: the first stage's order was asked for, or is all there is: the
model knows no word of the query. The last five have no score; they keep their first-stage order
behind the scored ones.
"""

Calibrated = Literal["none", "model", "judged", "judged_otherwise"]
"""What a score means.

``none``: nothing was fitted; a score is the sigmoid of its logit and no chance of anything, or a
model's curve at weights that it was not fitted at. ``model``: the chance of an answer on the
judgments that the model's maker had. ``judged``: the chance of an answer on the user's own, by
``resift calibrate``. ``judged_otherwise``: as that, but judged in lists of another depth, where
answers are more or less frequent: no chance in this list (`Receipt.notes` has both depths).
"""


def _whole(value: object, what: str) -> int:
    """A whole number of any library; raise `InputError` for all else, a truth value among them."""
    try:
        return operator.index(None if isinstance(value, bool) else value)  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"{shown(value)}: expected {what}, a whole number") from None


@dataclass(frozen=True, slots=True)
class Document:
    """A text with a name. `metadata` is carried through untouched."""

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Precomputed:
    """What a model has read of a document before any query came; `Reranker.precompute` makes it.

    `model` is the model's fingerprint and `text` names the text, its tokens and its states: what is
    of another model or another text, torn or altered, is not used, and the document is read anew.
    `tokens` are the token ids (4 bytes each, little endian), `states` the token states of a split
    model, empty where they were not kept.
    """

    model: str
    text: bytes = field(repr=False)
    tokens: bytes = field(repr=False)
    states: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a passage of an index comes from, so that it can be shown and proved.

    The text is characters `start` to `end` of the document `doc_id` in the object at `uri`, whose
    ETag was `etag` when it was read. `row` counts from 0 in files of rows, `page` from 1.
    """

    uri: str
    doc_id: str
    start: int
    end: int
    etag: str | None = None
    object_version: str | None = None
    heading: str = ""
    page: int | None = None
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate(Document):
    """A document as a first stage hands it over: `rank` counts from 1, higher `score` is better.

    `precomputed` is what the reranker need not read again. `citation` is carried through untouched.
    """

    rank: int | None = None
    score: float | None = None
    precomputed: Precomputed | None = field(default=None, repr=False, compare=False)
    citation: Citation | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Hit:
    """One document of a ranking.

    `rank` counts from 1; `index` is the document's place in the caller's list, from 0. `logit`
    is the model's own output for the pair and depends on nothing else. `score` is what the
    ranking is ordered by, in 0..1: the logit, or the logit fused with the first stage's score (the
    receipt says which), made a probability by a calibration, or else its sigmoid; what it means is
    in `Receipt.calibration`. Both are None where `status` says that there is none. `text` is empty
    where the document's is no string. `span` is the range of characters of `text` that the model
    read, `stages` how many of the model's stages its logit comes from. `tokens_dropped` come after
    those that were read; where a budget left no time to count them, `dropped_counted` is False and
    more than so many do. The order is by ``logit + fusion + feedback``: what the first stage's score
    added, and the likeness to the candidates that lead. Numbers are Python's own, whatever the
    caller's were. `metadata` is the document's own, and `citation` says where a passage of an index
    comes from.
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
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    stages: int = 0
    fusion: float = 0.0
    feedback: float = 0.0
    dropped_counted: bool = True
    citation: Citation | None = None

    def __repr__(self) -> str:
        """Texts are shortened: asyncio writes out what a task gave, however long it is."""
        shown = (f"{name}={_REPR.repr(getattr(self, name))}" for name in self.__dataclass_fields__)
        return f"Hit({', '.join(shown)})"


Given = str | Document | Hit | Mapping[str, Any]
"""What is taken for a document.

A mapping has ``text`` and maybe ``id`` (or ``_id``), ``title``, ``score``, ``rank``, ``metadata``;
what else it has is metadata. A `Hit` is the candidate that it was, with its first stage's rank and
score.
"""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was done for a ranking, and what was not.

    `depth` candidates were given, `scored` of them have a logit, `cut` of those were longer
    than the model reads, `skipped` had nothing to read. `partial` means that candidates which
    could have been scored were not: `reason` says why. `timings_ms` has one entry a stage, in
    the order in which they ran. `tokens` were read, `padding_share` (0..1) of all positions
    computed were padding. `fusion_weight` is 0 where the first stage's scores played no part, and
    `feedback_weight` where the likeness to the leading candidates played none. `pruned` candidates
    stopped at an exit of the model, since they could not reach the top any more: they have that
    exit's logit and stand behind the rest. `exact` says that none could be let go: because it was
    asked for, or because the model has no exits. `cached` logits were known from an earlier call,
    and of `precomputed` documents the half that needs no query was; `tokens` counts none of theirs.
    `calibration` says what scores mean. `below_min_score` candidates were scored and left out.
    `abstained` says that nothing in the window answers: all of it that can be read was scored, and
    the best score is below what was asked for; it is False where that was not asked or not seen.
    A search says which `version` of the index it read, and how many `requests` for how many `bytes`
    it made to the object store; none where the index lies on this machine's disk.
    `first_stage_left_out` says why the first stage's scores played no part although some candidates
    came with one: they count only where every text that can be read has one.
    `query_unknown_share` (0..1) of the query's tokens the model does not know: they had no part in
    any score, and where they are all of it nothing is scored and the receipt is `partial`. `notes`
    say what is not as usual: a version other than the one that was open, a copy of which nobody
    knows whether it is the newest, something at hand that played no part or means less than it
    seems to.
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
    timings_ms: Mapping[str, float] = field(hash=False)
    tokens: int
    padding_share: float
    fusion_weight: float
    feedback_weight: float = 0.0
    pruned: int = 0
    exact: bool = True
    cached: int = 0
    precomputed: int = 0
    calibration: Calibrated = "none"
    below_min_score: int = 0
    abstained: bool = False
    version: int | None = None
    requests: int = 0
    bytes: int = 0
    first_stage_left_out: str | None = None
    query_unknown_share: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a hit, characters `start` to `end` of its title or its text, as `where` says.

    `effect` is how much the logit falls without it, in logits: over 0 the part speaks for the
    document, under 0 against it. None where nothing is left without it that could be read.
    """

    text: str
    start: int
    end: int
    effect: float | None
    where: Literal["title", "text"] = "text"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What of a document moved its logit.

    `parts` are its title, if it has one, and all of `span`, the text that the model read, in
    order; effects do not add up, since what two sentences both say is missing only without both.
    `logit` is of every stage: of a hit that was let go, not the one that it was ranked by. `unread`
    characters came after what the model reads. `rank` is None outside a ranking.
    """

    id: str
    rank: int | None
    logit: float
    parts: tuple[Part, ...]
    span: tuple[int, int]
    unread: int

    def strongest(self, count: int = 3) -> tuple[Part, ...]:
        """The parts that move the logit most, up or down, the strongest first; none below 1.

        Raises `InputError` for a `count` that is no whole number.
        """
        count = max(_whole(count, "how many parts"), 0)
        moving = [part for part in self.parts if part.effect]
        return tuple(sorted(moving, key=lambda part: -abs(part.effect or 0.0))[:count])


Basis = Literal["score", "tie", "exit", "unscored", "first_stage"]
"""Why one hit stands above another.

``score``: it has more of ``logit + fusion + feedback``. ``tie``: as much, so the higher logit comes
first, then the earlier of the caller's list. ``exit``: the other was let go at an earlier exit of
the model. ``unscored``: the other has no score. ``first_stage``: neither has.
"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Why `above` stands above `below`: `summary` says it in a sentence.

    What the order is by differs by `lead`, which is ``logit + fusion + feedback``: the
    differences of `logit`, `fusion` and `feedback`; all None where one of the two has no logit.
    The explanations are None for a document that cannot be read.
    """

    above: Hit
    below: Hit
    basis: Basis
    lead: float | None
    logit: float | None
    fusion: float | None
    feedback: float | None
    above_explained: Explanation | None
    below_explained: Explanation | None
    summary: str


class Explainer(Protocol):
    """What a ranking asks of the reranker that made it."""

    def explain(self, query: str, document: Hit) -> Explanation:
        """Which parts of the document moved its logit."""
        ...

    def compare(self, query: str, one: Hit, other: Hit) -> Comparison:
        """Why one of two hits of a ranking stands above the other."""
        ...


class _Made:
    """Where a `Ranking` keeps hits that are made when they are looked at: in no field of it."""

    __slots__ = ("_source",)
    _source: Sequence[Hit] | None


@dataclass(frozen=True, slots=True, repr=False)
class Ranking(Sequence[Hit], _Made):
    """Hits in rank order, at most `top_n` of them, with the receipt of the call.

    A hit is made when it is first looked at, `hits` makes all of them. What is written out are the
    first ten. `explainer` is the way back
    to the model. What was pickled or copied deeply has none.
    """

    query: str
    hits: tuple[Hit, ...] = field(hash=False)
    receipt: Receipt
    explainer: Explainer | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        query: str,
        source: Sequence[Hit],
        receipt: Receipt,
        explainer: Explainer | None = None,
    ) -> Self:
        """A ranking whose hits `source` makes, the same object at each time."""
        ranking = object.__new__(cls)
        values = {"query": query, "receipt": receipt, "explainer": explainer, "_source": source}
        for name, value in values.items():
            object.__setattr__(ranking, name, value)
        return ranking

    if not TYPE_CHECKING:  # else any name would be an attribute

        def __getattr__(self, name: str) -> Any:
            """Called where a slot is empty: that of `hits` is filled."""
            if name == "_source":
                return None
            source = self._source
            if name != "hits" or source is None:
                return object.__getattribute__(self, name)
            object.__setattr__(self, "hits", tuple(source))
            object.__setattr__(self, "_source", None)
            return self.hits

    @property
    def abstained(self) -> bool:
        """Whether nothing in the window answers, as the receipt has it."""
        return self.receipt.abstained

    def __repr__(self) -> str:
        """Not all of many hits: asyncio writes out what a task gave."""
        hits = [repr(hit) for hit in self[:_HITS_SHOWN]]
        if len(self) > len(hits):
            hits.append(f"… {len(self) - len(hits):,} more")
        shown = f"{', '.join(hits)}{',' * (len(hits) == 1)}"
        return f"Ranking(query={self.query!r}, hits=({shown}), receipt={self.receipt!r})"

    def _all(self) -> Sequence[Hit]:
        source = self._source
        return self.hits if source is None else source

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        if isinstance(index, slice):
            return tuple(self._all()[index])
        return self._all()[index]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self._all())

    def explain(self, index: int) -> Explanation:
        """Which sentences moved the logit of ``ranking[index]``: each is left out once.

        A reading for each sentence, all in one batch. Raises `InputError` for a hit that cannot
        be read, `IndexError` where there is no such hit, and `InputError` without an `explainer`.
        """
        return self._explainer().explain(self.query, self._at(index))

    def compare(self, one: int, other: int) -> Comparison:
        """Why the higher of ``ranking[one]`` and ``ranking[other]`` stands above the lower.

        Explains both; raises as `explain` does, but a hit that cannot be read is no error.
        """
        return self._explainer().compare(self.query, self._at(one), self._at(other))

    def _at(self, index: int) -> Hit:
        place = _whole(index, "a hit's place")
        try:
            return self[place]
        except IndexError:
            size = len(self)
            raise IndexError(f"hit {index}: there are {size}; they count from 0") from None

    def _explainer(self) -> Explainer:
        if self.explainer is None:
            raise InputError(
                "this ranking has no reranker at hand (first stage only, unpickled or copied): "
                "use Reranker().explain(query, hit)"
            )
        return self.explainer
