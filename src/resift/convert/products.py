"""The matrix products of a float32 graph that int8 makes faster, read from its structure.

Any product of activations with a constant matrix counts, whatever the architecture: products of two
activations (attention) stay float32, because they lose most by rounding and are 5 % of the work at
120 tokens. So do products that read one token per row and decide the logit: heads, the estimates of
exits, and late interaction.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

_KEEP_FLOAT = re.compile(r"head\..*|exit\.\d+\.estimate|cross_attention\.(?!layer\.).*")
_NODE_SUFFIX = ".matmul"

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the activations `tensor` with a constant `kernel` ``(in, out)``.

    `layer` is the layer's name, `node` that of its node.
    """

    layer: str
    node: str
    tensor: str
    kernel: str


@dataclass(frozen=True, slots=True)
class Group:
    """Products that share a tensor or a kernel, so that one factor a channel must suit them all."""

    tensors: tuple[str, ...]
    kernels: tuple[str, ...]


class Graph:
    """A graph's nodes by the tensors that they make and read, and its constants by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.outputs = {port.name for port in model.graph.output}
        self.makers = {output: node for node in self.nodes for output in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)

    def array(self, name: str) -> NDArray[Any]:
        """The value of a constant."""
        return numpy_helper.to_array(self.constants[name])

    def floats(self, name: str) -> Floats:
        """The value of a float32 constant."""
        result: Floats = self.array(name)
        return result

    def dims(self, name: str) -> list[int]:
        """The sizes of a constant; none for anything else."""
        return list(self.constants[name].dims) if name in self.constants else []

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The node that alone reads a tensor, which is no output of the graph."""
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def products(self) -> list[Product]:
        """The products that can be int8, in running order."""
        return [self._product(node) for node in self.nodes if self._is_quantisable(node)]

    def _is_quantisable(self, node: onnx.NodeProto) -> bool:
        if node.op_type != "MatMul" or _KEEP_FLOAT.fullmatch(node.name):
            return False
        kernel = self.constants.get(node.input[1])
        is_matrix = kernel is not None and len(kernel.dims) == 2
        is_float = kernel is not None and kernel.data_type == TensorProto.FLOAT
        return is_matrix and is_float and node.input[0] not in self.constants

    def _product(self, node: onnx.NodeProto) -> Product:
        tensor, kernel = node.input
        return Product(node.name.removesuffix(_NODE_SUFFIX), node.name, tensor, kernel)


def groups(products: Iterable[Product]) -> list[Group]:
    """Products joined by a common tensor or a common kernel, directly or through other products."""
    joined: list[tuple[dict[str, None], dict[str, None]]] = []  # dicts keep the order
    for product in products:
        tensors, kernels = {product.tensor: None}, {product.kernel: None}
        apart = []
        for other in joined:
            if product.tensor in other[0] or product.kernel in other[1]:
                tensors, kernels = other[0] | tensors, other[1] | kernels
            else:
                apart.append(other)
        joined = [*apart, (tensors, kernels)]
    return [Group(tuple(tensors), tuple(kernels)) for tensors, kernels in joined]


def distinct_tensors(products: Sequence[Product]) -> list[str]:
    """The activations that products read, each once."""
    return list(dict.fromkeys(product.tensor for product in products))


def with_graph(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
    outputs: Sequence[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """A model with the inputs and operator versions of `model`, and other nodes."""
    result = onnx.ModelProto()
    result.ir_version, result.producer_name = model.ir_version, model.producer_name
    result.opset_import.extend(model.opset_import)
    result.graph.name = model.graph.name
    result.graph.node.extend(nodes)
    result.graph.input.extend(model.graph.input)
    result.graph.output.extend(outputs)
    result.graph.initializer.extend(constants)
    return result
