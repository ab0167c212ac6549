"""Texts → vectors. The bundled embedder is the reranker's own encoder: one file, two uses.

The only file of the index that knows the second stage's room, and only its encoder.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from resift.rerank.artifact import load_artifact
from resift.rerank.catalogue import BUNDLED
from resift.rerank.encoder import Encoder
from resift.rerank.pairs import Tokens, load_tokenizer
from resift.rerank.runtimes import open_session
from resift.settings import Settings


class Embedder(Protocol):
    """What an index needs of an embedding model. Threads may share it."""

    @property
    def fingerprint(self) -> str:
        """Names model and settings; kept in the index, so that another's vectors are refused."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors in input order, ``(n, dim)``."""

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """The character at which each token begins, ascending, ``(n,)``."""


class BundledEmbedder:
    """all-MiniLM-L6-v2, int8, out of the package: 384 dimensions, 256 tokens read of a text."""

    dim = 384

    def __init__(self, settings: Settings | None = None) -> None:
        settings = settings or Settings.load()
        artifact = load_artifact(BUNDLED)
        manifest = artifact.manifest
        limit = manifest.embedding_tokens or manifest.max_tokens
        self._tokens = Tokens(load_tokenizer(artifact.tokenizer), limit)
        session = open_session(artifact.stages[0], settings.runtime, settings.threads)
        self._encoder = Encoder(self._tokens, session)
        weights = manifest.files[manifest.stages[0]][:16]
        self.fingerprint = f"{manifest.base_model} {weights} mean {limit}"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors in input order, ``(n, 384)``."""
        if not texts:
            return np.empty((0, self.dim), np.float32)
        return self._encoder.means(texts)

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """The character at which each token begins, ascending, ``(n,)``."""
        return self._tokens.starts(text)
