"""A checkpoint's ``config.json``, and the JSON of its other files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resift.convert.graph import Activation
from resift.errors import ModelError, ModelNotFound
from resift.files import read_regular
from resift.rerank.checkpoint_files import CONFIG

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
