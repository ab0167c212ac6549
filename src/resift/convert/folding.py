"""Constants that can take a factor per channel of a tensor, so that it costs nothing at run time.

Dividing a tensor by factors is free where its maker is linear in constants: the scale and shift of
a LayerNormalization, and the linear side of a gated feed-forward network. All other readers of the
tensor and of these constants would get wrong values, so there must be none. Attention's values
could take factors too, but that gains no time (LOG.md), and weights could not be read back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from resift.convert.products import Graph, Group


@dataclass(frozen=True, slots=True)
class _Source:
    """The constants that make a tensor, and the names of the nodes that read them for it."""

    constants: frozenset[str]
    readers: frozenset[str]


def foldable_constants(graph: Graph, group: Group, products: frozenset[str]) -> frozenset[str]:
    """The constants that can take the factors of a group; none if a tensor has no such.

    `products` are the names of the nodes that multiply the group's tensors by its kernels.
    """
    sources = []
    for tensor in group.tensors:
        is_shared = any(node.name not in products for node in graph.readers[tensor])
        source = None if is_shared or tensor in graph.outputs else _source(graph, tensor)
        if source is None:
            return frozenset()
        sources.append(source)
    constants = frozenset[str]().union(*(source.constants for source in sources))
    readers = frozenset[str]().union(*(source.readers for source in sources))
    others = (node.name for name in constants for node in graph.readers[name])
    return constants if readers.issuperset(others) else frozenset()


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
    """The constants of one width that a node reads."""
    widths = {tuple(graph.dims(name)[-1:]) for name in names}
    if len(widths) != 1 or () in widths:
        return None
    return _Source(frozenset(names), frozenset([node.name]))


def _linear(graph: Graph, tensor: str) -> _Source | None:
    """A product with a constant matrix, with or without bias."""
    maker = graph.makers.get(tensor)
    if maker is None or graph.only_reader(tensor) is None:
        return None
    if maker.op_type == "Add":
        return _biased(graph, maker)
    if maker.op_type == "MatMul" and len(graph.dims(maker.input[1])) == 2:
        return _constants(graph, maker, maker.input[1:])
    return None


def _biased(graph: Graph, node: onnx.NodeProto) -> _Source | None:
    biases = [name for name in node.input if len(graph.dims(name)) == 1]
    if len(biases) != 1:
        return None
    (other,) = (name for name in node.input if name not in biases)
    product = _linear(graph, other)
    if product is None:
        return None
    return _Source(product.constants | {*biases}, product.readers | {node.name})
