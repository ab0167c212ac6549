"""The work of a call around the model: look up scores and states, tokenise, store scores.

Each generator runs in steps of a few milliseconds and stops at the deadline; the call then returns
what it has.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from resift.rerank.cache_file import Score
from resift.rerank.caches import PairCache, StateCache
from resift.rerank.deadline import Deadline
from resift.rerank.long_documents import digest_of, has_all_tokens, make_windows
from resift.rerank.models import Model
from resift.rerank.precompute import EncodedDocument, digest
from resift.rerank.request import Steps
from resift.rerank.state import CallState, DocumentState
from resift.rerank.text_tokens import Wanted
from resift.rerank.tokenization import TokenRow
from resift.rerank.tuning import Throughput
from resift.rerank.windows import HURRIED_TOKENS, MAX_DOCUMENT_TOKENS
from resift.types import Status

TOKENISED_AT_ONCE, HASHED_AT_ONCE = 16_384, 1_000_000
"""Characters that one step tokenises or hashes, in a few milliseconds."""


@dataclass(slots=True)
class Call:
    """A query and its texts.

    `wanted` says whether the tokens of cut texts are counted to the end. With `fill_caches` False
    the call adds nothing to the caches. `windows` names how long documents are read in windows, as
    a part of their keys in the cache of scores; None cuts them.
    """

    model: Model
    query: str
    query_row: TokenRow
    texts: Sequence[object]
    deadline: Deadline
    wanted: Wanted
    state: CallState
    fill_caches: bool = True
    windows: str | None = None
    recounted: list[DocumentState] = field(default_factory=list)

    def look_up(self, cache: PairCache) -> Steps[None]:
        """Take scores from the cache, and count the tokens that earlier calls did not count."""
        documents: list[DocumentState] = []
        for part in self._parts(HASHED_AT_ONCE):
            for document, key in zip(part, cache.keys(self.query, _texts(part)), strict=True):
                document.key = key
            documents.extend(part)
            if self.deadline.expired:
                break
            yield None
        for document, score in self._cached(cache, documents):
            self.state.set_cached(document, score)
        if self.wanted != "beginning":
            yield from self._recount(documents)

    def _cached(
        self, cache: PairCache, documents: Sequence[DocumentState]
    ) -> Iterator[tuple[DocumentState, Score]]:
        """Documents with their cached scores.

        A document that was not cut has the same score with and without windows.
        """
        scores = cache.get([document.key for document in documents])
        long = []
        for document in documents:
            score = scores.get(document.key)
            if score is not None and (self.windows is None or not score.dropped):
                yield document, score
            else:
                long.append(document)
        if self.windows is None:
            return
        keys = {self._long_key(document): document for document in long}
        for key, score in cache.get(list(keys)).items():
            yield keys[key], score

    def _long_key(self, document: DocumentState) -> bytes:
        return digest(f"{document.key.hex()} {self.windows}")

    def _recount(self, documents: Sequence[DocumentState]) -> Steps[None]:
        """Count the tokens of cached texts that an earlier call had no time to count."""
        for document in documents:
            if document.cached is None or document.row.counted:
                continue
            yield from self._encode([document])
            if document.encoded is None:
                break
            row = document.row
            dropped = document.encoded.tokens.total - row.seen - row.unknown
            document.row = replace(row, dropped=dropped, counted=True)
            document.cached = replace(document.cached, dropped=dropped)
            self.recounted.append(document)

    def find_encoded(
        self, encoded: Mapping[int, EncodedDocument], cache: StateCache | None
    ) -> None:
        """Take encoded documents from the caller (by index), otherwise states from the cache."""
        unscored = self.state.unscored
        for index in unscored:
            if index in encoded:
                self._document(index).encoded = encoded[index]
        if cache is not None and self.model.state_type is not None:
            self._find_states(unscored, cache)

    def _find_states(self, indices: Sequence[int], cache: StateCache) -> None:
        missing: list[DocumentState] = []
        for index in indices:
            if self.deadline.expired:
                break
            document = self._document(index)
            if document.encoded is None or document.encoded.states is None:
                document.digest = digest(document.text)
                missing.append(document)
        cached = cache.get(document.digest for document in missing)
        for document in missing:
            hit = cached.get(document.digest)
            if hit is not None and (hit.tokens.counted or self.wanted == "beginning"):
                document.encoded = hit
            if not self.fill_caches:
                document.digest = b""

    def tokenise(
        self, throughput: Throughput, cache: StateCache | None = None
    ) -> Steps[list[DocumentState]]:
        """Make the rows of the texts without a score; return the documents that can run.

        `cache` may have the token states of windows.
        """
        ready: list[DocumentState] = []
        tokens = 0
        for part in self._parts(TOKENISED_AT_ONCE):
            remaining_s = self.deadline.remaining_s
            if remaining_s is not None and tokens > 4 * throughput.tokens(remaining_s):
                break  # there is no time to score later documents
            yield from self._encode(part)
            part = [document for document in part if document.encoded is not None]
            for document, row in zip(part, self._rows(part), strict=True):
                document.row = row
                document.precomputed = _has_states(document.encoded, row)
                if row.dropped and self.windows is not None:
                    self._split(document, cache)
                    yield None
                tokens += 0 if document.precomputed else len(row.ids)
                self.state.statuses[document.index] = _status(document)
            ready.extend(document for document in part if document.row.seen or document.windows)
            if self.deadline.expired:
                break
        return ready

    def _split(self, document: DocumentState, cache: StateCache | None) -> None:
        """Make the windows of a long document, with the token states that are cached."""
        make_windows(self.model, self.query_row, document)
        document.precomputed = False
        document.digest = b""
        if document.encoded and not has_all_tokens(document.encoded.tokens, MAX_DOCUMENT_TOKENS):
            document.key = b""  # without a deadline the score may be another one
        if cache is None or self.model.state_type is None:
            return
        whole = digest(document.text)
        windows = {digest_of(window, whole): window for window in document.windows}
        cached = cache.get(windows)
        for key, window in windows.items():
            window.encoded = cached.get(key, window.encoded)
            window.precomputed = _has_states(window.encoded, window.row)
            if self.fill_caches and not window.precomputed:
                window.digest = key

    def store(self, cache: PairCache) -> None:
        """Put into the cache the scores of the last stage, and new token counts."""
        stages = len(self.model.stages)
        scores = {
            self._key_of(document): document.score
            for document in self.state.documents.values()
            if document.key
            and document.cached is None
            and len(document.logits) == stages
            and not any(window.failed for window in document.windows)
        }
        for document in self.recounted:
            if document.cached is not None:
                scores[self._key_of(document)] = document.cached
        cache.put(scores)

    def _key_of(self, document: DocumentState) -> bytes:
        return self._long_key(document) if document.row.windows else document.key

    def _encode(self, documents: Sequence[DocumentState]) -> Steps[None]:
        """Tokenise the texts that are not encoded, until the deadline."""
        most = None
        if self.windows is not None:
            most = HURRIED_TOKENS if self.deadline.is_bounded else MAX_DOCUMENT_TOKENS
            for document in documents:
                if document.encoded and not has_all_tokens(document.encoded.tokens, most):
                    document.encoded = None
        missing = [document for document in documents if document.encoded is None]
        if self.deadline.expired or not missing:
            return
        remaining = iter(missing)
        for tokens in self.model.tokens(_texts(missing), self.wanted, most):
            if tokens is not None:
                next(remaining).encoded = EncodedDocument(tokens)
            if self.deadline.expired:
                return
            if tokens is None:
                yield None
        yield None

    def _rows(self, documents: Sequence[DocumentState]) -> list[TokenRow]:
        tokens = [document.encoded.tokens for document in documents if document.encoded is not None]
        return self.model.rows(self.query_row, _texts(documents), tokens)

    def _document(self, index: int) -> DocumentState:
        document = self.state.documents.get(index)
        if document is None:
            document = DocumentState(index, str(self.texts[index]))
            self.state.documents[index] = document
        return document

    def _parts(self, characters: int) -> Iterator[list[DocumentState]]:
        """The documents without a score, in order, in parts of at most `characters` or one text."""
        part: list[DocumentState] = []
        size = 0
        for index in self.state.unscored:
            document = self._document(index)
            if part and size + len(document.text) > characters:
                yield part
                part, size = [], 0
            part.append(document)
            size += len(document.text)
        if part:
            yield part


def _texts(documents: Sequence[DocumentState]) -> list[str]:
    return [document.text for document in documents]


def _has_states(encoded: EncodedDocument | None, row: TokenRow) -> bool:
    """Whether there are states for each token of a row."""
    return (
        encoded is not None and encoded.states is not None and len(encoded.states) == len(row.ids)
    )


def _status(document: DocumentState) -> Status:
    if document.windows:
        return "ok"
    if not document.row.seen:
        return "empty"
    return "cut" if document.row.dropped else "ok"
