"""The data types of rerankers: documents in, rankings out. All are frozen and hashable.

A hash ignores mappings and the hits of a ranking.
"""

import operator
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from reprlib import Repr
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, overload

from resift.contexts import Context as Context
from resift.contexts import ContextOrder as ContextOrder
from resift.contexts import ContextSource as ContextSource
from resift.contexts import PassageReader as PassageReader
from resift.documents import Candidate as Candidate
from resift.documents import Citation as Citation
from resift.documents import Document as Document
from resift.documents import Precomputed as Precomputed
from resift.errors import InputError, shown
from resift.extras import require
from resift.plain_json import plain

_REPR = Repr()
_REPR.maxstring = _REPR.maxother = 80
_HITS_SHOWN = 10

DEPTH = 30
"""The default number of candidates that a search reranks (benchmarks/default_depth.py)."""

Status = Literal["ok", "cut", "empty", "not_text", "late", "failed", "not_reranked"]
"""Whether and how a candidate was scored.

- ``ok``: all of its text was read.
- ``cut``: scored by `Hit.tokens_seen` of its tokens; the others were not read.
- ``empty``: it has no text, or no word that the model knows.
- ``not_text``: its text is not a string, or it is not a document.
- ``late``: the deadline passed before its turn.
- ``failed``: the model gave no number for it.
- ``not_reranked``: there was no reranking, or the model knows no word of the query.

Candidates with the last five have no score. They follow the scored ones, in first-stage order.
"""

Calibrated = Literal["none", "model", "judged", "judged_other_depth", "rank"]
"""The meaning of scores.

- ``none``: not calibrated. The score is the sigmoid of the logit, not a probability.
- ``model``: the probability of relevance, fitted by the makers of the model.
- ``judged``: the probability of relevance, fitted on your judgments by ``resift calibrate``.
- ``judged_other_depth``: fitted on your judgments, for lists of another depth, where relevant
  documents are more or less frequent. Not a probability here (`Receipt.notes` has both depths).
- ``rank``: evenly spaced by rank, from a reranker that gives an order and no scores. They tell
  nothing of how relevant a document is, and scores of two calls do not compare.
"""


LongDocuments = Literal["cut", "windows"]
"""How a document is read that is longer than the model reads beside the query.

- ``cut``: its beginning is read.
- ``windows``: overlapping parts are read, which begin at sentences: those that share most words
  with the query, with about twice as many tokens as are read of a cut document. The best one gives
  the document's logit and `Hit.span`.
"""


def _whole(value: object, expected: str) -> int:
    """A whole number of any library. Raises `InputError` for anything else, booleans included."""
    try:
        return operator.index(None if isinstance(value, bool) else value)  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"{shown(value)}: expected {expected}, a whole number") from None


@dataclass(frozen=True, slots=True, repr=False)
class Hit:
    """One document of a ranking.

    `rank` counts from 1; `index` is the position in the caller's list, from 0. `id`, `title`,
    `text`, `metadata` and `citation` are the document's; `text` is empty if it is not a string.

    `logit` is the model's output for the pair and depends on nothing else. The order is by
    ``logit + fusion + feedback``. `fusion` is the first-stage interpolation: weight × standardised
    first-stage score. `feedback` is pseudo-relevance feedback after Rocchio (1971), with vectors as
    in Li et al. (2021, https://arxiv.org/abs/2108.11044): the cosine between this document's vector
    and the average vector of the leading candidates, times a weight. `score` maps the sum to 0..1:
    it is a probability with a calibration (`Receipt.calibration`), else the sigmoid. `logit` and
    `score` are None for the last five values of `status`.

    `tokens_seen` tokens were read and `tokens_dropped` were not; without `dropped_counted` there
    was no time to count them, and more than these were not read. `span` is the range of characters
    of `text` that the logit is of: all that was read, or the best window of a long document that
    was read in `windows` (0 for other documents). A token in two windows counts once. Windows with
    too few of the query's words, and those that were not read before a deadline, count as dropped.
    `unknown_share` (0..1) of the tokens that were read are unknown to the model and left out of
    `tokens_seen`. `stages` is the number of model stages that the document went through.
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
    windows: int = 0
    unknown_share: float = 0.0

    def __repr__(self) -> str:
        """Long texts are shortened."""
        fields = (f"{name}={_REPR.repr(getattr(self, name))}" for name in self.__dataclass_fields__)
        return f"Hit({', '.join(fields)})"


DocumentLike = str | Document | Hit | Mapping[str, Any]
"""The types of a document.

A mapping has ``text`` and optionally ``id`` (or ``_id``), ``title``, ``score``, ``rank`` and
``metadata``; its other keys are metadata. A `Hit` keeps its first-stage rank and score.
"""


@dataclass(frozen=True, slots=True)
class Receipt:
    """How a ranking was made, and which parts of the work were left out.

    Of `depth` candidates, `scored` have a logit; of `cut` a part was not read; `skipped` had no
    text; `late` and `failed` have that `status` and no logit; `pruned` stopped at an early exit
    because they could not reach the `top_n` any more: they keep that exit's logit and rank behind
    the others. `below_min_score` were scored and left out.
    `windowed` are longer than the model reads and were read in `windows`, together so many. With
    `exact`, no pruning was possible: it was switched off, there was no `top_n`, or the model has no
    exits. `partial` means that some candidates did not go through all stages for lack of time, or
    could not be scored; `reason` says why. `abstained` means that all candidates were scored and
    the best score is below `abstain_below`.

    `timings_ms` has the stages in running order, and their ``total``. The model read `tokens`;
    `padding_share` (0..1) of all computed positions were padding. `cached` logits came from an
    earlier call, and the token states of `precomputed` documents were given or cached; `tokens`
    counts neither.

    `fusion_weight` and `feedback_weight` are the weights behind the order, 0 for a term that was
    left out. `first_stage_left_out` says why first-stage scores were not used although some
    candidates had one: all texts need one. `calibration` is the meaning of scores.
    `query_unknown_share` (0..1) of the query's tokens are unknown to the model; at 1 nothing is
    scored and the receipt is `partial`. Of `mostly_unknown` documents, over half of the tokens that
    were read are unknown. `query_prompt` is what the model's own configuration puts before the
    query. `notes` has other remarks.

    A ranking that several rerankers made has the `receipts` of each, in running order: of a chain,
    and of a reranker that failed with that of the one which took over.

    A search adds the `version` of the index, and the number of `requests` to the object store and
    of `bytes` from it (0 for an index on a local disk). With `collapse`, so many candidates were
    `collapsed`: a better passage of their document is in the ranking.
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
    windowed: int = 0
    windows: int = 0
    mostly_unknown: int = 0
    query_prompt: str = ""
    late: int = 0
    failed: int = 0
    collapsed: int = 0
    receipts: "tuple[Receipt, ...]" = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Characters `start` to `end` of a document's title or text, as `where` says.

    `effect` is how much the logit falls without this part: a part with a positive effect supports
    the document, one with a negative effect counts against it. None if nothing readable is left
    without the part.
    """

    text: str
    start: int
    end: int
    effect: float | None
    where: Literal["title", "text"] = "text"


@dataclass(frozen=True, slots=True)
class Explanation:
    """The effect of each part of a document on its logit.

    `parts` are the title, if any, and the sentences of `span`, the text that the model read, in
    order. Effects do not add up: if two sentences state the same, each alone may have no effect.
    `logit` is that of the last stage; a pruned hit was ranked by an earlier one. `unread`
    characters are not in `span`. `rank` is None outside a ranking.
    """

    id: str
    rank: int | None
    logit: float
    parts: tuple[Part, ...]
    span: tuple[int, int]
    unread: int

    def strongest(self, count: int = 3) -> tuple[Part, ...]:
        """The `count` parts that move the logit most, up or down, strongest first.

        Raises `InputError` for a `count` that is not a whole number.
        """
        count = max(_whole(count, "how many parts"), 0)
        moving = [part for part in self.parts if part.effect]
        return tuple(sorted(moving, key=lambda part: -abs(part.effect or 0.0))[:count])


Basis = Literal["score", "tie", "exit", "unscored", "first_stage"]
"""The reason why one hit is above another.

- ``score``: its ``logit + fusion + feedback`` is higher.
- ``tie``: they are equal; the higher logit comes first, then the earlier one in the caller's list.
- ``exit``: the other was pruned at an earlier exit of the model.
- ``unscored``: the other has no score.
- ``first_stage``: neither has a score.
"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Why `above` is ranked above `below`; `summary` says it in a sentence.

    `logit`, `fusion` and `feedback` are the differences between the two hits, `lead` is their sum;
    all are None if one of the hits has no logit. An explanation is None for a document that cannot
    be read.
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
    """The methods of a reranker that its rankings use."""

    def explain(self, query: str, document: Hit) -> Explanation:
        """The effect of each part of the document on its logit."""
        ...

    def compare(self, query: str, first: Hit, second: Hit) -> Comparison:
        """Why one of two hits of a ranking is above the other."""
        ...


class _LazyHits:
    """Holds the sequence that builds a ranking's hits, outside the dataclass's fields."""

    __slots__ = ("_source",)
    _source: Sequence[Hit] | None


@dataclass(frozen=True, slots=True, repr=False)
class Ranking(Sequence[Hit], _LazyHits):
    """Hits in rank order, at most `top_n` of them, with the receipt of the call.

    A hit is built when it is first accessed; `hits` builds all of them. `explainer` is the model's;
    it is None after pickling or deep-copying, and in a ranking of the first stage alone.
    `neighbours` reads the version of the index that was searched; it is None without an index, and
    after pickling or deep-copying.
    """

    query: str
    hits: tuple[Hit, ...] = field(hash=False)
    receipt: Receipt
    explainer: Explainer | None = field(default=None, repr=False, compare=False)
    neighbours: PassageReader | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        query: str,
        source: Sequence[Hit],
        receipt: Receipt,
        explainer: Explainer | None = None,
    ) -> Self:
        """A ranking whose hits `source` builds, always the same object for the same index."""
        ranking = object.__new__(cls)
        values = {"query": query, "receipt": receipt, "explainer": explainer, "_source": source}
        values["neighbours"] = None
        for name, value in values.items():
            object.__setattr__(ranking, name, value)
        return ranking

    if not TYPE_CHECKING:  # a type checker would take any name for an attribute

        def __getattr__(self, name: str) -> Any:
            """Called for an empty slot: builds `hits`."""
            if name == "_source":
                return None
            source = self._source
            if name != "hits" or source is None:
                return object.__getattribute__(self, name)
            object.__setattr__(self, "hits", tuple(source))
            object.__setattr__(self, "_source", None)
            return self.hits

    def _all(self) -> Sequence[Hit]:
        source = self._source
        return self.hits if source is None else source

    @property
    def abstained(self) -> bool:
        """Whether no candidate reached `abstain_below`; see `Receipt.abstained`."""
        return self.receipt.abstained

    def __repr__(self) -> str:
        """At most the first ten hits."""
        hits = [repr(hit) for hit in self[:_HITS_SHOWN]]
        if len(self) > len(hits):
            hits.append(f"… {len(self) - len(hits):,} more")
        shown = f"{', '.join(hits)}{',' * (len(hits) == 1)}"
        return f"Ranking(query={self.query!r}, hits=({shown}), receipt={self.receipt!r})"

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        return tuple(self._all()[index]) if isinstance(index, slice) else self._all()[index]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self._all())

    def to_dicts(self) -> list[dict[str, Any]]:
        """The hits as dicts for ``json.dumps``, as ``resift rerank --json`` prints them.

        NaN becomes None; metadata that JSON cannot express becomes text.
        """
        return [plain(hit) for hit in self]

    def to_pandas(self) -> Any:
        """The hits as a ``pandas.DataFrame``: a row per hit, in rank order, a column per field.

        `metadata` and `citation` are one column each. Raises `MissingExtra` without pandas.
        """
        names = list(Hit.__dataclass_fields__)
        rows = [[getattr(hit, name) for name in names] for hit in self]
        return require("pandas").DataFrame(rows, columns=names)

    def context(
        self,
        max_tokens: int = 2_000,
        *,
        per_document: int | None = None,
        order: ContextOrder = "rank",
        count: Callable[[str], Any] | None = None,
        tokenizer: str | os.PathLike[str] | None = None,
    ) -> Context:
        """Pack the hits into a text of at most `max_tokens` tokens, with numbered citations.

        First every hit gets its text, best first. One that does not fit is cut round its best
        sentences, or left out. Then, in turn and best first, hits of an index grow by the passages
        after and before them under the same heading and on the same page, as long as these fit
        whole; a hit with less than a tenth of the best score does not. Passages of one document
        that touch become one source. Equal texts are there once.

        A ranking that `abstained` has an empty context.

        Args:
            max_tokens: The most tokens of the text. If none fits, the text is empty.
            per_document: Use at most so many hits of one document; None means all.
            order: The order of the sources (`ContextOrder`).
            count: Counts the tokens of a text: a function that returns their number, or a list of
                them, such as the ``encode`` of a tokenizer.
            tokenizer: Instead of `count`, a ``tokenizer.json``, a folder with one, or the id of a
                repository on the hub. Without both, the bundled model's tokenizer counts, and each
                character that it does not know counts as a token.

        Raises:
            InputError: An argument is out of range.
            ModelError: The tokenizer cannot be opened.

        """
        pack = require("resift.search.context").pack
        packed: Context = pack(
            self,
            max_tokens,
            per_document=per_document,
            order=order,
            count=count,
            tokenizer=tokenizer,
        )
        return packed

    def explain(self, index: int) -> Explanation:
        """The effect of each sentence on the logit of ``ranking[index]``.

        Scores the document once without each sentence, in one batch. Raises `InputError` for a hit
        that cannot be read or without an `explainer`, and `IndexError` if there is no such hit.
        """
        return self._explainer().explain(self.query, self._at(index))

    def compare(self, first: int, second: int) -> Comparison:
        """Why the higher of ``ranking[first]`` and ``ranking[second]`` is above the lower.

        Explains both. Raises as `explain` does, except for a hit that cannot be read.
        """
        return self._explainer().compare(self.query, self._at(first), self._at(second))

    def _at(self, index: int) -> Hit:
        try:
            return self[_whole(index, "the index of a hit")]
        except IndexError:
            size = len(self)
            raise IndexError(f"hit {index}: there are {size}; they count from 0") from None

    def _explainer(self) -> Explainer:
        if self.explainer is None:
            raise InputError(
                "this ranking has no reranker (first stage only, unpickled or copied): "
                "use Reranker().explain(query, hit)"
            )
        return self.explainer
