"""Token ids and token states of a document, computed before any query.

A caller may store them as bytes (`Precomputed`). The bytes identify text and model; those of
another text or model are not used.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resift.rerank.deadline import Deadline
from resift.rerank.graph_runs import TokenStates
from resift.rerank.models import Model
from resift.rerank.text_tokens import TextTokens
from resift.rerank.values import is_text
from resift.types import Candidate, Precomputed

_TOKENS = np.dtype("<u4")
_SEAL_BYTES = 16


@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """A document's tokens without a query, and their states, ``(tokens, layers * dim)``."""

    tokens: TextTokens
    states: TokenStates | None = None


def digest(text: str) -> bytes:
    """16 bytes that identify a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_SEAL_BYTES).digest()


def pack(text: str, document: EncodedDocument, fingerprint: str) -> Precomputed:
    """A document with all of its tokens as bytes, bound to its text and the model."""
    states = b"" if document.states is None else document.states.tobytes()
    tokens = document.tokens.ids.astype(_TOKENS).tobytes()
    return Precomputed(fingerprint, _seal(text, tokens) + _checksum(states), tokens, states)


def unpack(
    precomputed: Precomputed,
    text: str,
    fingerprint: str,
    state_type: np.dtype[np.generic] | None,
    token_bytes: int,
) -> EncodedDocument | None:
    """A document from its bytes; None if they are damaged or of another text or model.

    `state_type` is the type of the model's states, `token_bytes` their size per token. Damaged
    states, and states that the model does not use, are left out.
    """
    if precomputed.model != fingerprint or len(precomputed.tokens) % _TOKENS.itemsize:
        return None
    seal, checksum = precomputed.text_hash[:_SEAL_BYTES], precomputed.text_hash[_SEAL_BYTES:]
    if seal != _seal(text, precomputed.tokens):
        return None
    tokens = TextTokens(np.frombuffer(precomputed.tokens, _TOKENS).astype(np.int64))
    states = precomputed.states
    if state_type is None or not states or len(states) % token_bytes:
        return EncodedDocument(tokens)
    if checksum != _checksum(states):
        return EncodedDocument(tokens)
    width = token_bytes // state_type.itemsize
    array: NDArray[np.generic] = np.frombuffer(states, state_type).reshape(-1, width)
    return EncodedDocument(tokens, array)


def unpack_all(
    candidates: Sequence[Candidate],
    texts: Sequence[object],
    fingerprint: str,
    model: Model,
    deadline: Deadline,
) -> dict[int, EncodedDocument]:
    """The candidates that this model precomputed, by index, until the deadline."""
    encoded = {}
    for index, candidate in enumerate(candidates):
        if candidate.precomputed is None or deadline.expired:
            continue
        text = texts[index]
        if not isinstance(text, str) or not is_text(text):
            continue
        document = unpack(
            candidate.precomputed, text, fingerprint, model.state_type, model.state_bytes
        )
        if document is not None and model.are_text_tokens(document.tokens.ids):
            encoded[index] = document
    return encoded


def _seal(text: str, tokens: bytes) -> bytes:
    """16 bytes that identify a text together with its tokens."""
    return hashlib.blake2b(digest(text) + tokens, digest_size=_SEAL_BYTES).digest()


def _checksum(states: bytes) -> bytes:
    """4 bytes that change with any bit of the states; empty without states."""
    return zlib.crc32(states).to_bytes(4, "little") if states else b""
