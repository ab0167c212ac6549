"""The state of a call: one record for each document that was read, and what the call took."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.rerank.cache_file import Score
from resift.rerank.candidates import full_text, title_part
from resift.rerank.models import TokenStates
from resift.rerank.precompute import EncodedDocument
from resift.rerank.tokenization import TokenRow
from resift.rerank.values import is_text
from resift.types import Candidate, Status

Floats = NDArray[np.float32]

BEGINNING = 65_536
"""Characters of a text that are checked before it is tokenised; the rest is seldom read."""

NO_ROW = TokenRow(np.empty(0, np.int64), 0, 0, 0, 0)


class CandidateTexts(Sequence[object]):
    """What a model reads of each candidate, by index: its title and text, joined on access.

    Joining copies, and a call with a deadline reads only a few of many long texts. Not a string
    where the candidate's text is none.
    """

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates

    def __len__(self) -> int:
        return len(self._candidates)

    def __getitem__(self, index: Any) -> Any:
        return full_text(self._candidates[index])

    def beginnings(self, characters: int) -> Iterator[object]:
        """Each text, or a longer beginning where it has more than so many characters."""
        for candidate in self._candidates:
            text = candidate.text
            if not isinstance(text, str) or len(text) <= characters:
                yield full_text(candidate)
            else:
                yield title_part(candidate.title) + text[: characters + 1]


@dataclass(slots=True, eq=False)
class DocumentState:
    """One document of a call; `text` has its title too, and is dropped after the call.

    `row` is what the model reads of it beside the query, and `encoded` its own tokens, with its
    token states where they are `precomputed`. `logits` has one for each stage that it went
    through, and `states` its token states between two of them. `mean` is its unit mean vector.
    `key` and `digest` are its keys in the caches of scores and of token states, empty where it is
    not to be put there; `recalled` is its score in the former.
    """

    index: int
    text: str
    row: TokenRow = NO_ROW
    encoded: EncodedDocument | None = None
    logits: tuple[float, ...] = ()
    states: TokenStates | None = None
    mean: Floats | None = None
    key: bytes = b""
    digest: bytes = b""
    recalled: Score | None = None
    precomputed: bool = False
    pruned: bool = False

    @property
    def logit(self) -> float:
        """The best estimate, NaN where there is none."""
        return self.logits[-1] if self.logits else math.nan

    @property
    def score(self) -> Score:
        """What a cache keeps of it. A `dropped` below 0 stands for at least so many tokens."""
        row = self.row
        dropped = row.dropped if row.counted else -row.dropped
        mean = b"" if self.mean is None else self.mean.astype(np.float32).tobytes()
        return Score(self.logits, row.seen, dropped, row.end, mean, len(row.ids))


@dataclass(slots=True)
class CallState:
    """The documents of a call, and what it took.

    `statuses` has one for each text, in input order. `documents` has a record, by index, of those
    texts that were tokenised or recalled: most of a long list under a deadline never are. Arrays
    are made of them on access, in input order. `query_unknown_share` is of the query's tokens,
    0..1. `tokens` and `positions` are those of the first stage, without and with padding.
    """

    statuses: list[Status]
    documents: dict[int, DocumentState] = field(default_factory=dict)
    partial: bool = False
    reason: str | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    positions: int = 0
    query_unknown_share: float = 0.0

    @classmethod
    def of(cls, texts: Sequence[object]) -> "CallState":
        """Before anything is tokenised."""
        beginnings: Iterable[object] = texts
        if isinstance(texts, CandidateTexts):
            beginnings = texts.beginnings(BEGINNING)
        return cls([_status(text) for text in beginnings])

    @property
    def logits(self) -> Floats:
        """The best estimates, NaN where there is none, ``(n,)``."""
        return self._array(np.nan, np.float32, lambda document: document.logit)

    @property
    def stages(self) -> NDArray[np.int8]:
        """How many stages each document went through, ``(n,)``."""
        return self._array(0, np.int8, lambda document: len(document.logits))

    @property
    def pruned(self) -> NDArray[np.bool_]:
        """Which documents the early exit went on without, ``(n,)``."""
        return self._array(False, bool, lambda document: document.pruned)

    @property
    def cached(self) -> NDArray[np.bool_]:
        """Which scores came from the cache, ``(n,)``."""
        return self._array(False, bool, lambda document: document.recalled is not None)

    @property
    def precomputed(self) -> NDArray[np.bool_]:
        """Of which documents the token states were known, ``(n,)``."""
        return self._array(False, bool, lambda document: document.precomputed)

    @property
    def means(self) -> NDArray[np.float64] | None:
        """Unit mean vectors, ``(n, dim)``, zero where there is none; None for a cross-encoder."""
        mean_by_index = {
            index: document.mean
            for index, document in self.documents.items()
            if document.mean is not None
        }
        if not mean_by_index:
            return None
        vectors = np.stack(list(mean_by_index.values()))
        means = np.zeros((len(self.statuses), vectors.shape[1]))
        means[list(mean_by_index)] = vectors
        return means

    @property
    def rows(self) -> dict[int, TokenRow]:
        """What was read of each document that was tokenised or recalled, by index."""
        rows = ((index, document.row) for index, document in self.documents.items())
        return {index: row for index, row in rows if row is not NO_ROW}

    def _array(
        self, default: float, kind: Any, value: Callable[[DocumentState], float]
    ) -> NDArray[Any]:
        array = np.full(len(self.statuses), default, kind)
        array[list(self.documents)] = [value(document) for document in self.documents.values()]
        return array

    @property
    def unscored(self) -> list[int]:
        """Indices of the readable texts that have no logit."""
        scored = {index for index, document in self.documents.items() if document.logits}
        return [
            index
            for index, status in enumerate(self.statuses)
            if status in ("ok", "cut") and index not in scored
        ]

    @property
    def recalled(self) -> list[DocumentState]:
        """The documents whose scores came from the cache."""
        return [document for document in self.documents.values() if document.recalled is not None]

    @property
    def padding_share(self) -> float:
        """The share of the first stage's positions that was padding, 0..1."""
        return 1 - self.tokens / self.positions if self.positions else 0.0

    def head(self, size: int) -> "CallState":
        """The state of the first `size` texts; itself where these are all."""
        if size >= len(self.statuses):
            return self
        documents = {index: document for index, document in self.documents.items() if index < size}
        tokens = sum(
            len(document.row.ids)
            for document in documents.values()
            if document.logits and not document.precomputed
        )
        return replace(
            self,
            statuses=self.statuses[:size],
            documents=documents,
            tokens=tokens,
            positions=round(tokens / (1 - self.padding_share)),
        )

    def joined(self, later: "CallState") -> "CallState":
        """The state of these texts and of those that were scored after them."""
        shift = len(self.statuses)
        shifted = {
            index + shift: replace(document, index=index + shift)
            for index, document in later.documents.items()
        }
        return CallState(
            self.statuses + later.statuses,
            self.documents | shifted,
            self.partial or later.partial,
            self.reason or later.reason,
            {
                name: self.timings_ms.get(name, 0.0) + later.timings_ms.get(name, 0.0)
                for name in self.timings_ms | later.timings_ms
            },
            self.tokens + later.tokens,
            self.positions + later.positions,
            self.query_unknown_share,
        )

    def recall(self, document: DocumentState, score: Score) -> None:
        """The cache has a document's score."""
        dropped, counted = abs(score.dropped), score.dropped >= 0
        document.row = TokenRow(NO_ROW.ids, 0, score.seen, dropped, score.end, counted)
        document.logits, document.recalled = score.logits, score
        if score.mean:
            document.mean = np.frombuffer(score.mean, np.float32)
        if score.dropped:
            self.statuses[document.index] = "cut"

    def skip_all(self, reason: str) -> None:
        """Nothing can be scored: the first stage's order stays."""
        self.statuses = ["not_reranked" if status == "ok" else status for status in self.statuses]
        self.note(reason)

    def fail(self, document: DocumentState, reason: str) -> None:
        """A stage failed for a document; a logit of an earlier stage stays as its estimate."""
        if not document.logits:
            self.statuses[document.index] = "failed"
        self.note(reason)

    def stop(self, reason: str) -> None:
        """The call ends here: documents without a logit are late, others keep their estimate."""
        self.note(reason)
        for index in self.unscored:
            self.statuses[index] = "late"

    def drop_texts(self) -> None:
        """Texts, tokens and states are large, and of no use after the call."""
        for document in self.documents.values():
            document.text, document.encoded, document.states = "", None, None

    def note(self, reason: str) -> None:
        """Something that could have been scored was not; the first reason stays."""
        self.partial = True
        self.reason = self.reason or reason


def _status(text: object) -> Status:
    """The status of a text before it is tokenised, by its beginning."""
    if not isinstance(text, str) or not is_text(text[:BEGINNING]):
        return "not_text"
    if len(text) <= BEGINNING and not text.strip():
        return "empty"
    return "ok"
