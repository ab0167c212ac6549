"""What an architecture tells the conversion: how its config and weights become canonical.

A `Family` has data and small functions and knows no graph. Canonical weights have BERT's names:
``embeddings.…``, ``encoder.layer.N.…`` and ``head.…`` (`layers.py`, `stages.py`).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.convert.graph import Activation
from resift.convert.layers import EncoderShape
from resift.convert.positions import Absolute
from resift.errors import ModelError, ModelNotFound
from resift.files import read_regular
from resift.rerank.checkpoint_files import CONFIG

Arrays = dict[str, NDArray[np.float32]]

MAX_CONFIG_BYTES = 16 << 20
ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Config:
    """The values of a checkpoint's ``config.json``; its methods raise `ModelError`."""

    file: Path
    values: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Config":
        """Raises `ModelNotFound` without the file."""
        file = folder / CONFIG
        if not file.is_file():
            raise ModelNotFound(
                f"{folder}: no config.json there; expected a transformers checkpoint folder"
            )
        return cls(file, read_object(file))

    @property
    def model_type(self) -> str:
        return str(self.values.get("model_type"))

    @property
    def architectures(self) -> list[str]:
        names = self.values.get("architectures") or []
        return [str(name) for name in names] if isinstance(names, list) else []

    def get(self, name: str, default: Any = None) -> Any:
        """A value, or `default` if it is missing or null."""
        value = self.values.get(name)
        return default if value is None else value

    def whole(self, *names: str, default: object = _MISSING, least: int = 0) -> int:
        """The first of these values that is there: a whole number from `least`."""
        value = self._first(names, default)
        if type(value) is not int or value < least:
            raise ModelError(
                f"{self.file}: {names[0]} {value!r}; expected a whole number from {least}"
            )
        return value

    def number(self, *names: str, default: object = _MISSING) -> float:
        """The first of these values that is there: a number."""
        value = self._first(names, default)
        if type(value) not in (int, float):
            raise ModelError(f"{self.file}: {names[0]} {value!r}; expected a number")
        return float(value)

    def activation(self, *names: str, default: str = "gelu") -> Activation:
        """The first of these values that is there: an activation that graphs can have."""
        name = self._first(names, default)
        if not isinstance(name, str) or name not in ACTIVATIONS:
            raise ModelError(
                f"{self.file.parent}: activation {name}; expected one of {', '.join(ACTIVATIONS)}"
            )
        return ACTIVATIONS[name]

    def refuse(self, name: str, *allowed: object, remedy: str) -> None:
        """Raise `ModelError` if a value is there and none of `allowed`."""
        value = self.values.get(name)
        if value is not None and value not in allowed:
            raise ModelError(f"{self.file.parent}: {name} is {value!r}; {remedy}")

    def _first(self, names: Sequence[str], default: object) -> Any:
        for name in names:
            if self.values.get(name) is not None:
                return self.values[name]
        if default is _MISSING:
            raise ModelError(f"{self.file}: {names[0]} is missing; expected the model's own config")
        return default


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


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object of a file. Raises `ModelError`."""
    values = read_json(file)
    if not isinstance(values, dict):
        raise ModelError(f"{file}: expected a JSON object")
    return values


def read_json(file: Path) -> Any:
    """The JSON value of a file. Raises `ModelError`."""
    try:
        return json.loads(read_regular(file, MAX_CONFIG_BYTES).decode())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file}: not readable as JSON ({error})") from error
