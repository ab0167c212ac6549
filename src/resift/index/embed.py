"""The models that an index needs: an embedder, and maybe a reranker that precomputes documents.

Each kind of embedder is a file in `embedders/`.
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
    """What an index needs of an embedding model. Threads may share it."""

    @property
    def name(self) -> str:
        """What `open_embedder` opens it by again; holds no secret."""

    @property
    def fingerprint(self) -> str:
        """Names model and settings; stored in the index, which refuses vectors of another one."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of passages in input order, ``(n, dim)``."""

    def embed_query(self, query: str) -> NDArray[np.float32]:
        """The unit vector of a query, ``(dim,)``: some models encode queries unlike passages.

        Zeros where the model knows no word of it: then dense retrieval finds nothing.
        """


@runtime_checkable
class Precomputer(Protocol):
    """A reranker that can encode documents before a query comes. Threads may share it."""

    @property
    def fingerprint(self) -> str:
        """Names the model; it cannot use what another one has precomputed."""

    def precompute(
        self, documents: Sequence[Document], *, states: bool = True
    ) -> list[Precomputed | None]:
        """What of each document does not depend on a query, in input order."""


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a sync: `precomputer` opens the reranker, where there is one.

    With `token_states` the token states of each passage are precomputed, not its token ids alone.
    """

    embedder: Embedder
    precomputer: Callable[[], Precomputer | None] = lambda: None
    token_states: bool = False


def is_remote(embedder: Embedder) -> bool:
    """Whether it sends texts to a server, by its name."""
    return embedder.name.lower().startswith(_URLS)


def open_embedder(spec: str | None, settings: Settings) -> Embedder:
    """Open an embedder by name.

    None and ``bundled`` are the model in the package, ``wordllama`` the static one of that
    package, ``http(s)://host/v1#model`` a model behind OpenAI's protocol, and anything else a
    folder that ``resift convert`` made. Only a URL uses the network, at the first text. Raises
    `ModelError` for what cannot be opened and `InputError` for an incomplete URL.
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
