"""BERT's forward pass in plain numpy, float64, one sequence without padding: what graphs equal."""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def gelu(x: Floats) -> Floats:
    """X Φ(x) with Φ by the error function (Hendrycks and Gimpel, https://arxiv.org/abs/1606.08415)."""
    result: Floats = 0.5 * x * (1 + _erf(x / math.sqrt(2)))
    return result


def gelu_tanh(x: Floats) -> Floats:
    """The same paper's approximation by tanh."""
    result: Floats = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return result


def relu(x: Floats) -> Floats:
    """What is above zero."""
    return np.maximum(x, 0)


def silu(x: Floats) -> Floats:
    """``x`` times its sigmoid (https://arxiv.org/abs/1702.03118)."""
    result: Floats = x / (1 + np.exp(-x))
    return result


ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": relu,
    "silu": silu,
    "tanh": np.tanh,
}


class Bert:
    """Weights by name, as `tests/artifacts.py` makes them, and a forward pass over them."""

    def __init__(
        self, weights: Mapping[str, NDArray[np.float32]], heads: int, activation: str, head: str
    ) -> None:
        self._weights = {name: value.astype(np.float64) for name, value in weights.items()}
        self._heads = heads
        self._activation = ACTIVATIONS[activation]
        self._head = ACTIVATIONS[head]

    def states(self, ids: NDArray[np.int64], types: NDArray[np.int64]) -> Floats:
        """One sequence ``(tokens,)`` → its token states ``(tokens, dim)``."""
        table = {
            part: self._weights[f"embeddings.{part}_embeddings.weight"]
            for part in ("word", "position", "token_type")
        }
        x = table["word"][ids] + table["position"][: len(ids)] + table["token_type"][types]
        return self.layers(self._norm("embeddings.LayerNorm", x))

    def layers(self, x: Floats) -> Floats:
        """Embeddings ``(tokens, dim)`` through as many layers as there are weights for."""
        layer = 0
        while f"encoder.layer.{layer}.output.dense.weight" in self._weights:
            name = f"encoder.layer.{layer}"
            x = self._norm(f"{name}.attention.output.LayerNorm", x + self._attention(name, x))
            wide = self._activation(self._dense(f"{name}.intermediate.dense", x))
            x = self._norm(
                f"{name}.output.LayerNorm", x + self._dense(f"{name}.output.dense", wide)
            )
            layer += 1
        return x

    def logit(self, ids: NDArray[np.int64], types: NDArray[np.int64]) -> float:
        """The head's first label."""
        return float(self.labels(ids, types)[0])

    def labels(self, ids: NDArray[np.int64], types: NDArray[np.int64]) -> Floats:
        """The first token's state through the head, ``(labels,)``."""
        pooled = self._head(self._dense("head.dense", self.states(ids, types)[0]))
        return self._dense("head.projection", pooled)

    def _attention(self, name: str, x: Floats) -> Floats:
        parts = [
            np.split(self._dense(f"{name}.attention.self.{part}", x), self._heads, axis=1)
            for part in ("query", "key", "value")
        ]
        mixed = []
        for query, key, value in zip(*parts, strict=True):
            logits = query @ key.T / math.sqrt(query.shape[1])
            probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
            mixed.append(probabilities / probabilities.sum(axis=1, keepdims=True) @ value)
        return self._dense(f"{name}.attention.output.dense", np.concatenate(mixed, axis=1))

    def _dense(self, name: str, x: Floats) -> Floats:
        result: Floats = x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return result

    def _norm(self, name: str, x: Floats) -> Floats:
        centred = x - x.mean(axis=-1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        result: Floats = unit * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return result
