"""The models that an index uses: an embedder and, optionally, a reranker that precomputes.

Each kind of embedder has a file in `embedders/`.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from resift.index.analysis.spec import ANY_ANALYSER, AnalyserChoice
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


def precomputer_of(reranker: object) -> Precomputer | None:
    """What of a reranker can precompute: itself, or its `precomputer`, which reads texts first.

    None if there is nothing.
    """
    first = getattr(reranker, "precomputer", reranker)
    return first if isinstance(first, Precomputer) else None


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a sync, and the analyser. `precomputer` opens the reranker, or returns None.

    With `token_states` the token states of each passage are precomputed as well as its token ids.
    `elsewhere` returns what opens the same models in another process, to run in so many threads;
    that can be pickled.
    """

    embedder: Embedder
    precomputer: Callable[[], Precomputer | None] = lambda: None
    token_states: bool = False
    analyser: AnalyserChoice = ANY_ANALYSER
    elsewhere: "Callable[[int], OpenModels] | None" = None


OpenModels = Callable[[], AbstractContextManager[Models]]


def is_remote(embedder: Embedder) -> bool:
    """Whether an embedder sends texts to a server, judged by its name."""
    return embedder.name.lower().startswith(_URLS)


def recorded_embedder(recorded: str, name: str | None) -> str | None:
    """The embedder that an index records, if it may be opened in place of `name`, else None.

    Without a `name` that is one of a package, or a hub model at a commit: never a URL or a folder,
    because an index of somebody else must not decide where this machine sends its queries or which
    files it loads. A `name` without a revision stands for the commit that made the index.
    """
    if name is None and recorded in (BUNDLED, WORDLLAMA):
        return recorded
    if "/" not in recorded or recorded.lower().startswith(_URLS):
        return None
    from resift.index.embedders.stored import recorded_name

    pinned = recorded_name(recorded)
    if pinned is None or name not in (None, pinned.unpinned):
        return None
    return recorded


def is_unpinned(name: str) -> bool:
    """Whether a name is that of a hub model without a revision, if it is no folder's."""
    return "/" in name and not name.lower().startswith(_URLS) and "@" not in name


def open_embedder(spec: str | None, settings: Settings) -> Embedder:
    """Open an embedder by name.

    None and ``bundled`` name the model in this package, ``wordllama`` the static model of that
    package, ``http(s)://host/v1#model`` a model of a server with OpenAI's protocol, which is asked
    at the first text, and anything else a model that is run here: a folder made by ``resift
    convert``, a folder with a checkpoint, or a hub id (`embedders.stored`), which is fetched once.
    Raise `ModelError` if the model cannot be opened, `InputError` for an incomplete name, and
    `MissingExtra`.
    """
    if spec == WORDLLAMA:
        from resift.index.embedders.static import StaticEmbedder

        return StaticEmbedder()
    if spec and spec.lower().startswith(_URLS):
        from resift.index.embedders.http import HttpEmbedder

        return HttpEmbedder(spec, settings)
    if spec is None or spec == BUNDLED:
        from resift.index.embedders.artifact import ArtifactEmbedder

        return ArtifactEmbedder(None, settings)
    from resift.index.embedders.stored import open_stored, parse_name

    return open_stored(parse_name(spec), settings)
