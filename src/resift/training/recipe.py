"""Recipes: the settings of a training run, read from a TOML file into frozen dataclasses.

An unknown key is an error. ``make model`` runs ``recipes/bundled.toml``, ``resift train`` runs
``recipes/fine-tune.toml``.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from resift.errors import InputError
from resift.files import read_regular, reason

RECIPES = Path(__file__).parent / "recipes"
MAX_BYTES = 1 << 20
_KINDS: dict[Any, tuple[type, ...]] = {
    int: (int,),
    float: (int, float),
    str: (str,),
    bool: (bool,),
}  # type() and not isinstance: True is an int


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A file of pairs, ``NAME.jsonl.gz``, its licence, and the number of queries to use.

    `dev` queries are held out; a source with 0 `queries` is only for measuring. Without `mined`,
    only the file's negatives are used.
    """

    name: str
    licence: str
    queries: int = 0
    dev: int = 0
    mined: bool = True


@dataclass(frozen=True, slots=True)
class MiningSpec:
    """Candidates per query: best by BM25, best by cosine, random; texts have at most `words`."""

    lexical: int = 8
    dense: int = 8
    random: int = 4
    words: int = 150


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """The number of cross-attention layers, and token limits of texts in training."""

    cross_attention_layers: int = 2
    query_tokens: int = 40
    document_tokens: int = 144


@dataclass(frozen=True, slots=True)
class LossSpec:
    """Weights of the parts of the loss (`scoring.py`).

    The teacher's logit is ``untrained_share × the untrained logit + teacher_scale × cosine``.
    `first_stage` is the weight of BM25's score, added to both logits in every second group.
    """

    labels: float = 1.0
    labels_early: float = 0.5
    teacher: float = 1.0
    teacher_early: float = 0.5
    untrained_share: float = 0.6
    teacher_scale: float = 9.0
    first_stage: float = 0.0


@dataclass(frozen=True, slots=True)
class LoopSpec:
    """Number and size of steps, and learning rates.

    `rate` is the encoder's; 0 freezes it. `head_rate` is for the few numbers outside the layers:
    late interaction's weights and the residual's share. With `averaged`, rates stay constant after
    the warm-up, and the result is the mean of the weights over that last share of the steps;
    otherwise rates fall to 0. Training stops after `early_stopping_patience` measurements in a row
    below the best; 0 never stops.
    """

    steps: int
    queries: int = 32
    documents: int = 5
    rate: float = 3e-5
    cross_attention_rate: float = 3e-4
    head_rate: float = 1e-3
    decay: float = 0.01
    warmup: float = 0.05
    averaged: float = 0.0
    clip: float = 1.0
    dev_every: int = 200
    save_every: int = 100
    early_stopping_patience: int = 0


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe, with a field per table of its file."""

    name: str
    seed: int
    sources: tuple[SourceSpec, ...]
    loop: LoopSpec
    mining: MiningSpec = field(default_factory=MiningSpec)
    network: NetworkSpec = field(default_factory=NetworkSpec)
    loss: LossSpec = field(default_factory=LossSpec)


def read_recipe(file: Path) -> Recipe:
    """Read a recipe. Raises `InputError` naming an unknown, missing or mistyped key."""
    try:
        values = tomllib.loads(read_regular(file, MAX_BYTES).decode())
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({reason(error)}); bundled recipes are in {RECIPES}"
        ) from error
    except ValueError as error:
        raise InputError(f"{file}: not TOML ({error})") from error
    tables = {
        "loop": LoopSpec,
        "mining": MiningSpec,
        "network": NetworkSpec,
        "loss": LossSpec,
    }
    for name, kind in tables.items():
        if name in values:
            values[name] = _table(kind, values[name], f"{file}: [{name}]")
    sources = values.get("sources", [])
    if not isinstance(sources, list):
        raise InputError(f"{file}: [[sources]]: expected a table, got {sources!r}")
    values["sources"] = tuple(_table(SourceSpec, row, f"{file}: [[sources]]") for row in sources)
    recipe: Recipe = _table(Recipe, values, str(file))
    return recipe


def _table(kind: Any, values: Any, location: str) -> Any:
    if not isinstance(values, Mapping):
        raise InputError(f"{location}: expected a table, got {values!r}")
    known = {entry.name: entry.type for entry in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(f"{location}: unknown {', '.join(unknown)}; known are {', '.join(known)}")
    for name, value in values.items():
        kinds = _KINDS.get(known[name])
        if kinds is not None and type(value) not in kinds:
            raise InputError(f"{location}: {name} = {value!r}; expected a {kinds[-1].__name__}")
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"{location}: {str(error).partition(') ')[2] or error}") from error
