"""WordLlama: averages one stored vector per token. Needs no model runtime."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resift.errors import ModelError
from resift.extras import require

MODEL, DIM = "l2_supercat", 256  # the weights that the package contains


class StaticEmbedder:
    """The model in the wordllama package; nothing is ever downloaded."""

    name = "wordllama"
    dim = DIM

    def __init__(self) -> None:
        with _prevent_log_setup():
            package = require("wordllama", "wordllama")
        folder = Path(str(package.__file__)).parent  # by default it looks in the user's home
        try:
            self._model = package.WordLlama.load(
                MODEL, cache_dir=folder, dim=DIM, disable_download=True
            )
        except FileNotFoundError as error:
            raise ModelError(f"wordllama: its weights are not in the package ({error})") from error
        weights = hashlib.sha256(self._model.embedding.tobytes()).hexdigest()[:16]
        self.fingerprint = f"wordllama {MODEL} {weights} {DIM}"

    def __reduce__(self) -> tuple[object, ...]:
        """A pickle holds no weights: the copy loads them again."""
        return StaticEmbedder, ()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors in input order, ``(n, 256)``; zeros for a text without tokens."""
        means: NDArray[np.float32] = self._model.embed(list(texts))
        norms = np.linalg.norm(means, axis=1, keepdims=True)
        return np.asarray(means / np.maximum(norms, 1e-12), np.float32)

    def embed_query(self, query: str) -> NDArray[np.float32]:
        """Return the unit vector of a query, ``(256,)``."""
        vector: NDArray[np.float32] = self.embed([query])[0]
        return vector


@contextmanager
def _prevent_log_setup() -> Iterator[None]:
    """Add a handler, so that `logging.basicConfig`, which wordllama calls, does nothing."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
