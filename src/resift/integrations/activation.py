"""What turns logits into scores, by the names of sentence-transformers and without torch."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from resift.errors import InputError, shown
from resift.extras import require
from resift.integrations.pairs import Scores
from resift.rerank.ordering import sigmoid
from resift.rerank.ranker import Ranker

Activation = Literal["sigmoid", "identity"] | Callable[[Any], Any] | None
"""A name, a module of torch, or a function of a tensor of logits ``(n, 1)``."""

_LIKE_SCORES = ("sigmoid", "softmax")
"""Activations that give the scores of resift: softmax of two labels is the sigmoid of one logit."""


def activated(activation: Activation, logits: Scores) -> Scores:
    """The activated logits, float32 ``(n,)``. "sigmoid" and "identity" need no torch.

    Raises `InputError` for anything else that is no function, `MissingExtra` for a function
    without torch.
    """
    name = _name(activation)
    if name == "identity":
        return logits
    if name == "sigmoid":
        return sigmoid(logits.astype(np.float64)).astype(np.float32)
    if not callable(activation):
        raise InputError(
            f"activation_fn={shown(activation)}: expected sigmoid, identity or a function of a "
            "tensor"
        )
    scores: Scores = activation(require("torch").from_numpy(logits)[:, None]).squeeze(-1).numpy()
    return scores.astype(np.float32)


def model_activation(reranker: Ranker) -> Activation:
    """The activation that a model's configuration names; None for that of resift's scores.

    Raises `InputError` for one that has to be passed as a function.
    """
    name = getattr(reranker, "activation", "")  # a ranker of the user need not have it
    if name == "identity":
        return "identity"
    if name and name not in _LIKE_SCORES:
        raise InputError(
            f"{shown(reranker)}: its scores are activated by {shown(name)}; pass activation_fn: "
            "that function, sigmoid or identity"
        )
    return None


def _name(activation: Activation) -> str | None:
    """A name as it is, and that of a module of torch in small letters."""
    if isinstance(activation, str):
        return activation
    kind = type(activation)
    return kind.__name__.lower() if kind.__module__.startswith("torch.nn.") else None
