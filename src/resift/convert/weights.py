"""An artifact's ONNX files → the float32 weights that `graph.py` would write them from.

What makes the bundled int8 model a base to train on: its layers are dequantised, SmoothQuant's
scales are folded back in. What int8 rounded off is lost, and training goes on from there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from resift.convert.graph import Activation, EncoderShape
from resift.rerank.late_interaction import FEATURES

LAYER = "encoder.layer."

Floats = NDArray[np.float32]

_TABLES = {
    "positions.table": "embeddings.position_embeddings.weight",
    "types.table": "embeddings.token_type_embeddings.weight",
    "types.only": "embeddings.token_type_embeddings.weight",
}


def read_weights(files: Sequence[Path]) -> dict[str, Floats]:
    """Canonical names to weights, out of all of a model's files together."""
    weights: dict[str, Floats] = {}
    for file in files:
        weights |= _Graph(onnx.load(str(file))).weights()
    return weights


class _Graph:
    """Nodes in order, and constants and makers of tensors by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.constants: dict[str, NDArray[Any]] = {
            own.name: numpy_helper.to_array(own) for own in model.graph.initializer
        }
        self.makers = {output: node for node in model.graph.node for output in node.output}

    def weights(self) -> dict[str, Floats]:
        found: dict[str, Floats] = {}
        for node in self.nodes:
            name = node.name.removesuffix(".matmul")
            if node.op_type == "MatMul" and name != node.name:
                kernel = self._smoothing(node.input[0]) * self._constant(node.input[1])
                found[f"{name}.weight"] = np.ascontiguousarray(kernel.T, np.float32)
                found[f"{name}.bias"] = self.constants[f"{name}.bias"]
        for name, value in self.constants.items():
            if name.endswith(".shift"):
                norm = name.removesuffix(".shift")
                found[f"{norm}.weight"] = self.constants[f"{norm}.scale"]
                found[f"{norm}.bias"] = value
            if name in _TABLES:
                found[_TABLES[name]] = value.reshape(-1, value.shape[-1])
        if "meeting.share" in self.constants:
            late = [self.constants[f"meeting.{name}.weight"] for name in FEATURES]
            found |= {
                "meeting.share": self.constants["meeting.share"],
                "late": np.array(late, np.float32),
                "bias": self.constants["meeting.bias"],
            }
        if "words.table" in self.constants:
            words = self.constants["words.table"].astype(np.float32)
            scale = self.constants.get("words.scale", np.float32(1))
            found["embeddings.word_embeddings.weight"] = words * scale
        return found

    def _constant(self, name: str) -> Floats:
        """A constant, or what its dequantisation gives."""
        if name in self.constants:
            return self.constants[name].astype(np.float32)
        values, scale, zero = (self.constants[own] for own in self.makers[name].input)
        dequantised: Floats = (values.astype(np.float32) - zero.astype(np.float32)) * scale
        return dequantised

    def _smoothing(self, name: str) -> Floats:
        """SmoothQuant's scale on a product's input, ``(in, 1)``; 1 where there is none."""
        node = self.makers.get(name)
        while node is not None and node.op_type in ("DequantizeLinear", "QuantizeLinear"):
            node = self.makers.get(node.input[0])
        if node is None or node.op_type != "Mul" or "smooth_quant" not in node.name:
            return np.ones((1, 1), np.float32)
        return self.constants[node.input[1]].reshape(-1, 1).astype(np.float32)


def read_shape(encoder: Path) -> EncoderShape:
    """What `graph.py` was told of an encoder beside its weights, read back off its file."""
    graph = _Graph(onnx.load(str(encoder)))
    layers = {node.name.split(".")[2] for node in graph.nodes if node.name.startswith(LAYER)}
    norm = next(node for node in graph.nodes if node.op_type == "LayerNormalization")
    epsilon = next(own.f for own in norm.attribute if own.name == "epsilon")
    activated = next(node for node in graph.nodes if node.name.endswith("intermediate.activated"))
    return EncoderShape(
        layers=len(layers),
        heads=int(graph.constants["heads.split"][2]),
        epsilon=float(epsilon),
        activation=_activation(activated),
    )


def _activation(node: Any) -> Activation:
    if node.op_type == "Gelu":
        return "gelu_tanh" if any(own.s == b"tanh" for own in node.attribute) else "gelu"
    return "relu" if node.op_type == "Relu" else "tanh"
