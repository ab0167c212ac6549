"""Texts → vectors: what an index asks of an embedder, and the names by which one is opened.

Knows no model: each kind of embedder has a file of its own in `embedders/`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from resift.errors import ModelNotFound
from resift.files import from_home
from resift.settings import Settings

if TYPE_CHECKING:
    from resift.index.embedders.keys import Keys

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
        """Names model and settings; kept in the index, so that another's vectors are refused."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of passages in input order, ``(n, dim)``."""

    def embed_query(self, query: str) -> NDArray[np.float32]:
        """The unit vector of a query, ``(dim,)``: some models read one otherwise than a passage.

        Zeros where the model knows no word of it: nothing is near to that, and nothing is found.
        """


def is_remote(embedder: Embedder) -> bool:
    """Whether texts leave this machine, or at least this process, to be embedded: by its name."""
    return embedder.name.lower().startswith(_URLS)


def open_embedder(spec: str | None, settings: Settings) -> Embedder:
    """Open an embedder by name.

    None and ``bundled`` are the model in the package, ``wordllama`` the static one of that
    package, ``http(s)://host/v1#model`` a model behind OpenAI's protocol, and all else a folder
    that ``resift convert`` made. Only a URL is ever reached over the network, and not before its
    first text. Raises `ModelError` for what cannot be opened and `InputError` for half a URL.
    """
    if spec is None or spec == BUNDLED:
        from resift.index.embedders.artifact import ArtifactEmbedder

        return ArtifactEmbedder(None, settings)
    if spec == WORDLLAMA:
        from resift.index.embedders.static import StaticEmbedder

        return StaticEmbedder()
    if spec.lower().startswith(_URLS):
        from resift.index.embedders.http import HttpEmbedder

        return HttpEmbedder(spec, _keys(spec, settings))
    folder = from_home(spec)
    if spec and folder.is_dir():
        from resift.index.embedders.artifact import ArtifactEmbedder

        return ArtifactEmbedder(folder, settings)
    shown = spec.rpartition("@")[2]  # a mistyped URL may name a password
    raise ModelNotFound(
        f"{shown}: no such embedder; expected {BUNDLED}, {WORDLLAMA}, a folder made by "
        "resift convert, or a URL like http://host/v1#model"
    )


def _keys(spec: str, settings: Settings) -> "Keys":
    """The keys that may be sent: the embedder's own only to the server that the settings name."""
    from resift.index.embedders.keys import Keys, same_server

    named = settings.embedder or spec
    is_meant = spec == named or same_server(spec, named)
    return Keys(settings.embedder_key if is_meant else None, settings.openai_key)
