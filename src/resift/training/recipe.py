"""A recipe: one TOML file that says what a model is made of, read into frozen dataclasses.

Every key must be one that is known here, so that a misspelt one is an error and not a default.
The recipes that ship lie in ``recipes/``; `bundled.toml` is what
``make model`` runs, `fine-tune.toml` what ``resift train`` does.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from resift.errors import InputError
from resift.files import read_regular

RECIPES = Path(__file__).parent / "recipes"
MOST_BYTES = 1 << 20
_KINDS: dict[Any, tuple[type, ...]] = {
    int: (int,),
    float: (int, float),
    str: (str,),
    bool: (bool,),
}  # type() and not isinstance: True is an int


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A file of pairs, ``NAME.jsonl.gz``: how many of its queries are taken, and its licence.

    `dev` queries are held out to measure on; a source with no `queries` is only measured on.
    `mined` false takes nothing but the negatives that its own lines name.
    """

    name: str
    licence: str
    queries: int = 0
    dev: int = 0
    mined: bool = True


@dataclass(frozen=True, slots=True)
class MiningSpec:
    """Candidates a query: the best of each first stage, and some at random."""

    lexical: int = 8
    dense: int = 8
    random: int = 4
    words: int = 150


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """`cross_attention_layers` read the query again, over a document; rows are cut in training."""

    cross_attention_layers: int = 2
    query_tokens: int = 40
    document_tokens: int = 144


@dataclass(frozen=True, slots=True)
class LossSpec:
    """Weights of the parts (`loss.py`).

    The teacher's logit is ``untrained_share × the untrained logit + teacher_scale × cosine``.
    `first_stage` is the weight of BM25's score beside both logits, in every second group.
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
    """Steps, their size and their rates; an encoder with a `rate` of 0 stays as it is.

    `head_rate` is for the few numbers beside the layers: late interaction's weights and the
    meeting's share. With `averaged`, the rates stay after the warm-up and the network ends as the
    mean of its weights over that last share of the steps; without, the rates fall to 0.
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
    patience: int = 0


@dataclass(frozen=True, slots=True)
class Recipe:
    """All of it. `then` is a second loop over what the first one made."""

    name: str
    seed: int
    sources: tuple[SourceSpec, ...]
    loop: LoopSpec
    mining: MiningSpec = field(default_factory=MiningSpec)
    network: NetworkSpec = field(default_factory=NetworkSpec)
    loss: LossSpec = field(default_factory=LossSpec)
    then: LoopSpec | None = None


def read_recipe(file: Path) -> Recipe:
    """Read a recipe; raises `InputError` naming the key that is unknown, missing or misplaced."""
    try:
        values = tomllib.loads(read_regular(file, MOST_BYTES).decode())
    except OSError as error:
        raise InputError(
            f"{file}: no recipe to read ({error.strerror}); the ones that ship are in {RECIPES}"
        ) from error
    except ValueError as error:
        raise InputError(f"{file}: not TOML ({error})") from error
    tables = {
        "loop": LoopSpec,
        "then": LoopSpec,
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
    values["sources"] = tuple(_table(SourceSpec, own, f"{file}: [[sources]]") for own in sources)
    recipe: Recipe = _table(Recipe, values, str(file))
    return recipe


def _table(kind: Any, values: Any, where: str) -> Any:
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: expected a table, got {values!r}")
    known = {own.name: own.type for own in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(known)}")
    for name, value in values.items():
        kinds = _KINDS.get(known[name])
        if kinds is not None and type(value) not in kinds:
            raise InputError(f"{where}: {name} = {value!r}; expected a {kinds[-1].__name__}")
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"{where}: {str(error).partition(') ')[2] or error}") from error
