"""Static int8 quantisation of a float32 graph, in a form that is fast in both runtimes.

Linear layers are int8: weights symmetric by output channel, activations uint8 by tensor, with
SmoothQuant. Activations are uint8, because ONNX Runtime fuses products of uint8 with int8, but
computes products of int8 with int8 in float32, slower than the float32 model (LOG.md).
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from resift.convert.products import Floats, Graph, Product, with_graph
from resift.convert.ranges import Ranges, Sample, measure_ranges
from resift.convert.rounding import Int8Kernel, round_kernel
from resift.convert.smooth import Smoothing, smoothing

QUANTISER = "resift 1"
"""Name and version; the version changes with the numbers that the quantiser writes."""

LOWEST, HIGHEST = np.array(-127, np.float32), np.array(127, np.float32)
_STEPS = 255  # between the lowest and the highest uint8
_TINY = 1e-12


def quantise(model: onnx.ModelProto, samples: Sequence[Sample]) -> onnx.ModelProto:
    """Quantise a float32 graph; activation ranges come from `samples`, arrays by input name.

    Raises `InputError` without samples, and for values that are not finite.
    """
    return quantised(model, measure_ranges(model, samples))


def quantised(
    model: onnx.ModelProto, ranges: Ranges, float_layers: Collection[str] = ()
) -> onnx.ModelProto:
    """Quantise a float32 graph with measured ranges; `float_layers` stay float32, by name."""
    graph = Graph(model)
    products = [product for product in graph.products() if product.layer not in float_layers]
    writer = _Writer(graph, ranges, smoothing(graph, ranges, products))
    by_node = {product.node: product for product in products}
    for node in graph.nodes:
        if node.name in by_node:
            writer.multiply(node, by_node[node.name])
        else:
            writer.nodes.append(node)
    result = with_graph(model, writer.nodes, writer.used_constants(), model.graph.output)
    onnx.checker.check_model(result)
    return result


def uint8_scale(lowest: float, highest: float) -> tuple[np.float32, np.uint8]:
    """The step and the zero point of values in a range; zero itself is always representable."""
    low, high = min(lowest, 0.0), max(highest, 0.0)
    step = np.float32(max((high - low) / _STEPS, _TINY))
    return step, np.uint8(np.clip(round(-low / float(step)), 0, _STEPS))


class _Writer:
    """Collects the nodes and constants of the quantised graph, each rounded tensor once."""

    def __init__(self, graph: Graph, ranges: Ranges, smooth: Smoothing) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._graph, self._ranges, self._smooth = graph, ranges, smooth
        self._constants = dict(graph.constants)
        for name in smooth.columns:
            self._constant(name, smooth.folded(graph, name))
        self._kernels: dict[str, Int8Kernel] = {}
        self._rounded: set[str] = set()

    def multiply(self, node: onnx.NodeProto, product: Product) -> None:
        """Add a product of int8 values in place of the float32 `node`."""
        replacement = onnx.NodeProto()
        replacement.CopyFrom(node)
        replacement.input[:] = [self._activations(product.tensor), self._weights(product)]
        self.nodes.append(replacement)
        if product.bias is not None:
            self._correct_bias(product, product.bias)

    def used_constants(self) -> list[onnx.TensorProto]:
        """The constants that nodes read."""
        names = {name for node in self.nodes for name in node.input}
        return [tensor for name, tensor in self._constants.items() if name in names]

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def _node(self, operator: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def _activations(self, tensor: str) -> str:
        """A tensor, divided by its factors unless its maker does that, and rounded."""
        rounded = f"{tensor}.rounded"
        if rounded in self._rounded:
            return rounded
        self._rounded.add(rounded)
        factors, source = self._smooth.factors[tensor], tensor
        if tensor not in self._smooth.folded_tensors:
            name = f"{tensor}.smooth_quant"
            factor = self._constant(f"{name}.factor", 1 / factors)
            source = self._node("Mul", name, tensor, factor)
        step, zero = uint8_scale(*self._ranges.span(tensor, factors))
        scale = (
            self._constant(f"{tensor}.step", np.array(step)),
            self._constant(f"{tensor}.zero", np.array(zero)),
        )
        codes = self._node("QuantizeLinear", f"{tensor}.uint8", source, *scale)
        return self._node("DequantizeLinear", rounded, codes, *scale)

    def _weights(self, product: Product) -> str:
        """A product's kernel, multiplied by its tensor's factors, and rounded."""
        name, rounded = product.kernel, f"{product.kernel}.rounded"
        if name not in self._kernels:
            self._kernels[name] = kernel = self._rounded_kernel(product)
            parts = (
                self._constant(f"{name}.int8", kernel.codes),
                self._constant(f"{name}.steps", kernel.steps),
                self._constant(f"{name}.zeros", np.zeros(len(kernel.steps), np.int8)),
            )
            self._node("DequantizeLinear", rounded, *parts, axis=1)
        return rounded

    def _rounded_kernel(self, product: Product) -> Int8Kernel:
        factors = self._smooth.factors[product.tensor]
        inputs = self._ranges.covariances[product.tensor]
        if product.bias is None:  # a bias makes up for what is lost of the inputs' means
            mean = self._ranges.mean(product.tensor)
            inputs = inputs + np.outer(mean, mean)
        return round_kernel(self._smooth_kernel(product), inputs / np.outer(factors, factors))

    def _smooth_kernel(self, product: Product) -> Floats:
        kernel = self._smooth.folded(self._graph, product.kernel)
        result: Floats = kernel * self._smooth.factors[product.tensor][:, None]
        return result

    def _correct_bias(self, product: Product, bias: str) -> None:
        """Add what rounding takes from the mean of a product's outputs."""
        lost = self._smooth_kernel(product) - self._kernels[product.kernel].values
        mean = self._ranges.mean(product.tensor) / self._smooth.factors[product.tensor]
        folded = self._smooth.folded(self._graph, bias)
        self._constant(bias, (folded + mean @ lost).astype(np.float32))


def int8_scales(states: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """A scale per column of states ``(tokens, width)``; the highest absolute value becomes 127."""
    highest = np.max([np.abs(values).max(axis=0) for values in states], axis=0)
    scales: NDArray[np.float32] = np.maximum(highest, 1e-6) / HIGHEST
    return scales.astype(np.float32)


def int8_output(model: onnx.ModelProto, name: str, scales: NDArray[np.float32]) -> None:
    """Make the output `name` ``(rows, tokens, width)`` int8, with `scales` ``(width,)``.

    Uses separate operators, since OpenVINO's QuantizeLinear has no scales along the last axis.
    """
    graph = model.graph
    for node in graph.node:
        node.output[:] = [f"{name}.exact" if output == name else output for output in node.output]
    steps: NDArray[Any] = 1 / scales.astype(np.float32)
    for suffix, value in (("steps", steps), ("lowest", LOWEST), ("highest", HIGHEST)):
        graph.initializer.append(numpy_helper.from_array(value, f"{name}.{suffix}"))
    make = onnx.helper.make_node
    exact, scaled, rounded, clipped = (
        f"{name}.{suffix}" for suffix in ("exact", "scaled", "rounded", "clipped")
    )
    limits = [f"{name}.lowest", f"{name}.highest"]
    graph.node.append(make("Mul", [exact, f"{name}.steps"], [scaled], scaled))
    graph.node.append(make("Round", [scaled], [rounded], rounded))
    graph.node.append(make("Clip", [rounded, *limits], [clipped], clipped))
    graph.node.append(make("Cast", [clipped], [name], f"{name}.int8", to=onnx.TensorProto.INT8))
    output = next(output for output in graph.output if output.name == name)
    output.type.tensor_type.elem_type = onnx.TensorProto.INT8
    onnx.checker.check_model(model)
