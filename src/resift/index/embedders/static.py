"""WordLlama: the average of one stored vector per token. Needs no model runtime."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resift.errors import ModelError
from resift.extras import require

MODEL, DIM = "l2_supercat", 256  # the one whose weights are in the package


class StaticEmbedder:
    """The weights that the wordllama package holds; nothing is ever downloaded."""

    name = "wordllama"
    dim = DIM

    def __init__(self) -> None:
        with _without_log_setup():
            package = require("wordllama", "wordllama")
        folder = Path(str(package.__file__)).parent  # otherwise it looks in the user's home
        try:
            self._model = package.WordLlama.load(
                MODEL, cache_dir=folder, dim=DIM, disable_download=True
            )
        except FileNotFoundError as error:
            raise ModelError(f"wordllama: its weights are not in the package ({error})") from error
        weights = hashlib.sha256(self._model.embedding.tobytes()).hexdigest()[:16]
        self.fingerprint = f"wordllama {MODEL} {weights} {DIM}"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors in input order, ``(n, 256)``; of a text without a token, zeros."""
        means: NDArray[np.float32] = self._model.embed(list(texts))
        norms = np.linalg.norm(means, axis=1, keepdims=True)
        return np.asarray(means / np.maximum(norms, 1e-12), np.float32)

    def embed_query(self, query: str) -> NDArray[np.float32]:
        """The unit vector of a query, ``(256,)``."""
        vector: NDArray[np.float32] = self.embed([query])[0]
        return vector


@contextmanager
def _without_log_setup() -> Iterator[None]:
    """Importing wordllama calls `logging.basicConfig`, which does nothing if there is a handler."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
