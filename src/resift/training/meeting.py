"""The meeting written out as an ONNX graph: the encoder's kind of layers, and late interaction.

What it computes is `network.py`'s `Network.residual`; a test holds the two together.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

from resift.training.graph import EncoderShape, GraphBuilder, Weights, added_mask, finished, layer


def meeting_graph(weights: Weights, shape: EncoderShape) -> onnx.ModelProto:
    """The layers in which query and document meet: both halves' states → what to add to a logit.

    Inputs: ``query_states`` ``(rows, words, layers * dim)`` and ``states`` ``(rows, tokens,
    layers * dim)``, float32, as the encoder's ``layers``; their masks ``query_mask`` and
    ``attention_mask``, and ``query_own`` and ``own``, which leave special tokens out, int64;
    ``logits`` ``(rows,)``, late interaction's. Output: ``residual`` float32 ``(rows,)``: a share of
    what late interaction of the query as it is now would change.
    """
    g = GraphBuilder()
    layers = meeting_layers(weights)
    dim = weights["meeting.layer.0.output.dense.weight"].shape[0]
    mask = added_mask(g, g.node("Concat", "meeting.mask", "query_mask", "attention_mask", axis=1))
    x = _part(g, "query_states", 0, dim)
    for index in range(layers):
        name = f"meeting.layer.{index}"
        below = _part(g, "states", index, dim)
        context = g.node("Concat", f"{name}.context", x, below, axis=1)
        x = layer(g, name, x, context, mask, weights, shape)
    again = _late_interaction(g, x, _part(g, "states", layers, dim), weights)
    change = g.node("Sub", "meeting.change", again, "logits")
    share = g.constant("meeting.share", weights["meeting.share"].astype(np.float32))
    g.node("Mul", "residual", share, change)
    info, width = helper.make_tensor_value_info, (layers + 1) * dim
    inputs = [
        info("query_states", TensorProto.FLOAT, ["rows", "words", width]),
        info("query_mask", TensorProto.INT64, ["rows", "words"]),
        info("query_own", TensorProto.INT64, ["rows", "words"]),
        info("states", TensorProto.FLOAT, ["rows", "tokens", width]),
        info("attention_mask", TensorProto.INT64, ["rows", "tokens"]),
        info("own", TensorProto.INT64, ["rows", "tokens"]),
        info("logits", TensorProto.FLOAT, ["rows"]),
    ]
    return finished(g, inputs, [info("residual", TensorProto.FLOAT, ["rows"])])


def meeting_layers(weights: Weights) -> int:
    """How many layers of meeting a model's weights hold."""
    return len({name.split(".")[2] for name in weights if name.startswith("meeting.layer.")})


def _part(g: GraphBuilder, states: str, index: int, dim: int) -> str:
    """One layer's states of those that lie side by side."""
    ends = (np.array([place * dim], np.int64) for place in (index, index + 1))
    starts, stops = (g.constant(f"columns.{int(own[0])}", own) for own in ends)
    return g.node(
        "Slice",
        f"{states}.{index}",
        states,
        starts,
        stops,
        g.constant("axis.states", np.array([2], np.int64)),
    )


def _late_interaction(g: GraphBuilder, query: str, states: str, weights: Weights) -> str:
    """The logit of `rerank.late_interaction` for a query's states that differ from row to row."""
    units = _unit(g, "meeting.query", query), _unit(g, "meeting.document", states)
    turned = g.node("Transpose", "meeting.document.turned", units[1], perm=[0, 2, 1])
    similar = g.node("MatMul", "meeting.similar", units[0], turned)
    best = (
        _best(g, "meeting.from_query", similar, "own", missing=1),
        _best(g, "meeting.from_document", similar, "query_own", missing=2),
    )
    means = [
        _unit(g, f"meeting.{name}.mean", _masked_mean(g, f"meeting.{name}.pooled", own, mask, 3))
        for name, own, mask in (
            ("query", query, "query_mask"),
            ("document", states, "attention_mask"),
        )
    ]
    last = g.constant("axis.last", np.array([-1], np.int64))
    features = (
        _masked_mean(g, "meeting.query_maxsim", best[0], "query_own"),
        _masked_mean(g, "meeting.document_maxsim", best[1], "own"),
        g.node(
            "ReduceSum", "meeting.cosine", g.node("Mul", "meeting.means", *means), last, keepdims=0
        ),
    )
    logit = g.constant("meeting.bias", weights["bias"].astype(np.float32))
    for feature, weight in zip(features, weights["late"], strict=True):
        own = g.constant(f"{feature}.weight", np.array(weight, np.float32))
        logit = g.node(
            "Add", f"{feature}.sum", logit, g.node("Mul", f"{feature}.part", feature, own)
        )
    return logit


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
    kept = g.node("Where", f"{name}.kept", known, similar, least)
    return g.node("ReduceMax", f"{name}.best", kept, axes[1], keepdims=0)


def _masked_mean(g: GraphBuilder, name: str, values: str, mask: str, rank: int = 2) -> str:
    """Mean over tokens where the mask is 1: of ``(rows, n)``, or of ``(rows, n, dim)``, rank 3."""
    axis = g.constant("axis1", np.array([1], np.int64))
    counted = g.node("Cast", f"{name}.mask", mask, to=TensorProto.FLOAT)
    if rank == 3:
        last = g.constant("axis.last", np.array([-1], np.int64))
        counted = g.node("Unsqueeze", f"{name}.wide", counted, last)
    kept = g.node("Mul", f"{name}.kept", values, counted)
    total = g.node("ReduceSum", f"{name}.total", kept, axis, keepdims=0)
    count = g.node("ReduceSum", f"{name}.count", counted, axis, keepdims=0)
    return g.node("Div", name, total, count)
