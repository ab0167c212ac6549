"""Late interaction written out as an ONNX graph: two sets of token states → three numbers.

What it computes is `rerank.late_interaction.features`; a test holds the two together. In a graph,
because numpy's products wake threads of their own, which then fight the runtime's for the cores
(a batch took twice as long, LOG.md), and because states that are kept in int8 are widened there.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from resift.convert.graph import GraphBuilder, finished

Scales = NDArray[np.float32]
"""What an int8 state of each layer and column is multiplied by, ``(layers, dim)``."""


def late_graph(layers: int, dim: int, scales: Scales | None = None) -> onnx.ModelProto:
    """Late interaction over what an encoder keeps of both halves.

    Inputs: ``query_states`` ``(rows, words, layers * dim)`` and ``states`` ``(rows, tokens,
    layers * dim)``, the deepest layer last, float32, or int8 where there are `scales`; their masks
    ``query_mask`` and ``attention_mask``, and ``query_own`` and ``own``, which leave special tokens
    out, int64. Outputs: ``features`` float32 ``(rows, 3)``, and the document's unit mean state,
    ``means``, ``(rows, dim)``.
    """
    g = GraphBuilder()
    last = layers - 1
    query = part(g, "query_states", last, dim, scales)
    document = part(g, "states", last, dim, scales)
    found, mean = features(g, "late", query, document)
    axis = g.constant("axis1", np.array([1], np.int64))
    columns = [g.node("Unsqueeze", f"{own}.column", own, axis) for own in found]
    g.node("Concat", "features", *columns, axis=1)
    g.node("Identity", "means", mean)
    info = helper.make_tensor_value_info
    return finished(
        g,
        halves(layers * dim, scales),
        [
            info("features", TensorProto.FLOAT, ["rows", 3]),
            info("means", TensorProto.FLOAT, ["rows", dim]),
        ],
    )


def halves(width: int, scales: Scales | None) -> list[onnx.ValueInfoProto]:
    """The inputs of every graph in which a query meets documents."""
    info, kind = (
        helper.make_tensor_value_info,
        TensorProto.FLOAT if scales is None else TensorProto.INT8,
    )
    return [
        info("query_states", kind, ["rows", "words", width]),
        info("query_mask", TensorProto.INT64, ["rows", "words"]),
        info("query_own", TensorProto.INT64, ["rows", "words"]),
        info("states", kind, ["rows", "tokens", width]),
        info("attention_mask", TensorProto.INT64, ["rows", "tokens"]),
        info("own", TensorProto.INT64, ["rows", "tokens"]),
    ]


def part(g: GraphBuilder, states: str, index: int, dim: int, scales: Scales | None) -> str:
    """One layer's states of those that lie side by side, as float32."""
    ends = (np.array([place * dim], np.int64) for place in (index, index + 1))
    starts, stops = (g.constant(f"columns.{int(own[0])}", own) for own in ends)
    axis = g.constant("axis.states", np.array([2], np.int64))
    cut = g.node("Slice", f"{states}.{index}", states, starts, stops, axis)
    if scales is None:
        return cut
    wide = g.node("Cast", f"{states}.{index}.wide", cut, to=TensorProto.FLOAT)
    scale = g.constant(f"states.{index}.scale", scales[index])
    return g.node("Mul", f"{states}.{index}.states", wide, scale)


def features(g: GraphBuilder, name: str, query: str, states: str) -> tuple[list[str], str]:
    """The names of MaxSim both ways and the cosine, ``(rows,)`` each, and of the document's mean.

    The query's states may differ from row to row.
    """
    units = _unit(g, f"{name}.query", query), _unit(g, f"{name}.document", states)
    turned = g.node("Transpose", f"{name}.document.turned", units[1], perm=[0, 2, 1])
    similar = g.node("MatMul", f"{name}.similar", units[0], turned)
    best = (
        _best(g, f"{name}.from_query", similar, "own", missing=1),
        _best(g, f"{name}.from_document", similar, "query_own", missing=2),
    )
    means = [
        _unit(g, f"{name}.{half}.mean", _masked_mean(g, f"{name}.{half}.pooled", own, mask, 3))
        for half, own, mask in (
            ("query", query, "query_mask"),
            ("document", states, "attention_mask"),
        )
    ]
    last = g.constant("axis.last", np.array([-1], np.int64))
    return [
        _masked_mean(g, f"{name}.query_maxsim", best[0], "query_own"),
        _masked_mean(g, f"{name}.document_maxsim", best[1], "own"),
        g.node(
            "ReduceSum",
            f"{name}.cosine",
            g.node("Mul", f"{name}.means", *means),
            last,
            keepdims=0,
        ),
    ], means[1]


def _unit(g: GraphBuilder, name: str, states: str) -> str:
    """Vectors of length one along the last axis."""
    last = g.constant("axis.last", np.array([-1], np.int64))
    norm = g.node("ReduceL2", f"{name}.norm", states, last, keepdims=1)
    tiny = g.constant("tiny", np.array(1e-12, np.float32))
    return g.node("Div", f"{name}.unit", states, g.node("Max", f"{name}.floor", norm, tiny))


def _best(g: GraphBuilder, name: str, similar: str, own: str, missing: int) -> str:
    """The highest of ``(rows, words, tokens)`` over that side's own tokens, ``(rows, n)``.

    `missing` is the axis that `own` does not have: 1 where it is the document's.
    """
    axes = [g.constant(f"axis{n}", np.array([n], np.int64)) for n in (missing, 3 - missing)]
    wide = g.node("Unsqueeze", f"{name}.wide", own, axes[0])
    known = g.node("Cast", f"{name}.known", wide, to=TensorProto.BOOL)
    least = g.constant("least", np.array(-1.0, np.float32))
    kept = g.node("Where", f"{name}.precomputed", known, similar, least)
    return g.node("ReduceMax", f"{name}.best", kept, axes[1], keepdims=0)


def _masked_mean(g: GraphBuilder, name: str, values: str, mask: str, rank: int = 2) -> str:
    """Mean over tokens where the mask is 1: of ``(rows, n)``, or of ``(rows, n, dim)``, rank 3."""
    axis = g.constant("axis1", np.array([1], np.int64))
    counted = g.node("Cast", f"{name}.mask", mask, to=TensorProto.FLOAT)
    if rank == 3:
        last = g.constant("axis.last", np.array([-1], np.int64))
        counted = g.node("Unsqueeze", f"{name}.wide", counted, last)
    kept = g.node("Mul", f"{name}.precomputed", values, counted)
    total = g.node("ReduceSum", f"{name}.total", kept, axis, keepdims=0)
    count = g.node("ReduceSum", f"{name}.count", counted, axis, keepdims=0)
    return g.node("Div", name, total, count)
