"""How a decoder multiplies with its weights: in float32, with int8 weights, or all in int8.

Activations of decoders have tokens that are a thousand times larger than others, so one range for
all of them would leave the others no steps. `Int8` divides each token's values by the largest one,
and rounds what is then from -1 to 1 with a constant step: int8 products as static quantisation has
them, which both runtimes run fast, with a range for each token. A token's scale depends on no other
token, so a score does not depend on its batch.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from resift.convert.graph import GraphBuilder

Floats = NDArray[np.float32]

_ZERO = np.array(128, np.uint8)  # uint8, since ONNX Runtime runs no products of int8 with int8
_STEP = np.array(1 / 127, np.float32)
_AFTER_GATE = "down_proj"
_TINY = np.array(1e-12, np.float32)


class Products(ABC):
    """Adds products of activations with weights to a graph."""

    def linear(
        self, g: GraphBuilder, name: str, x: str, weight: Floats, bias: Floats | None
    ) -> str:
        """``x @ weight.T + bias``, with a weight ``(out, in)``."""
        product = self._product(g, name, x, weight)
        if bias is None:
            return product
        return g.node("Add", f"{name}.out", product, g.constant(f"{name}.bias", bias))

    @abstractmethod
    def _product(self, g: GraphBuilder, name: str, x: str, weight: Floats) -> str:
        """``x @ weight.T``."""


class Float32(Products):
    """Products in float32."""

    def _product(self, g: GraphBuilder, name: str, x: str, weight: Floats) -> str:
        return g.node("MatMul", f"{name}.matmul", x, g.constant(f"{name}.kernel", weight.T))


class Int8Weights(Products):
    """Weights in int8, a scale for each output; activations in float32."""

    def _product(self, g: GraphBuilder, name: str, x: str, weight: Floats) -> str:
        return g.node("MatMul", f"{name}.matmul", x, int8_kernel(g, name, weight))


class Int8(Products):
    """Weights in int8, a scale for each output; activations in uint8, a scale for each token."""

    def _product(self, g: GraphBuilder, name: str, x: str, weight: Floats) -> str:
        kernel = int8_kernel(g, name, weight)
        product = g.node("MatMul", f"{name}.matmul", self._rounded(g, x), kernel)
        return g.node("Mul", f"{name}.scaled", product, f"{x}.largest")

    def _rounded(self, g: GraphBuilder, x: str) -> str:
        """A tensor over the largest absolute value of each token, rounded; once a tensor."""
        name = f"{x}.rounded"
        if g.has(name):
            return name
        size = g.node("Abs", f"{x}.size", x)
        largest = g.node("ReduceMax", f"{x}.peak", size, g.integers(-1), keepdims=1)
        largest = g.node("Max", f"{x}.largest", largest, g.constant("tiny", _TINY))
        unit = g.node("Div", f"{x}.relative", x, largest)
        scale = (g.constant("activations.step", _STEP), g.constant("activations.zero", _ZERO))
        codes = g.node("QuantizeLinear", f"{x}.uint8", unit, *scale)
        return g.node("DequantizeLinear", name, codes, *scale)


class MixedInt8(Products):
    """`Int8`, but for products that read a gate's output: their inputs stay float32.

    What a gate multiplies has the widest range within a token, so rounding harms it most.
    """

    def __init__(self) -> None:
        self._int8, self._weights = Int8(), Int8Weights()

    def _product(self, g: GraphBuilder, name: str, x: str, weight: Floats) -> str:
        products = self._weights if name.endswith(_AFTER_GATE) else self._int8
        return products.linear(g, name, x, weight, None)


def int8_kernel(g: GraphBuilder, name: str, weight: Floats) -> str:
    """A weight ``(out, in)`` as a kernel ``(in, out)`` in int8 with a scale for each output."""
    steps = np.maximum(np.abs(weight).max(axis=1), _TINY) / np.float32(127)
    codes = np.rint(weight / steps[:, None]).astype(np.int8)
    parts = (
        g.constant(f"{name}.int8", codes.T),
        g.constant(f"{name}.steps", steps),
        g.constant(f"{name}.zeros", np.zeros(len(steps), np.int8)),
    )
    return g.node("DequantizeLinear", f"{name}.kernel", *parts, axis=1)
