"""Building blocks of ONNX graphs: a builder, and what every encoder's graph has.

resift writes graphs itself instead of tracing a model, because the engine depends on their form:
token ids of any shape ``(rows, tokens)``, an embedding table that stays int8 in memory, one file
per group of layers, and only standard ONNX operators, so that every runtime can fuse them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
IR_VERSION = 9
MAX_BYTES = 1_900_000_000
"""The size of weights in one ONNX file. Protocol buffers end at 2 GiB."""

MASKED = -10000.0  # its exp() is exactly 0 in float32, so padding has no weight

Weights = Mapping[str, NDArray[np.float32]]
Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "tanh", "identity"]


class GraphBuilder:
    """Collects nodes and weights; each method returns the name of the tensor that it adds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}
        self._names: set[str] = set()
        self._shared: dict[tuple[int, bool], str] = {}

    def constant(self, name: str, value: NDArray[Any]) -> str:
        if name not in self.weights:
            self.weights[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def _constant_of(
        self, name: str, weight: NDArray[np.float32], *, transposed: bool = False
    ) -> str:
        """A checkpoint's array as a constant, one for all that share the array."""
        key = (id(weight), transposed)
        if key not in self._shared:
            self._shared[key] = self.constant(name, weight.T if transposed else weight)
        return self._shared[key]

    def integers(self, *values: int) -> str:
        """An int64 constant ``(n,)``, one for all that need the same numbers."""
        name = "integers." + ".".join(map(str, values))
        return self.constant(name, np.array(values, np.int64))

    def node(self, operator: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        self._names.add(name)
        return name

    def has(self, name: str) -> bool:
        """Whether a node of this name was added."""
        return name in self._names

    def count_up(self, name: str, count: str) -> str:
        """0, 1, … before `count`, an int64 tensor ``(1,)``: int64 ``(n,)``."""
        start, step = (self.constant(f"number.{n}", np.array(n, np.int64)) for n in (0, 1))
        return self.node("Range", name, start, self.node("Squeeze", f"{name}.count", count), step)

    def slice(self, name: str, x: str, axis: int, start: int, stop: int) -> str:
        """``x[start:stop]`` along an axis."""
        ends = (self.integers(start), self.integers(stop), self.integers(axis))
        return self.node("Slice", name, x, *ends)

    def reshape(self, name: str, x: str, *sizes: int) -> str:
        """`x` with new sizes; 0 keeps a size and -1 is what remains."""
        return self.node("Reshape", name, x, self.integers(*sizes))

    def linear(self, name: str, x: str, weights: Weights) -> str:
        """``x @ W.T + b``, with checkpoint weights ``(out, in)``; without a bias if there is none.

        Layers that share an array share one constant.
        """
        weight = weights[f"{name}.weight"]
        kernel = self._constant_of(f"{name}.kernel", weight, transposed=True)
        product = self.node("MatMul", f"{name}.matmul", x, kernel)
        if f"{name}.bias" not in weights:
            return product
        bias = self._constant_of(f"{name}.bias", weights[f"{name}.bias"])
        return self.node("Add", f"{name}.out", product, bias)

    def layer_norm(
        self, name: str, x: str, weights: Weights, epsilon: float, output: str = ""
    ) -> str:
        """Layer norm, with a shift of zero if `weights` have none; `x` itself without a scale."""
        weight = weights.get(f"{name}.weight")
        if weight is None:
            return x
        shift = weights.get(f"{name}.bias")
        scale = self._constant_of(f"{name}.scale", weight)
        if shift is None:
            bias = self.constant(f"{name}.shift", np.zeros_like(weight))
        else:
            bias = self._constant_of(f"{name}.shift", shift)
        output = output or f"{name}.out"
        return self.node("LayerNormalization", output, x, scale, bias, axis=-1, epsilon=epsilon)

    def activation(self, name: str, x: str, kind: Activation) -> str:
        if kind == "identity":
            return x
        if kind == "gelu":
            return self.node("Gelu", name, x)
        if kind == "gelu_tanh":
            return self.node("Gelu", name, x, approximate="tanh")
        if kind == "silu":
            return self.node("Mul", name, x, self.node("Sigmoid", f"{name}.sigmoid", x))
        return self.node("Relu" if kind == "relu" else "Tanh", name, x)


def quantise_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 with a scale per row: ``(n, dim)`` → int8 ``(n, dim)``, float32 ``(n, 1)``."""
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12) / 127.0
    return np.rint(table / scale).astype(np.int8), scale.astype(np.float32)


def additive_mask(g: GraphBuilder, attention_mask: str = "attention_mask") -> str:
    """``(rows, tokens)`` of 1 and 0 → ``(rows, 1, 1, tokens)`` to add to attention logits."""
    wide = g.node("Cast", "mask.float", attention_mask, to=TensorProto.FLOAT)
    axes = g.constant("mask.axes", np.array([1, 2], np.int64))
    shaped = g.node("Unsqueeze", "mask.shaped", wide, axes)
    missing = g.node("Sub", "mask.missing", g.constant("one", np.array(1.0, np.float32)), shaped)
    return g.node("Mul", "mask", missing, g.constant("masked", np.array(MASKED, np.float32)))


def token_inputs(g: GraphBuilder, *names: str) -> list[onnx.ValueInfoProto]:
    """int64 inputs ``(rows, tokens)``: `names`, and ``token_type_ids`` if a node reads them.

    ``attention_mask`` is 1 for a token and 0 for padding.
    """
    has_types = any("token_type_ids" in node.input for node in g.nodes)
    return [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
        for name in (*names, *(["token_type_ids"] if has_types else []))
    ]


def checked_model(g: GraphBuilder, inputs: list[Any], outputs: list[Any]) -> onnx.ModelProto:
    """Make a model of the collected nodes and weights, and run ONNX's checker."""
    model = new_model(g, inputs, outputs)
    check_graph(model)
    return model


def new_model(g: GraphBuilder, inputs: Sequence[Any], outputs: Sequence[Any]) -> onnx.ModelProto:
    """A model of the collected nodes and weights."""
    graph = helper.make_graph(g.nodes, "resift", inputs, outputs, list(g.weights.values()))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="resift"
    )
    model.ir_version = IR_VERSION
    return model


def check_graph(model: onnx.ModelProto) -> None:
    """Run ONNX's checker, which reads no model over `MAX_BYTES` that is not on disk."""
    if _weight_bytes(model) < MAX_BYTES:
        onnx.checker.check_model(model)


def save_graph(model: onnx.ModelProto, file: Path) -> None:
    """Write a graph; the weights of one over `MAX_BYTES` go to a second file, ``NAME.data``."""
    if _weight_bytes(model) < MAX_BYTES:
        onnx.save(model, str(file))
        return
    onnx.save(model, str(file), save_as_external_data=True, location=f"{file.name}.data")
    onnx.checker.check_model(str(file))
    onnx.load_external_data_for_model(model, str(file.parent))  # which saving took out of it


def _weight_bytes(model: onnx.ModelProto) -> int:
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)
