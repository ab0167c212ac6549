"""Graphs of a few layers, in forms that other architectures have."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from resift.convert.graph import GraphBuilder, checked_model

DIM = 8


def weights(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)


def layer_norm(g: GraphBuilder, name: str, x: str) -> str:
    scale = g.constant(f"{name}.scale", np.linspace(0.1, 8, DIM, dtype=np.float32))
    return g.node("LayerNormalization", f"{name}.out", x, scale, axis=-1, epsilon=1e-5)


def product(g: GraphBuilder, name: str, x: str, kernel: str, out: int = DIM) -> str:
    matrix = g.constant(kernel, weights(len(name), DIM, out))
    return g.node("MatMul", f"{name}.matmul", x, matrix)


def model_of(g: GraphBuilder, output: str, width: int = DIM) -> onnx.ModelProto:
    """A model of ``x`` ``(rows, tokens, DIM)``, with a mask of tokens that it also reads."""
    tokens = g.node("Cast", "mask.float", "attention_mask", to=TensorProto.FLOAT)
    axes = g.constant("mask.axes", np.array([2], np.int64))
    wide = g.node("Unsqueeze", "mask.wide", tokens, axes)
    g.node("Mul", "y", output, wide)
    info = helper.make_tensor_value_info
    inputs = [
        info("x", TensorProto.FLOAT, ["rows", "tokens", DIM]),
        info("attention_mask", TensorProto.INT64, ["rows", "tokens"]),
    ]
    return checked_model(g, inputs, [info("y", TensorProto.FLOAT, ["rows", "tokens", width])])


def pre_norm(*, residual_of_norm: bool = False) -> onnx.ModelProto:
    """ModernBERT's order: what is normalised goes into products only, unless asked otherwise."""
    g = GraphBuilder()
    x = layer_norm(g, "norm", "x")
    y = product(g, "dense", x, "dense.kernel")
    return model_of(g, g.node("Add", "sum", x if residual_of_norm else "x", y))


def gated() -> onnx.ModelProto:
    """Two products side by side: an activated one, and a linear one that multiplies it."""
    g = GraphBuilder()
    gate = product(g, "gate", "x", "gate.kernel")
    side = product(g, "side", "x", "side.kernel")
    mixed = g.node("Mul", "mixed", g.node("Gelu", "activated", gate), side)
    return model_of(g, product(g, "narrow", mixed, "narrow.kernel"))


def shared() -> onnx.ModelProto:
    """ALBERT's form: a kernel that several layers use."""
    g = GraphBuilder()
    x = g.node("Gelu", "first.activated", product(g, "first", "x", "shared.kernel"))
    return model_of(g, product(g, "second", x, "shared.kernel"))


Samples = list[dict[str, NDArray[Any]]]


def samples(lengths: Sequence[int] = (4, 6, 4, 8), padding: int = 0) -> Samples:
    """Rows of given lengths; `padding` positions have huge values that no token has."""
    rng = np.random.default_rng(1)
    result: Samples = []
    for length in lengths:
        tokens = rng.normal(0, 1, (1, length, DIM)).astype(np.float32)
        x = np.pad(tokens, [(0, 0), (0, padding), (0, 0)], constant_values=1000)
        mask = np.pad(np.ones((1, length), np.int64), [(0, 0), (0, padding)])
        result.append({"x": x, "attention_mask": mask})
    return result
