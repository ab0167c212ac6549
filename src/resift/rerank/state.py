"""The state of a call: one record per document that was read, token counts and timings."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.rerank.cache_file import Score
from resift.rerank.candidates import full_text, title_part
from resift.rerank.graph_runs import TokenStates
from resift.rerank.precompute import EncodedDocument
from resift.rerank.tokenization import TokenRow
from resift.rerank.values import is_text
from resift.types import Candidate, Status

Floats = NDArray[np.float32]

BEGINNING = 65_536
"""How much of a text is checked, in characters, before it is tokenised."""

NO_ROW = TokenRow(np.empty(0, np.int64), 0, 0, 0, 0)


class CandidateTexts(Sequence[object]):
    """The text that a model reads of each candidate, by index: title and text, joined on access.

    Joining copies the text, and a call with a deadline may read only a few of many long texts. An
    item is not a string if the candidate's text is not one.
    """

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates

    def __len__(self) -> int:
        return len(self._candidates)

    def __getitem__(self, index: Any) -> Any:
        return full_text(self._candidates[index])

    def beginnings(self, characters: int) -> Iterator[object]:
        """Each text; of one over `characters` a beginning that is still longer than that."""
        for candidate in self._candidates:
            text = candidate.text
            if not isinstance(text, str) or len(text) <= characters:
                yield full_text(candidate)
            else:
                yield title_part(candidate.title) + text[: characters + 1]


@dataclass(slots=True, eq=False)
class DocumentState:
    """One document of a call; `text` includes its title and is dropped after the call.

    `row` is the sequence that the model reads. `encoded` has the document's tokens without a query,
    and its token states if they are `precomputed`. `logits` has one logit per stage that it went
    through; `states` are its token states between two stages. `mean` is its unit mean vector. `key`
    and `digest` are its keys in the caches of scores and of token states, empty if it does not go
    there; `cached` is its score from the cache.

    A long document that is read in `windows` does not run itself: each window is a record of the
    same `index` that runs as any other. A window's `document` is the one that it is a part of, and
    `begin` is its first token there.
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
    cached: Score | None = None
    precomputed: bool = False
    pruned: bool = False
    failed: bool = False
    begin: int = 0
    document: "DocumentState | None" = None
    windows: "list[DocumentState]" = field(default_factory=list)

    @property
    def records(self) -> "list[DocumentState]":
        """What runs through the stages: the windows, or this record."""
        return self.windows or [self]

    @property
    def length(self) -> int:
        """Tokens of the row, or of those that the cached score was computed from."""
        return len(self.row.ids) if self.cached is None else self.cached.tokens

    @property
    def logit(self) -> float:
        """The logit of the last stage so far, NaN before the first."""
        return self.logits[-1] if self.logits else math.nan

    @property
    def score(self) -> Score:
        """The entry for the cache; a negative `dropped` means "at least so many tokens"."""
        row = self.row
        dropped = row.dropped if row.counted else -row.dropped
        mean = b"" if self.mean is None else self.mean.astype(np.float32).tobytes()
        tokens = sum(len(record.row.ids) for record in self.records)
        return Score(
            self.logits,
            row.seen,
            dropped,
            row.end,
            mean,
            tokens,
            row.unknown,
            row.start,
            row.windows,
        )


@dataclass(slots=True)
class CallState:
    """The documents of a call, token counts and timings.

    `statuses` has one status per text, in input order. `documents` has a record, by index, of each
    text that was tokenised or cached; under a deadline most of a long list has none. Arrays are
    built from the records on access, in input order. `query_unknown_share` (0..1) of the query's
    tokens are unknown. `tokens` and `positions` are those of the first stage, without and with
    padding.
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
        """The state before anything is tokenised."""
        beginnings: Iterable[object] = texts
        if isinstance(texts, CandidateTexts):
            beginnings = texts.beginnings(BEGINNING)
        return cls([_status(text) for text in beginnings])

    @property
    def logits(self) -> Floats:
        """The logit of each document's last stage so far, ``(n,)``; NaN for those without one."""
        return self._array(np.nan, np.float32, lambda document: document.logit)

    @property
    def stages(self) -> NDArray[np.int8]:
        """How many stages each document went through, ``(n,)``."""
        return self._array(0, np.int8, lambda document: len(document.logits))

    @property
    def pruned(self) -> NDArray[np.bool_]:
        """Which documents the early exit pruned, ``(n,)``."""
        return self._array(False, bool, lambda document: document.pruned)

    @property
    def cached(self) -> NDArray[np.bool_]:
        """Which scores came from the cache, ``(n,)``."""
        return self._array(False, bool, lambda document: document.cached is not None)

    @property
    def precomputed(self) -> NDArray[np.bool_]:
        """Which documents came with token states, ``(n,)``."""
        return self._array(False, bool, lambda document: document.precomputed)

    @property
    def means(self) -> NDArray[np.float64] | None:
        """Unit mean vectors, ``(n, dim)``, zero for unread documents; None for a cross-encoder."""
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
        """The row of each document that was tokenised or cached, by index."""
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
    def cached_documents(self) -> list[DocumentState]:
        """The documents whose scores came from the cache."""
        return [document for document in self.documents.values() if document.cached is not None]

    @property
    def padding_share(self) -> float:
        """The share of the first stage's positions that was padding, 0..1."""
        return 1 - self.tokens / self.positions if self.positions else 0.0

    def head(self, size: int) -> "CallState":
        """The state of the first `size` texts."""
        if size >= len(self.statuses):
            return self
        documents = {index: document for index, document in self.documents.items() if index < size}
        tokens = sum(
            len(record.row.ids)
            for document in documents.values()
            for record in document.records
            if record.logits and not record.precomputed
        )
        return replace(
            self,
            statuses=self.statuses[:size],
            documents=documents,
            tokens=tokens,
            positions=round(tokens / (1 - self.padding_share)),
        )

    def followed_by(self, later: "CallState") -> "CallState":
        """The state of these texts and of `later` ones, which were scored after them."""
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

    def set_cached(self, document: DocumentState, score: Score) -> None:
        """Give a document its score from the cache."""
        dropped, counted = abs(score.dropped), score.dropped >= 0
        document.row = TokenRow(
            NO_ROW.ids,
            0,
            score.seen,
            dropped,
            score.end,
            counted,
            score.unknown,
            score.start,
            score.windows,
        )
        document.logits, document.cached = score.logits, score
        if score.mean:
            document.mean = np.frombuffer(score.mean, np.float32)
        if score.dropped:
            self.statuses[document.index] = "cut"

    def skip_all(self, reason: str) -> None:
        """Score nothing: the order of the first stage stays."""
        self.statuses = ["not_reranked" if status == "ok" else status for status in self.statuses]
        self.note(reason)

    def fail(self, document: DocumentState, reason: str) -> None:
        """Note that a stage failed for a record; it keeps the logit of an earlier stage."""
        document.failed = True
        records = (document.document or document).records
        if all(record.failed and not record.logits for record in records):
            self.statuses[document.index] = "failed"
        self.note(reason)

    def stop(self, reason: str) -> None:
        """End the call: documents without a logit are late, others keep the one they have."""
        self.note(reason)
        for index in self.unscored:
            self.statuses[index] = "late"

    def drop_texts(self) -> None:
        """Release texts, tokens and states, which are large and not needed after the call."""
        for document in self.documents.values():
            for record in (document, *document.windows):
                record.text, record.encoded, record.states, record.document = "", None, None, None

    def note(self, reason: str) -> None:
        """Make the call partial; its first reason stays."""
        self.partial = True
        self.reason = self.reason or reason


def _status(text: object) -> Status:
    """The status of a text before it is tokenised, by its beginning."""
    if not isinstance(text, str) or not is_text(text[:BEGINNING]):
        return "not_text"
    if len(text) <= BEGINNING and not text.strip():
        return "empty"
    return "ok"
