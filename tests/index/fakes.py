"""A small embedder that needs no model: hashed words, so that shared words mean nearness."""

import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"\w+|[^\w\s]")


class HashingEmbedder:
    """Bag of hashed words, 64 numbers. Counts what it was asked to embed."""

    def __init__(self, fingerprint: str = "hashing-64") -> None:
        self.name = fingerprint
        self.fingerprint = fingerprint
        self.dim = 64
        self.embedded = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in WORD.findall(text.lower()):
                vectors[row, zlib.crc32(word.encode()) % self.dim] += 1.0
        self.embedded += len(texts)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, 1e-9), dtype=np.float32)

    def embed_query(self, query: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self.embed([query])[0]
        return vector

    def token_starts(self, text: str) -> NDArray[np.int64]:
        return np.array([match.start() for match in WORD.finditer(text)], dtype=np.int64)
