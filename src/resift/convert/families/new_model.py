"""NewModel of Alibaba's GTE models (arXiv:2407.19669), and ``gte``, its name in transformers.

BERT's layers with rotary positions and a gated feed-forward network. Contexts beyond those of the
training were reached by NTK scaling, which spreads the angles (https://kexue.fm/archives/9706).
"""

import numpy as np
from numpy.typing import NDArray

from resift.convert.config import Config
from resift.convert.families import bert, family
from resift.convert.families.family import Arrays, Family, split_rows
from resift.convert.layers import EncoderShape
from resift.convert.positions import Absolute, Rotary, RotaryLayer
from resift.errors import ModelError

NAMES = (
    ("gte.", ""),  # files of transformers' model begin with this or with the older prefix
    ("layers.", "encoder.layer."),
    (".self_attn.", ".attention."),
    (".attention.q_proj.", ".attention.self.query."),
    (".attention.k_proj.", ".attention.self.key."),
    (".attention.v_proj.", ".attention.self.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    (".post_attention_layernorm.", ".attn_ln."),
    (".attn_ln.", ".attention.output.LayerNorm."),
    (".mlp.down_proj.", ".output.dense."),
    (".post_mlp_layernorm.", ".mlp_ln."),
    (".mlp_ln.", ".output.LayerNorm."),
)
HEAD = {"gte.pooler.dense.": "head.dense.", **family.HEAD}


def _shape(config: Config) -> EncoderShape:
    config.refuse("layer_norm_type", "layer_norm", remedy="only layer_norm can be converted")
    config.refuse(
        "logn_attention_scale", False, remedy="attention scaled by length cannot be converted"
    )
    return EncoderShape(
        layers=config.whole("num_hidden_layers"),
        heads=config.whole("num_attention_heads"),
        epsilon=config.number("layer_norm_eps", default=1e-12),
        activation=config.activation("hidden_act"),
        positions=_positions(config),
    )


def _positions(config: Config) -> Absolute:
    """Rotary, or a table of positions like BERT's."""
    kind = config.get("position_embedding_type", "rope")
    if kind == "absolute":
        return Absolute()
    if kind != "rope":
        raise ModelError(
            f"{config.file}: position_embedding_type {kind!r}; expected rope or absolute"
        )
    layer = RotaryLayer(_angles(config))
    return Rotary([layer] * config.whole("num_hidden_layers"), bert.tokens(config))


def _angles(config: Config) -> tuple[float, ...]:
    """The angle per position of each pair of columns: ``theta ** -(2 i / size)``, then scaled."""
    size = config.whole("hidden_size") // max(config.whole("num_attention_heads"), 1)
    scaling = _scaling(config)
    default = 160_000.0 if config.model_type == "gte" else 10_000.0
    theta = scaling.number("rope_theta", default=config.number("rope_theta", default=default))
    pairs = np.arange(size // 2)
    angles = theta ** -(2 * pairs / size)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "linear":
        angles = angles / _factor(scaling)
    elif kind == "ntk":
        angles = angles / _spread(scaling, (pairs + 1) / (size / 2))
    elif kind != "default":
        raise ModelError(
            f"{config.file}: rotary positions of the type {kind!r}; expected default, linear or ntk"
        )
    return tuple(angles.tolist())


def _scaling(config: Config) -> Config:
    """How the angles are scaled, under the newer or the older name of the setting."""
    name = "rope_parameters" if config.get("rope_parameters") else "rope_scaling"
    values = config.get(name, {})
    if not isinstance(values, dict):
        raise ModelError(f"{config.file}: {name} {values!r}; expected an object")
    return Config(config.file, values)


def _spread(scaling: Config, ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """What NTK scaling divides angles by, which are at these `ranks` from above 0 to 1."""
    exponent = scaling.number("mixed_b", default=1.0)
    spread: NDArray[np.float64] = _factor(scaling) ** (ranks**exponent)
    return spread


def _factor(scaling: Config) -> float:
    """By how much the context grew."""
    factor = scaling.number("factor")
    if factor < 1:
        raise ModelError(f"{scaling.file}: rotary positions with factor {factor:g}; expected 1 up")
    return factor


def _finish(weights: Arrays, config: Config) -> Arrays:
    """Queries, keys and values apart, and the activated and linear parts of the gate."""
    for index in range(config.whole("num_hidden_layers")):
        name = f"encoder.layer.{index}"
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        weights = split_rows(weights, f"{name}.attention.qkv_proj", *parts)
        up, gate = f"{name}.mlp.up_proj", f"{name}.mlp.gate_proj"
        weights = split_rows(weights, f"{name}.mlp.up_gate_proj", up, gate)
        for theirs, ours in ((gate, "dense"), (up, "gate")):  # theirs is activated, as our first is
            if f"{theirs}.weight" in weights:
                weights[f"{name}.intermediate.{ours}.weight"] = weights.pop(f"{theirs}.weight")
    return weights


NEW_MODEL = Family("new.", _shape, bert.tokens, NAMES, HEAD, _finish)
