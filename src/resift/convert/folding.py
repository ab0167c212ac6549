"""Constants that can take a factor per channel of a tensor, so that it costs nothing at run time.

Dividing a tensor by factors is free where its maker is linear in constants: the scale and shift of
a LayerNormalization, and the linear side of a gated feed-forward network. All other readers of the
tensor and of these constants would get wrong values, so there must be none. Attention's values
could take factors too, but that gains no time (LOG.md), and weights could not be read back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from resift.convert.products import Graph, Group

Columns = Mapping[str, tuple[int, int]]
"""Constant → first and last + 1 of the columns, on its last axis, that belong to a tensor."""


@dataclass(frozen=True, slots=True)
class _Source:
    """The constants that make a tensor, and the names of the nodes that read them for it."""

    columns: Columns
    readers: frozenset[str]


def foldable_columns(graph: Graph, group: Group, products: frozenset[str]) -> Columns | None:
    """The columns that can take the factors of a group, or None if there are no such for a tensor.

    `products` are the names of the nodes that multiply the group's tensors by its kernels.
    """
    columns: dict[str, tuple[int, int]] = {}
    readers: set[str] = set()
    for tensor in group.tensors:
        is_shared = any(node.name not in products for node in graph.readers[tensor])
        source = None if is_shared or tensor in graph.outputs else _source(graph, tensor)
        if source is None:
            return None
        if any(columns.get(name, span) != span for name, span in source.columns.items()):
            return None
        columns |= source.columns
        readers |= source.readers
    others = (node.name for name in columns for node in graph.readers[name])
    return columns if readers.issuperset(others) else None


def _source(graph: Graph, tensor: str) -> _Source | None:
    maker = graph.makers.get(tensor)
    if maker is None:
        return None
    if maker.op_type == "LayerNormalization":
        return _constants(graph, maker, maker.input[1:])
    if maker.op_type == "Mul":
        sides = (_linear(graph, name) for name in maker.input)
        return next((side for side in sides if side is not None), None)
    return None


def _constants(graph: Graph, node: onnx.NodeProto, names: Sequence[str]) -> _Source | None:
    """The columns of constants of one width that a node reads."""
    sizes = [graph.constants[name].dims for name in names if name in graph.constants]
    if len(sizes) < len(names) or len({tuple(dims[-1:]) for dims in sizes}) != 1 or not sizes[0]:
        return None
    return _Source(dict.fromkeys(names, (0, sizes[0][-1])), frozenset([node.name]))


def _linear(graph: Graph, tensor: str) -> _Source | None:
    """A product with a constant matrix, with or without bias, or one part of a split of it."""
    maker = graph.makers.get(tensor)
    if maker is None or graph.only_reader(tensor) is None:
        return None
    if maker.op_type == "Split":
        return _part(graph, maker, tensor)
    if maker.op_type == "Add":
        return _biased(graph, maker)
    if maker.op_type == "MatMul" and len(graph.dims(maker.input[1])) == 2:
        return _constants(graph, maker, maker.input[1:])
    return None


def _biased(graph: Graph, node: onnx.NodeProto) -> _Source | None:
    biases = [name for name in node.input if len(graph.dims(name)) == 1]
    if len(biases) != 1:
        return None
    bias = _constants(graph, node, biases)
    (other,) = (name for name in node.input if name not in biases)
    product = _linear(graph, other)
    if (
        bias is None
        or product is None
        or set(bias.columns.values()) != set(product.columns.values())
    ):
        return None
    return _Source({**product.columns, **bias.columns}, product.readers | bias.readers)


def _part(graph: Graph, node: onnx.NodeProto, tensor: str) -> _Source | None:
    """A part of a split along the last axis; the sizes are equal, or a constant."""
    whole = _linear(graph, node.input[0])
    if whole is None or _axis(node) != -1:
        return None
    ((start, stop),) = set(whole.columns.values())
    count, index = len(node.output), list(node.output).index(tensor)
    sizes = [(stop - start) // count] * count
    if len(node.input) > 1:
        if node.input[1] not in graph.constants:
            return None
        sizes = [int(size) for size in graph.array(node.input[1])]
    if sum(sizes) != stop - start:
        return None
    first = start + sum(sizes[:index])
    return _Source(dict.fromkeys(whole.columns, (first, first + sizes[index])), whole.readers)


def _axis(node: onnx.NodeProto) -> int:
    """The last of three axes counts as -1; other splits are not along channels."""
    axis = next((item.i for item in node.attribute if item.name == "axis"), 0)
    return -1 if axis in (-1, 2) else int(axis)
