"""Are an encoder's weights all there, and do their sizes fit together?

A graph leaves out what is missing in its weights, so a part that was lost must be noticed here.
"""

from collections.abc import Iterator
from pathlib import Path

from resift.convert.config import Config
from resift.convert.families.family import Arrays
from resift.convert.layers import EncoderShape
from resift.convert.positions import Absolute
from resift.errors import ModelError

WORDS = "embeddings.word_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"
TYPES = "embeddings.token_type_embeddings.weight"
_PROJECT = "embeddings_project.weight"
_QUERY, _KEY, _VALUE = (f"attention.self.{part}.weight" for part in ("query", "key", "value"))
_MIXED, _WIDE, _NARROW = (
    f"{part}.dense.weight" for part in ("attention.output", "intermediate", "output")
)
_GATE = "intermediate.gate.weight"
_PARTS = (_QUERY, _KEY, _VALUE, _MIXED, _WIDE, _NARROW)
_NORMS_AFTER = ("attention.output.LayerNorm.weight", "output.LayerNorm.weight")
_NORM_BEFORE = "intermediate.LayerNorm.weight"
_FIRST_LACKS = "attention.input.LayerNorm."  # ModernBERT's first layer, since embeddings have one
_CANONICAL = ("attention.", "intermediate.", "output.")

Size = tuple[int | None, int]  # rows, which may be any number, and columns


def check_weights(weights: Arrays, shape: EncoderShape, config: Config, positions: int) -> None:
    """Raise `ModelError` for weights that are missing, or fit neither each other nor the config.

    `positions` is how many the config names.
    """
    folder = config.file.parent
    missing = [name for name in _required(weights, shape) if name not in weights]
    if missing:
        raise ModelError(
            f"{folder}: {len(missing)} weights are missing, such as {missing[0]}; expected a "
            "trained model with the layers that its config names"
        )
    _check_heads(weights, shape, folder)
    more = [name for name in weights if name.startswith(f"encoder.layer.{shape.layers}.")]
    if more:
        raise ModelError(
            f"{folder}: config.json names {shape.layers} layers, and its weights have more, such "
            f"as {more[0]}; expected the config that the model was saved with"
        )
    check_sizes(weights, shape, folder)
    dim, named = len(weights[f"encoder.layer.0.{_MIXED}"]), config.get("hidden_size")
    if named not in (None, dim):
        raise ModelError(f"{config.file}: hidden_size {named!r}; expected {dim}, as its weights")
    table = weights.get(POSITIONS)
    if table is not None and len(table) - shape.first_position < positions:
        raise ModelError(
            f"{folder}: its table of positions has {len(table)} rows; expected "
            f"{positions + shape.first_position}, as its config says"
        )


def check_sizes(weights: Arrays, shape: EncoderShape, folder: Path) -> None:
    """Raise `ModelError` for weights, those of the head too, whose sizes do not fit together."""
    sizes = dict(_sizes(weights, shape))
    odd = [name for name, size in sizes.items() if not _fits(weights, name, size)]
    odd += [
        name for name in weights if name.endswith("orm.weight") and not _fits_norm(weights, name)
    ]
    odd += [name for name in weights if name.endswith(".bias") and not _fits_bias(weights, name)]
    if odd:
        raise ModelError(
            f"{folder}: {len(odd)} weights do not fit the others, such as {odd[0]} of size "
            f"{weights[odd[0]].shape}; expected a model whose config describes its weights"
        )


def _required(weights: Arrays, shape: EncoderShape) -> Iterator[str]:
    """Names that must be there: each layer has the canonical parts that any layer has."""
    yield from (WORDS, "embeddings.LayerNorm.weight")
    if type(shape.positions) is Absolute:
        yield POSITIONS
    layers = [f"encoder.layer.{index}." for index in range(shape.layers)]
    named = (name.removeprefix(layer) for layer in layers for name in weights if layer in name)
    present = {name for name in named if name.startswith(_CANONICAL)}
    norms: tuple[str, ...] = _NORMS_AFTER
    if _NORM_BEFORE in present:
        norms = ()
        yield "encoder.LayerNorm.weight"  # after the last layer
    names = sorted(present | {*_PARTS, *norms})
    for index, layer in enumerate(layers):
        yield from (layer + name for name in names if index or not name.startswith(_FIRST_LACKS))


def _sizes(weights: Arrays, shape: EncoderShape) -> Iterator[tuple[str, Size]]:
    """The size that each matrix must have beside the others."""
    dim = len(weights[f"encoder.layer.0.{_MIXED}"]) if shape.layers else 0
    width = dim
    if _PROJECT in weights:
        width = weights[WORDS].shape[-1]
        yield _PROJECT, (dim, width)
    yield from ((name, (None, width)) for name in (WORDS, POSITIONS, TYPES))
    for index in range(shape.layers):
        layer = f"encoder.layer.{index}."
        values, read = len(weights[layer + _VALUE]), weights[layer + _NARROW].shape[-1]
        yield from ((layer + name, (values, dim)) for name in (_QUERY, _KEY, _VALUE))
        yield layer + _MIXED, (dim, values)
        yield from ((layer + name, (read, dim)) for name in (_WIDE, _GATE))
        yield layer + _NARROW, (dim, read)
    yield "head.dense.weight", (None, dim)
    pooled = weights.get("head.dense.weight")
    yield "head.projection.weight", (None, dim if pooled is None else len(pooled))


def _fits(weights: Arrays, name: str, size: Size) -> bool:
    weight = weights.get(name)
    if weight is None:
        return True
    rows, columns = size
    return weight.ndim == 2 and weight.shape[1] == columns and rows in (None, len(weight))


def _fits_norm(weights: Arrays, name: str) -> bool:
    """Whether a norm is as wide as the states that it reads."""
    dim = len(weights[f"encoder.layer.0.{_MIXED}"])
    widths = {dim}
    if name.startswith("embeddings."):
        widths.add(weights[WORDS].shape[-1])  # before or after the projection
    if name.startswith("head.") and "head.dense.weight" in weights:
        widths = {len(weights["head.dense.weight"])}
    return weights[name].shape in {(width,) for width in widths}


def _fits_bias(weights: Arrays, name: str) -> bool:
    weight = weights.get(name.removesuffix("bias") + "weight")
    return weight is None or weights[name].shape == (len(weight),)


def _check_heads(weights: Arrays, shape: EncoderShape, folder: Path) -> None:
    columns = len(weights[f"encoder.layer.0.{_QUERY}"]) if shape.layers else 0
    if not columns or not shape.heads or columns % shape.heads:
        raise ModelError(
            f"{folder}: {columns} columns of attention in {shape.layers} layers do not make "
            f"{shape.heads} heads of equal size; expected the config that the model was saved with"
        )
