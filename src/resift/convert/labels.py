"""Which output of a classifier means relevance: by the names of its labels, never guessed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from resift.convert.families.family import Arrays
from resift.errors import InputError, ModelError, shortened, shown

RELEVANT = {"relevant", "yes", "true", "positive", "pos", "match", "1", "duplicate", "entailment"}
IRRELEVANT = {"irrelevant", "no", "false", "negative", "neg", "0", "unrelated"}
_DEFAULT_NAME = re.compile(r"label_?(\d+)")  # transformers' names for unnamed labels
_NEGATIONS = ("not", "non", "no", "un")
_MAX_LISTED = 12  # labels in a message
KERNEL, BIAS = "head.projection.weight", "head.projection.bias"


def with_relevance_logit(
    weights: Arrays, id2label: Mapping[Any, Any] | None, label: str | int | None, folder: Path
) -> Arrays:
    """The weights with a head of one logit.

    For two labels it is the difference of their logits, for more the logit of the relevant label.
    `label` is that label's name or number; None decides by the names. Raises `ModelError` if they
    do not decide, and `InputError` for a label that the model does not have.
    """
    if KERNEL not in weights:
        raise ModelError(
            f"{folder}: has no head that scores a pair; expected a reranker. To search by vectors, "
            "name an embedding model as RESIFT_EMBEDDER"
        )
    kernel, bias = weights[KERNEL], weights.get(BIAS)
    count = len(kernel)
    names = _names(id2label, folder)
    words = [names.get(number, f"label_{number}") for number in range(count)]
    if label is not None:
        relevant = _chosen(label, words, folder)
    else:
        relevant = 0 if count == 1 else _relevant(words, folder)
    others = [1 - relevant] if count == 2 else []
    values = {KERNEL: kernel[relevant] - kernel[others].sum(axis=0)}
    if bias is not None:
        values[BIAS] = bias[relevant] - bias[others].sum(axis=0)
    return weights | {name: np.asarray(value, np.float32)[None] for name, value in values.items()}


def _names(id2label: Any, folder: Path) -> dict[int, str]:
    """The names that labels have, by number."""
    try:
        return {int(number): str(name) for number, name in (id2label or {}).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder}: id2label {shown(id2label)}; expected names of labels by number"
        ) from error


def _chosen(label: str | int, words: list[str], folder: Path) -> int:
    """The number of the label that the caller names; a text that is no name may be a number."""
    numbers = [str(number) for number in range(len(words))]
    for names in (words, numbers):
        if isinstance(label, str) and label in names:
            return names.index(label)
    if type(label) is int and 0 <= label < len(words):
        return label
    listed = _listed([shortened(word) for word in words])
    remedy = (
        "leave it out"
        if len(words) == 1
        else f"name one of them, or its number from 0 to {len(words) - 1}"
    )
    noun = "only the label" if len(words) == 1 else "the labels"
    raise InputError(f"label={shown(label)}: {folder} has {noun} {listed}; {remedy}")


def _listed(names: list[str]) -> str:
    """The first names, and the number of those that are left out."""
    rest = len(names) - _MAX_LISTED
    return ", ".join(names[:_MAX_LISTED]) + (f" and {rest:,} more" if rest > 0 else "")


def _relevant(words: list[str], folder: Path) -> int:
    """The label that means relevance by its name; 1 of two labels with default names."""
    plain = [re.sub(r"[\s\-]+", "_", word.strip().lower()) for word in words]
    defaults = [_DEFAULT_NAME.fullmatch(word) for word in plain]
    numbers = [match[1] for match in defaults if match]
    if sorted(numbers) == ["0", "1"]:
        return numbers.index("1")
    meanings = [_means_relevance(word) for word in plain]
    if meanings.count(True) == 1:
        return meanings.index(True)
    if len(words) == 2 and sorted(map(str, meanings)) == ["False", "None"]:
        return meanings.index(None)
    listed = _listed([shown(word) for word in words])
    raise ModelError(
        f"{folder}: labels {listed} do not decide which one means relevance; "
        "name it: label=… in Python, --label … on the command line"
    )


def _means_relevance(word: str) -> bool | None:
    """Whether a label means relevance; None for an unknown word."""
    if word in RELEVANT:
        return True
    negated = (word.removeprefix(negation).lstrip("_") for negation in _NEGATIONS)
    if word in IRRELEVANT or any(rest != word and rest in RELEVANT for rest in negated):
        return False
    return None
