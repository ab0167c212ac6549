"""Late interaction: three features of the token states of query and document, and their sum.

MaxSim is ColBERT's (Khattab and Zaharia 2020, https://arxiv.org/abs/2004.12832): the average over
query tokens of the best match among the document's tokens. The features are MaxSim in both
directions and the cosine of the mean states. Training uses this definition in numpy; the engine
runs it as a graph (`convert/late_interaction_graph.py`). Knows no runtime and no text.
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
FEATURES = ("query_maxsim", "document_maxsim", "cosine")
TERM_FEATURE = "terms"
"""The fourth feature of models with term matching (`terms.py`)."""


@dataclass(frozen=True, slots=True)
class LateInteractionWeights:
    """Fitted on judged pairs: ``logit = bias + Σ weight × feature``, features in -1..1.

    `terms` is the weight of term matching, whose feature is 0 or more; 0 for a model without it.
    """

    query_maxsim: float
    document_maxsim: float
    cosine: float
    bias: float
    terms: float = 0.0

    def logits(self, features: Floats) -> Floats:
        """Features in the order of `FEATURES`, and terms → logits ``(rows,)``."""
        logits = np.full(len(features), self.bias, np.float32)
        names = (*FEATURES, TERM_FEATURE) if self.terms else FEATURES
        # A product of matrices would sum in an order that depends on the number of rows.
        for name, column in zip(names, features.T, strict=True):
            logits += np.float32(getattr(self, name)) * column
        return logits

    def stored(self) -> dict[str, float]:
        """The weights for a manifest. Without terms they are those that an older resift reads."""
        values = asdict(self)
        if not self.terms:
            del values[TERM_FEATURE]
        return values


@dataclass(frozen=True, slots=True)
class QueryStates:
    """Unit states of a query's tokens without special ones, ``(n, dim)``; the unit mean of all."""

    tokens: Floats
    mean: Floats


def query_states(states: Floats) -> QueryStates:
    """Token states of one query, ``(tokens, dim)``, prepared for `features`."""
    return QueryStates(unit(states[1:-1]), unit(states.mean(axis=0)))


def features(query: QueryStates, states: Floats, mask: NDArray[np.int64]) -> Floats:
    """Token states of documents ``(rows, tokens, dim)`` with their mask → ``(rows, 3)``.

    The first and the last token of a row are special tokens. They count in the mean, as in the
    encoder's pooling, but not in MaxSim, where they would match anything.
    """
    rows, tokens, dim = states.shape
    cosine = mean_states(states, mask) @ query.mean
    content = content_mask(mask)
    similar = unit(states).reshape(rows * tokens, dim) @ query.tokens.T
    similar = similar.reshape(rows, tokens, -1)
    similar[~content] = -1.0  # the lowest cosine: padding is never the best match
    from_query = similar.max(axis=1).mean(axis=1)
    best = np.where(content, similar.max(axis=2), 0.0)
    from_document = best.sum(axis=1) / content.sum(axis=1)
    return np.stack([from_query, from_document, cosine], axis=1).astype(np.float32)


def content_mask(mask: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which positions, ``(rows, tokens)``, are neither special tokens nor padding."""
    content = mask.astype(bool)
    content[np.arange(len(content)), content.sum(axis=1) - 1] = False
    content[:, 0] = False
    return content


def mean_states(states: Floats, mask: NDArray[np.int64]) -> Floats:
    """Unit vector of the masked mean over tokens: ``(rows, tokens, dim)`` → ``(rows, dim)``."""
    weights = mask.astype(np.float32)[:, :, None]
    return unit((states * weights).sum(axis=1) / weights.sum(axis=1))


def unit(vectors: Floats) -> Floats:
    """Vectors of length one along the last axis; a zero vector stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    result: Floats = vectors / np.maximum(norms, np.float32(1e-12))
    return result
