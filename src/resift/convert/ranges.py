"""Ranges of the activations that quantised products read, measured on samples in a float32 graph.

The extremes of every channel, and on a few samples the mean products of every two, are computed
inside the graph, so only small arrays leave it. They serve any set of layers that stay float32.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from resift.convert.graph import save_graph
from resift.convert.products import Floats, Graph, distinct_tensors, with_graph
from resift.errors import InputError
from resift.rerank.batching import TOKEN_BUDGET
from resift.rerank.runtimes import open_session

Sample = Mapping[str, NDArray[Any]]

_EXTREMES = ("lows", "highs")
_PRODUCTS = ("products", "counts")
_PRODUCT_SAMPLES = 24  # some 3,000 tokens; more change nothing
_MASK = "mask"  # inputs whose names end in it are 1 for a token and 0 for padding


@dataclass(frozen=True, slots=True)
class Ranges:
    """By tensor: minimum and maximum of each channel, ``(channels,)``.

    `products` has the mean products of every two channels, ``(channels, channels)``.
    """

    lows: Mapping[str, Floats]
    highs: Mapping[str, Floats]
    products: Mapping[str, Floats]

    def largest(self, tensor: str) -> Floats:
        """The largest absolute value of each channel, ``(channels,)``."""
        result: Floats = np.maximum(np.abs(self.lows[tensor]), np.abs(self.highs[tensor]))
        return result

    def span(self, tensor: str, factors: Floats) -> tuple[float, float]:
        """The lowest and the highest value of a tensor that is divided by `factors`."""
        lows, highs = self.lows[tensor] / factors, self.highs[tensor] / factors
        return float(lows.min()), float(highs.max())


def measure_ranges(model: onnx.ModelProto, samples: Sequence[Sample]) -> Ranges:
    """Run a float32 graph over `samples`, arrays by input name.

    Raises `InputError` without samples, and for values that are not finite.
    """
    if not samples:
        raise InputError("no samples to measure activation ranges on; expected at least one")
    tensors = distinct_tensors(Graph(model).products())
    chosen = samples[:: max(len(samples) // _PRODUCT_SAMPLES, 1)][:_PRODUCT_SAMPLES]
    extremes = _combined(model, tensors, samples, _EXTREMES)
    sums = _combined(model, tensors, chosen, _PRODUCTS)
    products = {name: sums["products"][name] / sums["counts"][name] for name in tensors}
    for tensor, values in products.items():
        if not np.isfinite(values).all():
            raise InputError(f"{tensor}: its values are not finite; expected a float32 model")
    return Ranges(**extremes, products=products)


def _combined(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    samples: Sequence[Sample],
    measures: Sequence[str],
) -> dict[str, dict[str, Floats]]:
    """Measure → tensor → its value over all samples; the graph computes it for each batch."""
    combine = {"lows": np.minimum, "highs": np.maximum, "products": np.add, "counts": np.add}
    result: dict[str, dict[str, Floats]] = {measure: {} for measure in measures}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ranges.onnx"
        save_graph(_measuring(model, tensors, measures), file)
        session = open_session(file)
        for batch in _batches(model, samples):
            outputs = session.run(batch)
            for measure in measures:
                for tensor in tensors:
                    value, before = outputs[f"{tensor}.{measure}"], result[measure].get(tensor)
                    total = value if before is None else combine[measure](before, value)
                    result[measure][tensor] = total
    return result


def _measuring(
    model: onnx.ModelProto, tensors: Sequence[str], measures: Sequence[str]
) -> onnx.ModelProto:
    """The graph with measures of its tensors as outputs instead of its own outputs."""
    graph = Graph(model)
    width = {product.tensor: graph.dims(product.kernel)[0] for product in graph.products()}
    nodes, outputs = list(graph.nodes), []
    constants = [numpy_helper.from_array(np.array([0], np.int64), "ranges.axis")]
    for tensor in tensors:
        size, rows, shape = width[tensor], f"{tensor}.rows", f"{tensor}.rows.shape"
        constants.append(numpy_helper.from_array(np.array([-1, size], np.int64), shape))
        nodes.append(helper.make_node("Reshape", [tensor, shape], [rows]))
        sizes = {"lows": [size], "highs": [size], "products": [size, size], "counts": [1]}
        for measure in measures:
            name = f"{tensor}.{measure}"
            nodes.extend(_measure(measure, rows, name))
            info = helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes[measure])
            outputs.append(info)
    return with_graph(model, nodes, [*model.graph.initializer, *constants], outputs)


def _measure(measure: str, rows: str, name: str) -> Iterator[onnx.NodeProto]:
    """The nodes that compute a measure `name` of ``(rows, channels)``."""
    if measure in _EXTREMES:
        operator = "ReduceMin" if measure == "lows" else "ReduceMax"
        yield helper.make_node(operator, [rows, "ranges.axis"], [name], keepdims=0)
    elif measure == "products":
        yield helper.make_node("Transpose", [rows], [f"{name}.turned"], perm=[1, 0])
        yield helper.make_node("MatMul", [f"{name}.turned", rows], [name])
    else:
        yield helper.make_node("Shape", [rows], [f"{name}.whole"], start=0, end=1)
        yield helper.make_node("Cast", [f"{name}.whole"], [name], to=TensorProto.FLOAT)


def _batches(model: onnx.ModelProto, samples: Sequence[Sample]) -> Iterator[Sample]:
    """Samples of equal shapes in batches, without padding."""
    sizes = {
        port.name: [size.dim_param for size in port.type.tensor_type.shape.dim]
        for port in model.graph.input
    }
    by_shape: dict[tuple[Any, ...], list[Sample]] = defaultdict(list)
    for sample in samples:
        arrays = {name: sample[name] for name in sizes}
        key = tuple(array.shape[1:] for array in arrays.values())
        by_shape[key].append(_filled(arrays, sizes))
    for shapes, group in by_shape.items():
        positions = max((shape[0] for shape in shapes if shape), default=1)
        count = max(TOKEN_BUDGET // positions, 1)
        for start in range(0, len(group), count):
            rows = group[start : start + count]
            yield {name: np.concatenate([row[name] for row in rows]) for name in sizes}


def _filled(sample: Sample, sizes: Mapping[str, Sequence[str]]) -> Sample:
    """A sample with tokens in place of padding, whose values would widen the ranges.

    The tokens from the front are repeated in all inputs that have the masked dimension. Shapes stay
    as they are, since a graph may need lengths of a certain multiple.
    """
    result = dict(sample)
    for mask, (*_, dimension) in sizes.items():
        if not mask.endswith(_MASK):
            continue
        for row, used in enumerate(sample[mask].astype(bool).sum(axis=-1)):
            for name, names in sizes.items():
                if dimension in names[1:2] and used:
                    result[name] = result[name].copy()
                    positions = np.arange(result[name].shape[1]) % used
                    result[name][row] = sample[name][row][positions]
    return result
