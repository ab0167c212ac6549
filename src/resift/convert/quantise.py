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

from resift.convert.graph import check_graph
from resift.convert.products import Floats, Graph, Product, with_graph
from resift.convert.ranges import Ranges, Sample, measure_ranges
from resift.convert.rounding import Int8Kernel, round_kernel
from resift.convert.smooth import Smoothing, smoothing

QUANTISER = "resift 1"
"""Name and version; the version changes with the numbers that the quantiser writes."""

LOWEST, HIGHEST = np.array(-127, np.float32), np.array(127, np.float32)
_STEPS = 255  # between the lowest and the highest uint8
_TINY = 1e-12
_EMPTY = np.zeros((0, 0), np.float32)


def quantise(model: onnx.ModelProto, samples: Sequence[Sample]) -> onnx.ModelProto:
    """Quantise a float32 graph; activation ranges come from `samples`, arrays by input name.

    Raises `InputError` without samples, and for values that are not finite.
    """
    return Quantiser(model, samples).quantised()


class Quantiser:
    """Quantises a float32 graph with any set of layers in float32, from one pass over samples."""

    def __init__(self, model: onnx.ModelProto, samples: Sequence[Sample]) -> None:
        """Measure activation ranges. Raises as `quantise` does."""
        self._model, self._graph = model, Graph(model)
        self._ranges = measure_ranges(model, samples)
        self._kernels: dict[str, tuple[Floats, Int8Kernel]] = {}

    @property
    def work(self) -> dict[str, float]:
        """Layer → multiplications a token."""
        return {
            product.layer: float(np.prod(self._graph.dims(product.kernel)))
            for product in self._graph.products()
        }

    def quantised(self, float_layers: Collection[str] = ()) -> onnx.ModelProto:
        """The int8 graph; `float_layers` stay float32, by name."""
        products = [p for p in self._graph.products() if p.layer not in float_layers]
        writer = self._writer(products)
        by_node = {product.node: product for product in products}
        for node in self._graph.nodes:
            if node.name in by_node:
                writer.multiply(node, by_node[node.name])
            else:
                writer.nodes.append(node)
        outputs = self._model.graph.output
        result = with_graph(self._model, writer.nodes, writer.used_constants(), outputs)
        check_graph(result)
        return result

    def errors(self) -> dict[str, float]:
        """Layer → the expected squared error of its int8 outputs over their mean square."""
        products = self._graph.products()
        writer = self._writer(products)
        return {product.layer: writer.error(product) for product in products}

    def _writer(self, products: Sequence[Product]) -> "_Writer":
        smooth = smoothing(self._graph, self._ranges, products)
        return _Writer(self._graph, self._ranges, smooth, self._kernels)


def uint8_scale(lowest: float, highest: float) -> tuple[np.float32, np.uint8]:
    """The step and the zero point of values in a range; zero itself is always representable."""
    low, high = min(lowest, 0.0), max(highest, 0.0)
    step = np.float32(max((high - low) / _STEPS, _TINY))
    return step, np.uint8(np.clip(round(-low / float(step)), 0, _STEPS))


class _Writer:
    """Collects the nodes and constants of the quantised graph, each rounded tensor once."""

    def __init__(
        self,
        graph: Graph,
        ranges: Ranges,
        smooth: Smoothing,
        kernels: dict[str, tuple[Floats, Int8Kernel]],
    ) -> None:
        """`kernels` has kernels as they were when they were rounded before; it is added to."""
        self.nodes: list[onnx.NodeProto] = []
        self._graph, self._ranges, self._smooth = graph, ranges, smooth
        self._constants = dict(graph.constants)
        for name in smooth.divisors:
            self._constant(name, smooth.folded(graph, name))
        self._kernels = kernels
        self._rounded: set[str] = set()

    def multiply(self, node: onnx.NodeProto, product: Product) -> None:
        """Add a product of int8 values in place of the float32 `node`."""
        replacement = onnx.NodeProto()
        replacement.CopyFrom(node)
        replacement.input[:] = [self._activations(product.tensor), self._weights(product)]
        self.nodes.append(replacement)

    def error(self, product: Product) -> float:
        """The expected squared error of a product's outputs, as a share of their mean square."""
        factors = self._smooth.factors[product.tensor]
        rounded = self._kernel(product).values
        step, _ = uint8_scale(*self._ranges.span(product.tensor, factors))
        inputs = self._ranges.products[product.tensor]
        kernel = self._smooth.folded(self._graph, product.kernel)
        lost = kernel - rounded / factors[:, None]
        of_weights, size = (((inputs @ x) * x).sum() for x in (lost, kernel))
        of_activations = step**2 / 12 * (rounded**2).sum()
        return float((of_weights + of_activations) / max(size, _TINY))

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
        if rounded in self._rounded:
            return rounded
        self._rounded.add(rounded)
        kernel = self._kernel(product)
        parts = (
            self._constant(f"{name}.int8", kernel.codes),
            self._constant(f"{name}.steps", kernel.steps),
            self._constant(f"{name}.zeros", np.zeros(len(kernel.steps), np.int8)),
        )
        return self._node("DequantizeLinear", rounded, *parts, axis=1)

    def _kernel(self, product: Product) -> Int8Kernel:
        """A kernel rounded for its first product's inputs, or as it was rounded before."""
        kernel = self._smooth_kernel(product)
        exact, rounded = self._kernels.get(product.kernel, (_EMPTY, None))
        if rounded is None or not np.array_equal(exact, kernel):
            rounded = self._round(product, kernel)
            self._kernels[product.kernel] = kernel, rounded
        return rounded

    def _round(self, product: Product, kernel: Floats) -> Int8Kernel:
        factors = self._smooth.factors[product.tensor]
        return round_kernel(
            kernel, self._ranges.products[product.tensor] / np.outer(factors, factors)
        )

    def _smooth_kernel(self, product: Product) -> Floats:
        kernel = self._smooth.folded(self._graph, product.kernel)
        result: Floats = kernel * self._smooth.factors[product.tensor][:, None]
        return result


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
    check_graph(model)
