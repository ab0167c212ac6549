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

from resift.convert.products import Floats, Graph, distinct_tensors, with_graph
from resift.errors import InputError
from resift.rerank.batching import TOKEN_BUDGET
from resift.rerank.runtimes import open_session

Sample = Mapping[str, NDArray[Any]]

_REDUCTIONS = {
    "lows": "ReduceMin",
    "highs": "ReduceMax",
    "means": "ReduceMean",
    "squares": "ReduceMean",
}
_MASK = "mask"  # inputs whose names end in it are 1 for a token and 0 for padding


@dataclass(frozen=True, slots=True)
class Ranges:
    """By tensor: each channel's minimum, maximum, mean and mean square, ``(rows, channels)``."""

    lows: Mapping[str, Floats]
    highs: Mapping[str, Floats]
    means: Mapping[str, Floats]
    squares: Mapping[str, Floats]

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
    parts: dict[str, dict[str, list[Floats]]] = {key: defaultdict(list) for key in _REDUCTIONS}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ranges.onnx"
        onnx.save(_with_reductions(model, tensors), str(file))
        session = open_session(file)
        names = [f"{tensor}.{key}" for tensor in tensors for key in _REDUCTIONS]
        for batch in _batches(model, samples):
            outputs = session.run(batch, names)
            for tensor in tensors:
                for key, values in parts.items():
                    values[tensor].append(outputs[f"{tensor}.{key}"])
    stacked = {
        key: {tensor: np.concatenate(arrays) for tensor, arrays in values.items()}
        for key, values in parts.items()
    }
    for tensor, means in stacked["means"].items():
        if not np.isfinite(means).all():
            raise InputError(f"{tensor}: its values are not finite; expected a float32 model")
    return Ranges(**stacked)


def _with_reductions(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """The graph with three outputs ``(rows, channels)`` a tensor instead of its outputs."""
    graph = Graph(model)
    width = {
        product.tensor: graph.constants[product.kernel].dims[0] for product in graph.products()
    }
    nodes, outputs = list(graph.nodes), []
    constants = [numpy_helper.from_array(np.array([1], np.int64), "ranges.axis")]
    for tensor in tensors:
        rows, shape = f"{tensor}.by.row", f"{tensor}.by.row.shape"
        constants.append(numpy_helper.from_array(np.array([0, -1, width[tensor]], np.int64), shape))
        nodes.append(helper.make_node("Reshape", [tensor, shape], [rows]))
        nodes.append(helper.make_node("Mul", [rows, rows], [f"{rows}.squared"]))
        for key, operator in _REDUCTIONS.items():
            name = f"{tensor}.{key}"
            values = f"{rows}.squared" if key == "squares" else rows
            nodes.append(helper.make_node(operator, [values, "ranges.axis"], [name], keepdims=0))
            sizes = ["rows", width[tensor]]
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes))
    return with_graph(model, nodes, [*model.graph.initializer, *constants], outputs)


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
