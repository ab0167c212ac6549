"""The models that an index uses: an embedder and, optionally, a reranker that precomputes.

Each kind of embedder has a file in `embedders/`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from resift.errors import ModelNotFound
from resift.files import from_home
from resift.settings import Settings
from resift.types import Document, Precomputed

BUNDLED = "bundled"
WORDLLAMA = "wordllama"
_URLS = ("http://", "https://")


class Embedder(Protocol):
    """An embedding model. Threads may share it."""

    @property
    def name(self) -> str:
        """The name with which `open_embedder` opens it again; it contains no secret."""

    @property
    def fingerprint(self) -> str:
        """Identifies model and settings; an index refuses vectors with another fingerprint."""

    @property
    def dim(self) -> int:
        """The length of a vector."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors of passages in input order, ``(n, dim)``."""

    def embed_query(self, query: str) -> NDArray[np.float32]:
        """Return the unit vector of a query, ``(dim,)``; some models encode queries differently.

        The vector is zero if the model knows no word of the query: then dense retrieval finds
        nothing.
        """


@runtime_checkable
class Precomputer(Protocol):
    """A reranker that can encode documents before a query comes. Threads may share it."""

    @property
    def fingerprint(self) -> str:
        """Identifies the model; results with another fingerprint cannot be used."""

    def precompute(
        self, documents: Sequence[Document], *, states: bool = True
    ) -> list[Precomputed | None]:
        """Compute the parts of reranking that do not depend on a query, in input order."""


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a sync. `precomputer` opens the reranker, or returns None.

    With `token_states` the token states of each passage are precomputed as well as its token ids.
    """

    embedder: Embedder
    precomputer: Callable[[], Precomputer | None] = lambda: None
    token_states: bool = False


def is_remote(embedder: Embedder) -> bool:
    """Whether an embedder sends texts to a server, judged by its name."""
    return embedder.name.lower().startswith(_URLS)


def open_embedder(spec: str | None, settings: Settings) -> Embedder:
    """Open an embedder by name.

    None and ``bundled`` name the model in this package, ``wordllama`` the static model of that
    package, ``http(s)://host/v1#model`` a model of a server with OpenAI's protocol, and anything
    else a folder made by ``resift convert``. Only a URL uses the network, at the first text. Raise
    `ModelError` if the model cannot be opened and `InputError` for an incomplete URL.
    """
    if spec == WORDLLAMA:
        from resift.index.embedders.static import StaticEmbedder

        return StaticEmbedder()
    if spec and spec.lower().startswith(_URLS):
        from resift.index.embedders.http import HttpEmbedder

        return HttpEmbedder(spec, settings)
    folder = None if spec in (None, BUNDLED) else from_home(str(spec))
    if folder is None or (spec and folder.is_dir()):
        from resift.index.embedders.artifact import ArtifactEmbedder

        return ArtifactEmbedder(folder, settings)
    shown = str(spec).rpartition("@")[2]  # a mistyped URL may contain a password
    raise ModelNotFound(
        f"{shown}: no such embedder; expected {BUNDLED}, {WORDLLAMA}, a folder made by "
        "resift convert, or a URL like http://host/v1#model"
    )
