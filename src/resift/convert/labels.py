"""Which of two labels means relevance: what a checkpoint's ``id2label`` says, in words."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.errors import ModelError

RELEVANT = {"relevant", "yes", "true", "positive", "pos", "match", "1", "duplicate", "entailment"}
IRRELEVANT = {"irrelevant", "no", "false", "negative", "neg", "0", "unrelated"}
_UNNAMED = re.compile(r"label_?([01])")  # what a config says where nobody has named them
_NEGATIONS = ("not", "non", "no", "un")

Weights = dict[str, NDArray[np.float32]]


def relevant_label(id2label: Mapping[Any, Any] | None, folder: Path) -> int:
    """0 or 1: the label that means relevance; 1 where labels have no names of their own.

    Raises `ModelError` where the names do not tell.
    """
    names = {int(label): str(name) for label, name in (id2label or {}).items()}
    words = [_plain(names.get(label, f"label_{label}")) for label in (0, 1)]
    unnamed = [_UNNAMED.fullmatch(word) for word in words]
    if all(unnamed):
        return [match and match[1] for match in unnamed].index("1")
    says = [_means_relevance(word) for word in words]
    if says in ([False, True], [None, True], [False, None]):
        return 1
    if says in ([True, False], [True, None], [None, False]):
        return 0
    raise ModelError(
        f"{folder}: labels {names.get(0)!r} and {names.get(1)!r} do not tell which one means "
        "relevance; name them irrelevant and relevant in config.json's id2label, as they are"
    )


def one_logit(weights: Weights, relevant: int, folder: Path) -> Weights:
    """Two labels become one logit: softmax over two is the sigmoid of their difference."""
    kernel, bias = weights["head.projection.weight"], weights["head.projection.bias"]
    if len(kernel) == 2:
        other = 1 - relevant
        kernel = (kernel[relevant] - kernel[other])[None]
        bias = (bias[relevant] - bias[other])[None]
    if len(kernel) != 1:
        raise ModelError(
            f"{folder}: a head of {len(kernel)} labels; a reranker has one logit or two labels"
        )
    return weights | {"head.projection.weight": kernel, "head.projection.bias": bias}


def _plain(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().lower())


def _means_relevance(word: str) -> bool | None:
    """None where the word is not known."""
    if word in RELEVANT:
        return True
    if word in IRRELEVANT:
        return False
    for negation in _NEGATIONS:
        rest = word.removeprefix(negation).lstrip("_")
        if rest != word and rest in RELEVANT:
            return False
    return None
