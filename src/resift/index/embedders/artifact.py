"""Embedders from a model folder: the bundled one, a converted one, a fine-tuned one.

This is the only file of the index that runs models. The bundled embedder is the encoder of the
bundled reranker.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resift.errors import ArtifactError, InputError, ModelError
from resift.rerank.artifact import Artifact, Manifest, load_artifact
from resift.rerank.catalogue import BUNDLED
from resift.rerank.graph_checks import check_encoder
from resift.rerank.late_interaction import unit
from resift.rerank.models import Encoder
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import Tokens, load_tokenizer
from resift.rerank.verify import (
    ReferenceLogits,
    Verification,
    compare_with_references,
    crossing,
    reference_pairs,
)
from resift.settings import Settings


@dataclass(frozen=True, slots=True)
class Identity:
    """The name of an embedder, and what identifies its weights: by default their hash."""

    name: str
    weights: str | None = None


class ArtifactEmbedder:
    """The encoder of a late-interaction model, or a converted bi-encoder; long texts are cut.

    `model` None is the bundled model: all-MiniLM-L6-v2, int8, 384 dimensions, 256 tokens a text.
    An `Artifact` has been checked. With `dim`, vectors are their first numbers, at unit length.
    `reopen` opens the same model in another process; None is for a model that is not in a store.
    """

    def __init__(
        self,
        model: Path | Artifact | None,
        settings: Settings,
        identity: Identity | None = None,
        dim: int | None = None,
        reopen: "Callable[[], ArtifactEmbedder] | None" = None,
    ) -> None:
        artifact = model if isinstance(model, Artifact) else load_artifact(model or BUNDLED)
        folder = None if model is None else artifact.folder
        manifest = artifact.manifest
        if manifest.kind not in ("embedder", "late_interaction"):
            raise ArtifactError(
                f"{folder}: a {manifest.kind.replace('_', '-')} model, which has no vector of a "
                "text alone; convert a sentence-transformers model for an embedder"
            )
        limit = manifest.embedding_tokens or manifest.max_tokens
        session = open_session(artifact.stages[0], settings.runtime, settings.threads)
        check_encoder(str(artifact.stages[0]), session)
        self._manifest = manifest
        tokenizer = load_tokenizer(artifact.tokenizer)
        # All unknown words share one token. Queries leave it out, so that it does not match other
        # unknown words in passages; passages keep it, so that existing indexes stay valid.
        self._encoder = Encoder(Tokens(tokenizer, limit, known_only=False), session)
        self._query_tokens = Tokens(tokenizer, limit)
        self._query_encoder = Encoder(self._query_tokens, session)
        identity = identity or Identity(str(folder.resolve()) if folder else "bundled")
        self.width = self._encoder.vectors([""], manifest.pooling).shape[1]
        self.dim = _checked_dim(dim or self.width, self.width, identity.name)
        cut = "" if self.dim == self.width else f"#{self.dim}"
        self.name = f"{identity.name}{cut}"
        self.fingerprint = _fingerprint(manifest, identity, limit) + cut
        again = partial(ArtifactEmbedder, folder, settings, dim=dim)
        self._reopen: Callable[[], ArtifactEmbedder] = reopen or again

    def __reduce__(self) -> tuple[object, ...]:
        """A pickle holds no weights: the copy opens the model again."""
        return _open_same, (self._reopen, self.fingerprint)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors in input order, ``(n, dim)``, each text after the model's prompt."""
        if not texts:
            return np.empty((0, self.dim), np.float32)
        return self._vectors(self._encoder, self._manifest.passage_prompt, texts)

    def embed_query(self, query: str) -> NDArray[np.float32]:
        """Return the unit vector of a query's known words, ``(dim,)``; zeros if it has none."""
        if not self._query_tokens.knows(query):
            return np.zeros(self.dim, np.float32)
        return self._query(query, self._query_encoder)

    def _query(self, query: str, encoder: Encoder) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self._vectors(encoder, self._manifest.query_prompt, [query])[
            0
        ]
        return vector

    def _vectors(self, encoder: Encoder, prompt: str, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = encoder.vectors([prompt + text for text in texts], self._manifest.pooling)
        return vectors if self.dim == self.width else unit(vectors[:, : self.dim])

    def verify(self) -> Verification:
        """Score the manifest's reference pairs; raise `ParityError` if the scores differ."""
        pairs = reference_pairs(self._manifest)
        queries, texts, indices = crossing(pairs)
        alone = [
            self._query(pair.query, self._encoder) @ self.embed([pair.text])[0] for pair in pairs
        ]
        vectors = np.stack([self._query(query, self._encoder) for query in queries])
        crossed = vectors @ self.embed(texts).T
        logits = ReferenceLogits(
            np.array(alone, np.float64), crossed[None].astype(np.float64), indices
        )
        return compare_with_references(self._manifest, self._encoder.runtime, logits)


def _open_same(reopen: Callable[[], ArtifactEmbedder], fingerprint: str) -> ArtifactEmbedder:
    """Open an embedder again, for example on another machine; raise `ModelError` for another."""
    embedder = reopen()
    if embedder.fingerprint != fingerprint:
        raise ModelError(
            f"{embedder.name}: the model there is {embedder.fingerprint}, not {fingerprint}: use "
            "the same model in all processes"
        )
    return embedder


def _fingerprint(manifest: Manifest, identity: Identity, limit: int) -> str:
    weights = identity.weights
    if weights is None:
        weights = f"{manifest.base_model} {manifest.files[manifest.stages[0]][:16]}"
    prompts = ""
    if manifest.query_prompt or manifest.passage_prompt:
        prompts = f" {manifest.query_prompt!r} {manifest.passage_prompt!r}"
    return f"{weights} {manifest.pooling} {limit}{prompts}"


def _checked_dim(dim: int, width: int, name: str) -> int:
    if dim > width:
        raise InputError(f"{name}#{dim}: its vectors have {width} numbers; name at most as many")
    return dim
