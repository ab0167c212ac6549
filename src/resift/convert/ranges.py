"""Ranges of the activations that quantised products read: one pass of a float32 graph over samples.

The minimum, maximum and mean of every channel are computed inside the graph, so only small arrays
leave it, and one pass serves any set of layers that stay float32 later.
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

_REDUCTIONS = {"lows": "ReduceMin", "highs": "ReduceMax", "means": "ReduceMean"}
_PRODUCTS = "products"
_COVARIANCE_SAMPLES = 24  # some 3,000 tokens; more change nothing
_MASK = "mask"  # inputs whose names end in it are 1 for a token and 0 for padding


@dataclass(frozen=True, slots=True)
class Ranges:
    """By tensor: minimum, maximum and mean of each channel in each row, ``(rows, channels)``.

    `covariances` has those of every two channels, ``(channels, channels)``.
    """

    lows: Mapping[str, Floats]
    highs: Mapping[str, Floats]
    means: Mapping[str, Floats]
    covariances: Mapping[str, Floats]

    def largest(self, tensor: str) -> Floats:
        """The largest absolute value of each channel, ``(channels,)``."""
        lows, highs = self.lows[tensor].min(axis=0), self.highs[tensor].max(axis=0)
        result: Floats = np.maximum(np.abs(lows), np.abs(highs))
        return result

    def span(self, tensor: str, factors: Floats) -> tuple[float, float]:
        """The lowest and the highest value of a tensor that is divided by `factors`."""
        lows, highs = self.lows[tensor].min(axis=0), self.highs[tensor].max(axis=0)
        return float((lows / factors).min()), float((highs / factors).max())

    def mean(self, tensor: str) -> Floats:
        """The mean of each channel, ``(channels,)``."""
        result: Floats = self.means[tensor].mean(axis=0)
        return result


def measure_ranges(model: onnx.ModelProto, samples: Sequence[Sample]) -> Ranges:
    """Run a float32 graph over `samples`, arrays by input name.

    Raises `InputError` without samples, and for values that are not finite.
    """
    if not samples:
        raise InputError("no samples to measure activation ranges on; expected at least one")
    tensors = distinct_tensors(Graph(model).products())
    parts: dict[str, list[Floats]] = defaultdict(list)
    names = [f"{tensor}.{key}" for tensor in tensors for key in _REDUCTIONS]
    for outputs in _run(model, tensors, samples, names):
        for name, values in outputs.items():
            parts[name].append(values)
    by_key = {
        key: {tensor: np.concatenate(parts[f"{tensor}.{key}"]) for tensor in tensors}
        for key in _REDUCTIONS
    }
    for tensor, means in by_key["means"].items():
        if not np.isfinite(means).all():
            raise InputError(f"{tensor}: its values are not finite; expected a float32 model")
    return Ranges(**by_key, covariances=_covariances(model, tensors, samples))


def _covariances(
    model: onnx.ModelProto, tensors: Sequence[str], samples: Sequence[Sample]
) -> dict[str, Floats]:
    """Covariances of every two channels over the tokens of some samples, evenly spread."""
    chosen = samples[:: max(len(samples) // _COVARIANCE_SAMPLES, 1)][:_COVARIANCE_SAMPLES]
    names = [f"{tensor}.{key}" for tensor in tensors for key in (_PRODUCTS, "means")]
    sums: dict[str, Floats] = {}
    for outputs in _run(model, tensors, chosen, names):
        for name, values in outputs.items():
            total = values if name.endswith(_PRODUCTS) else values.sum(axis=0)
            sums[name] = sums[name] + total if name in sums else total
    result = {}
    for tensor in tensors:
        mean = sums[f"{tensor}.means"] / len(chosen)
        products = sums[f"{tensor}.{_PRODUCTS}"] / np.float32(len(chosen))
        result[tensor] = (products - np.outer(mean, mean)).astype(np.float32)
    return result


def _run(
    model: onnx.ModelProto, tensors: Sequence[str], samples: Sequence[Sample], names: Sequence[str]
) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Yield the outputs `names` of each batch, which are computed in the graph."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ranges.onnx"
        save_graph(_measuring(model, tensors, names), file)
        session = open_session(file)
        for batch in _batches(model, samples):
            yield session.run(batch, names)


def _measuring(
    model: onnx.ModelProto, tensors: Sequence[str], names: Sequence[str]
) -> onnx.ModelProto:
    """The graph with the outputs `names` of its tensors instead of its outputs."""
    graph = Graph(model)
    width = {product.tensor: graph.dims(product.kernel)[0] for product in graph.products()}
    nodes, outputs = list(graph.nodes), []
    axes = {"ranges.axis": 1, "ranges.first": 0}
    constants = [numpy_helper.from_array(np.array([n], np.int64), key) for key, n in axes.items()]
    for tensor in tensors:
        size, rows, shape = width[tensor], f"{tensor}.rows", f"{tensor}.rows.shape"
        constants.append(numpy_helper.from_array(np.array([0, -1, size], np.int64), shape))
        nodes.append(helper.make_node("Reshape", [tensor, shape], [rows]))
        sizes: dict[str, list[str | int | None]] = {
            f"{tensor}.{key}": ["rows", size] for key in _REDUCTIONS
        }
        for name in sizes.keys() & set(names):
            operator = _REDUCTIONS[name.removeprefix(f"{tensor}.")]
            nodes.append(helper.make_node(operator, [rows, "ranges.axis"], [name], keepdims=0))
        sizes[f"{tensor}.{_PRODUCTS}"] = [size, size]
        if f"{tensor}.{_PRODUCTS}" in names:
            nodes.extend(_products_of(rows, f"{tensor}.{_PRODUCTS}"))
        for name in sizes.keys() & set(names):
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes[name]))
    return with_graph(model, nodes, [*model.graph.initializer, *constants], outputs)


def _products_of(rows: str, name: str) -> Iterator[onnx.NodeProto]:
    """Mean products of channels over the tokens of a row, summed over rows."""
    yield helper.make_node("Transpose", [rows], [f"{name}.turned"], perm=[0, 2, 1])
    yield helper.make_node("MatMul", [f"{name}.turned", rows], [f"{name}.sums"])
    yield helper.make_node("Shape", [rows], [f"{name}.count"], start=1, end=2)
    yield helper.make_node("Cast", [f"{name}.count"], [f"{name}.tokens"], to=TensorProto.FLOAT)
    yield helper.make_node("Div", [f"{name}.sums", f"{name}.tokens"], [f"{name}.by.row"])
    yield helper.make_node("ReduceSum", [f"{name}.by.row", "ranges.first"], [name], keepdims=0)


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
