"""What is known of a document before any query: its token ids and, of a late-interaction model, its half.

Precomputed in memory by the engine (`StateCache`), or by a caller beside the document (`Precomputed`, as bytes).
Both are bound to the text and to the model: another's are never used.
"""

import hashlib
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.rerank.deadline import Deadline
from resift.rerank.models import Model, TokenStates
from resift.rerank.values import is_text
from resift.rerank.windows import TextTokens
from resift.types import Candidate, Precomputed

_TOKENS = np.dtype("<u4")
_SEAL = 16  # bytes that name a text
_ENTRY_BYTES = 400  # key, the heads of two arrays and the dictionary's part, reckoned


@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """A document's own tokens, and its states, ``(tokens, layers * dim)``."""

    tokens: TextTokens
    states: TokenStates | None = None


def digest(text: str) -> bytes:
    """16 bytes that name a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_SEAL).digest()


def pack(text: str, known: EncodedDocument, fingerprint: str) -> Precomputed:
    """What is known of a text, all of its tokens, as bytes that name the text and the model."""
    states = b"" if known.states is None else known.states.tobytes()
    tokens = known.tokens.ids.astype(_TOKENS).tobytes()
    return Precomputed(fingerprint, _seal(text, tokens) + _checksum(states), tokens, states)


def _seal(text: str, tokens: bytes) -> bytes:
    """16 bytes that name a text and its tokens: with one of them missing it is another text."""
    return hashlib.blake2b(digest(text) + tokens, digest_size=_SEAL).digest()


def _checksum(states: bytes) -> bytes:
    """4 bytes that change where a bit of the states does; none where there are no states."""
    return zlib.crc32(states).to_bytes(4, "little") if states else b""


def unpack(
    kept: Precomputed,
    text: str,
    fingerprint: str,
    kind: np.dtype[np.generic] | None,
    token_bytes: int,
) -> EncodedDocument | None:
    """What was kept, if it is this text's and this model's, and whole; else None.

    `kind` is the type of the model's states, `token_bytes` what they take for a token.
    """
    if not _is_whole(kept) or str(kept.model) != fingerprint:
        return None
    seal, checksum = kept.text[:_SEAL], kept.text[_SEAL:]
    if seal not in (_seal(text, kept.tokens), digest(text)):  # the latter in older indexes
        return None
    tokens = TextTokens(np.frombuffer(kept.tokens, _TOKENS).astype(np.int64))
    if kind is None or not kept.states or len(kept.states) % token_bytes:
        return EncodedDocument(tokens)
    if checksum and checksum != _checksum(kept.states):  # none in older indexes
        return EncodedDocument(tokens)
    width = token_bytes // kind.itemsize
    states: NDArray[np.generic] = np.frombuffer(kept.states, kind).reshape(-1, width)
    return EncodedDocument(tokens, states)


def unpack_all(
    candidates: Sequence[Candidate],
    texts: Sequence[object],
    fingerprint: str,
    model: Model,
    deadline: Deadline,
) -> dict[int, EncodedDocument]:
    """The candidates that are precomputed by this model, by index, while there is time."""
    encoded = {}
    for index, candidate in enumerate(candidates):
        if candidate.precomputed is None or deadline.spent:
            continue
        text = texts[index]
        if not isinstance(text, str) or not is_text(text):
            continue
        document = unpack(
            candidate.precomputed, text, fingerprint, model.state_type, model.state_bytes
        )
        if document is not None and model.has(document.tokens.ids):
            encoded[index] = document
    return encoded


def _is_whole(kept: Any) -> bool:
    """Whether something is made of bytes as `pack` makes it: callers may hand in anything."""
    parts = [getattr(kept, name, None) for name in ("text", "tokens", "states")]
    return (
        all(isinstance(part, bytes) for part in parts) and not len(kept.tokens) % _TOKENS.itemsize
    )


class StateCache:
    """TokenStates of texts that were read lately, at most `megabytes` of them. Threads may share it."""

    def __init__(self, megabytes: float) -> None:
        self._most = megabytes * 1e6
        self._bytes = 0
        self._kept: OrderedDict[bytes, EncodedDocument] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, EncodedDocument]:
        """Those that are known, by the `digest` of their text."""
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
            for key in found:
                self._kept.move_to_end(key)
        return found

    def close(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def put(self, key: bytes, known: EncodedDocument) -> None:
        """Remember; the least recently used make room."""
        with self._lock:
            before = self._kept.pop(key, None)
            self._bytes += _size(known) - (_size(before) if before else 0)
            self._kept[key] = known
            while self._bytes > self._most and self._kept:
                self._bytes -= _size(self._kept.popitem(last=False)[1])


def _size(known: EncodedDocument) -> int:
    arrays = (known.tokens.ids, known.tokens.ends, known.states)
    return _ENTRY_BYTES + sum(array.nbytes for array in arrays if array is not None)
