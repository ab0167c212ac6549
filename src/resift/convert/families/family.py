"""What an architecture tells the conversion: how its config and weights become canonical.

A `Family` has data and small functions and knows no graph. Canonical weights have BERT's names:
``embeddings.…``, ``encoder.layer.N.…`` and ``head.…`` (`layers.py`, `stages.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from resift.convert.config import Config
from resift.convert.layers import EncoderShape
from resift.convert.positions import Absolute
from resift.errors import ModelError

Arrays = dict[str, NDArray[np.float32]]

HEAD: Mapping[str, str] = {
    "pooler.dense.": "head.dense.",
    "pre_classifier.": "head.dense.",
    "classifier.dense.": "head.dense.",
    "classifier.out_proj.": "head.projection.",
    "classifier.": "head.projection.",
}
"""Names of most heads."""


_OLDER_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
"""Of checkpoints that were first trained with TensorFlow."""


def unchanged(weights: Arrays, config: Config) -> Arrays:
    """Weights that need nothing but new names."""
    return weights


@dataclass(frozen=True, slots=True)
class Family:
    """An architecture: `prefix` precedes the encoder's names in a model with a head.

    `names` are replaced in weight names, in order. `finish` makes renamed weights canonical, if
    names do not suffice. `tokens` is the most that positions allow. `head` maps the beginnings of
    the head's names. `positions` makes the positions of attention from canonical weights, if they
    are learned. Functions raise `ModelError` for settings that graphs cannot have.
    """

    prefix: str
    shape: Callable[[Config], EncoderShape]
    tokens: Callable[[Config], int]
    names: Sequence[tuple[str, str]] = ()
    head: Mapping[str, str] = field(default_factory=lambda: HEAD)
    finish: Callable[[Arrays, Config], Arrays] = unchanged
    positions: Callable[[Arrays, Config], Absolute] | None = None

    def canonical(self, name: str) -> str:
        """The canonical name of a weight, if `finish` does not change it."""
        name = name.removeprefix(self.prefix)
        for older, newer in _OLDER_NAMES.items():
            name = name.replace(older, newer)
        for beginning, ours in self.head.items():
            if name.startswith(beginning):
                return ours + name.removeprefix(beginning)
        for theirs, ours in self.names:
            name = name.replace(theirs, ours)
        return name


def required(weights: Arrays, name: str, config: Config) -> NDArray[np.float32]:
    """A weight that the architecture cannot be without. Raises `ModelError` if it is missing."""
    if name not in weights:
        raise ModelError(
            f"{config.file.parent}: the weight {name} is missing; expected a trained model of the "
            "kind that its config names"
        )
    return weights[name]


def split_rows(weights: Arrays, name: str, *parts: str) -> Arrays:
    """Weights with ``name.weight`` and ``name.bias`` split along their rows into equal `parts`.

    Rows that make no equal parts stay as they are, so that the parts are missing.
    """
    result = dict(weights)
    for kind in ("weight", "bias"):
        whole = result.get(f"{name}.{kind}")
        if whole is not None and whole.ndim and len(whole) % len(parts) == 0:
            del result[f"{name}.{kind}"]
            pieces = np.split(whole, len(parts))
            result |= {f"{part}.{kind}": piece for part, piece in zip(parts, pieces, strict=True)}
    return result
