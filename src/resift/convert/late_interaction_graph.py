"""Late interaction and the cross-attention layers above it as ONNX graphs.

`late_graph` computes `rerank.late_interaction.features`, `cross_attention_graph` computes
`training.network.Network.residual`; tests compare them. Late interaction is a graph rather than
numpy because numpy's matrix products start threads that compete with those of the runtime (batches
took twice as long, LOG.md), and because it converts int8 token states to float32.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from resift.convert.graph import MASKED, GraphBuilder, Weights, additive_mask, checked_model
from resift.convert.layers import EncoderShape, layer
from resift.convert.stages import unit_vectors

# Input names in the bundled ONNX files: masks of tokens that are neither padding nor special.
QUERY_CONTENT, CONTENT = "query_own", "own"

Scales = NDArray[np.float32]
"""The size of an int8 step, per layer and column of the token states: ``(layers, dim)``."""


def maxsim_graph(
    dim: int, scales: Scales | None = None, *, is_mean: bool = False
) -> onnx.ModelProto:
    """MaxSim of multi-vector models: the sum of the query tokens' best cosines, or their mean.

    Inputs are token vectors ``query_states`` ``(rows, words, dim)`` and ``states`` ``(rows, tokens,
    dim)``, float32, or int8 with `scales` ``(dim,)``; ``query_own`` and ``own`` are 1 for tokens to
    compare. The output is ``logits`` ``(rows,)``.
    """
    g = GraphBuilder()
    by_layer = None if scales is None else scales[None]
    query, document = (
        unit_vectors(g, f"maxsim.{states}", _layer_states(g, states, 0, dim, by_layer))
        for states in ("query_states", "states")
    )
    turned = g.node("Transpose", "maxsim.turned", document, perm=[0, 2, 1])
    cosines = g.node("MatMul", "maxsim.cosines", query, turned)
    best = _best(g, "maxsim", cosines, CONTENT, axis=2)
    if is_mean:
        g.node("Identity", "logits", _masked_mean(g, "maxsim.mean", best, QUERY_CONTENT))
    else:
        counted = g.node("Cast", "maxsim.query.mask", QUERY_CONTENT, to=TensorProto.FLOAT)
        masked = g.node("Mul", "maxsim.counted", best, counted)
        g.node("ReduceSum", "logits", masked, g.integers(1), keepdims=0)
    states = {"query_states", QUERY_CONTENT, "states", CONTENT}
    inputs = [port for port in _inputs(dim, scales) if port.name in states]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows"])
    return checked_model(g, inputs, [output])


@dataclass(frozen=True, slots=True)
class TermColumns:
    """The term states after the layers in a token's states: `dim` columns.

    `scales` ``(dim,)`` are the steps of int8 states, None for float states.
    """

    dim: int
    scales: Scales | None = None


def late_graph(
    layers: int, dim: int, scales: Scales | None = None, terms: TermColumns | None = None
) -> onnx.ModelProto:
    """Late interaction of a query with documents, on the last of the `layers` in their states.

    Inputs are those of `_inputs` and, with `terms`, those of `_term_inputs`. Outputs: ``features``
    ``(rows, 3)``, in the order of `rerank.late_interaction.FEATURES`, with `terms` one more, and
    ``means``, the documents' unit means ``(rows, dim)``.
    """
    g = GraphBuilder()
    query, document = (
        _layer_states(g, states, layers - 1, dim, scales) for states in ("query_states", "states")
    )
    values, mean = _features(g, "late", query, document)
    inputs = _inputs(_width(layers, dim, terms), scales)
    if terms is not None:
        values = [*values, _term_feature(g, layers * dim, terms)]
        inputs += _term_inputs(terms.dim)
    axis = g.constant("axis1", np.array([1], np.int64))
    columns = [g.node("Unsqueeze", f"{value}.column", value, axis) for value in values]
    g.node("Concat", "features", *columns, axis=1)
    g.node("Identity", "means", mean)
    info = helper.make_tensor_value_info
    outputs = [
        info("features", TensorProto.FLOAT, ["rows", len(values)]),
        info("means", TensorProto.FLOAT, ["rows", dim]),
    ]
    return checked_model(g, inputs, outputs)


def _width(layers: int, dim: int, terms: TermColumns | None) -> int:
    return layers * dim + (terms.dim if terms else 0)


def _term_inputs(dim: int) -> list[onnx.ValueInfoProto]:
    """The terms of each row's query (`rerank.terms.QueryTerms`)."""
    info, kind = helper.make_tensor_value_info, TensorProto.FLOAT
    return [
        info("terms", kind, ["rows", "words_of_query", dim]),
        info("term_biases", kind, ["rows", "words_of_query"]),
        info("term_shares", kind, ["rows", "words_of_query"]),
    ]


def _term_feature(g: GraphBuilder, start: int, terms: TermColumns) -> str:
    """The document's weights of the query's terms, averaged by the query's shares: ``(rows,)``."""
    edges = (
        g.constant(f"columns.{n}", np.array([n], np.int64)) for n in (start, start + terms.dim)
    )
    axis = g.constant("axis.states", np.array([2], np.int64))
    states = g.node("Slice", "terms.states", "states", *edges, axis)
    if terms.scales is not None:
        wide = g.node("Cast", "terms.cast", states, to=TensorProto.FLOAT)
        states = g.node("Mul", "terms.exact", wide, g.constant("terms.scale", terms.scales))
    turned = g.node("Transpose", "terms.turned", states, perm=[0, 2, 1])
    logits = g.node("MatMul", "terms.logits", "terms", turned)
    best = _best(g, "terms", logits, "attention_mask", axis=2, lowest=MASKED)
    active = g.node("Relu", "terms.active", g.node("Add", "terms.biased", best, "term_biases"))
    unit = g.constant("one", np.array(1, np.float32))
    weights = g.node("Log", "terms.weights", g.node("Add", "terms.more", active, unit))
    shared = g.node("Mul", "terms.shared", weights, "term_shares")
    return g.node("ReduceSum", "terms.feature", shared, g.integers(1), keepdims=0)


def cross_attention_graph(
    weights: Weights,
    shape: EncoderShape,
    scales: Scales | None = None,
    terms: TermColumns | None = None,
) -> onnx.ModelProto:
    """The cross-attention layers: token states of query and document → a change of the logit.

    Inputs are those of `_inputs` and, without `terms`, late interaction's ``logits`` ``(rows,)``.
    The output is ``residual`` float32 ``(rows,)``: a fixed share of the difference between late
    interaction's logit of the new query states and that of the old ones. With `terms` the graph
    computes the second one as well, because the first stage's logit then contains the terms.
    """
    g = GraphBuilder()
    layers = count_cross_attention_layers(weights)
    dim = weights["cross_attention.layer.0.output.dense.weight"].shape[0]
    both = g.node("Concat", "cross_attention.mask", "query_mask", "attention_mask", axis=1)
    mask = additive_mask(g, both)
    x = _layer_states(g, "query_states", 0, dim, scales)
    for index in range(layers):
        name = f"cross_attention.layer.{index}"
        document = _layer_states(g, "states", index, dim, scales)
        context = g.node("Concat", f"{name}.context", x, document, axis=1)
        x = layer(g, name, x, context, mask, weights, shape)
    document = _layer_states(g, "states", layers, dim, scales)
    new_logit = _logit(g, "cross_attention", x, document, weights)
    info = helper.make_tensor_value_info
    inputs = _inputs(_width(layers + 1, dim, terms), scales)
    if terms is None:
        old_logit = "logits"
        inputs.append(info("logits", TensorProto.FLOAT, ["rows"]))
    else:
        old_logit = late_logit(g, layers, dim, scales, weights)
    change = g.node("Sub", "cross_attention.change", new_logit, old_logit)
    share = weights["cross_attention.share"].astype(np.float32)
    g.node("Mul", "residual", g.constant("cross_attention.share", share), change)
    return checked_model(g, inputs, [info("residual", TensorProto.FLOAT, ["rows"])])


def late_logit(
    g: GraphBuilder, layer: int, dim: int, scales: Scales | None, weights: Weights
) -> str:
    """Late interaction's logit of the states of a layer, ``(rows,)``, without terms."""
    query, document = (
        _layer_states(g, states, layer, dim, scales) for states in ("query_states", "states")
    )
    return _logit(g, "late", query, document, weights)


def count_cross_attention_layers(weights: Weights) -> int:
    """The number of cross-attention layers in a model's weights; 0 for a plain encoder."""
    prefix = "cross_attention.layer."
    return len({name.split(".")[2] for name in weights if name.startswith(prefix)})


def _logit(g: GraphBuilder, name: str, query: str, states: str, weights: Weights) -> str:
    """Late interaction's logit, with different query states in each row."""
    values, _ = _features(g, name, query, states)
    logit = g.constant(f"{name}.bias", weights["bias"].astype(np.float32))
    for feature, weight in zip(values, weights["late"], strict=True):
        factor = g.constant(f"{feature}.weight", np.array(weight, np.float32))
        scaled = g.node("Mul", f"{feature}.part", feature, factor)
        logit = g.node("Add", f"{feature}.sum", logit, scaled)
    return logit


def _inputs(width: int, scales: Scales | None) -> list[onnx.ValueInfoProto]:
    """Token states of queries ``(rows, words, width)`` and documents ``(rows, tokens, width)``.

    Each has two int64 masks: tokens that are not padding, and content tokens.
    """
    info = helper.make_tensor_value_info
    kind = TensorProto.FLOAT if scales is None else TensorProto.INT8
    query, document = ["rows", "words"], ["rows", "tokens"]
    return [
        info("query_states", kind, [*query, width]),
        info("query_mask", TensorProto.INT64, query),
        info(QUERY_CONTENT, TensorProto.INT64, query),
        info("states", kind, [*document, width]),
        info("attention_mask", TensorProto.INT64, document),
        info(CONTENT, TensorProto.INT64, document),
    ]


def _layer_states(g: GraphBuilder, states: str, index: int, dim: int, scales: Scales | None) -> str:
    """One layer's columns of token states, as float32; the second call gives the same tensor."""
    last = f"{states}.{index}" if scales is None else f"{states}.{index}.states"
    if g.has(last):
        return last
    edges = (index * dim, (index + 1) * dim)
    start, stop = (g.constant(f"columns.{n}", np.array([n], np.int64)) for n in edges)
    axis = g.constant("axis.states", np.array([2], np.int64))
    part = g.node("Slice", f"{states}.{index}", states, start, stop, axis)
    if scales is None:
        return part
    wide = g.node("Cast", f"{states}.{index}.wide", part, to=TensorProto.FLOAT)
    scale = g.constant(f"states.{index}.scale", scales[index])
    return g.node("Mul", f"{states}.{index}.states", wide, scale)


def _features(g: GraphBuilder, name: str, query: str, states: str) -> tuple[list[str], str]:
    """MaxSim in both directions and the cosine, ``(rows,)`` each, and the document's unit mean."""
    units = unit_vectors(g, f"{name}.query", query), unit_vectors(g, f"{name}.document", states)
    turned = g.node("Transpose", f"{name}.document.turned", units[1], perm=[0, 2, 1])
    cosines = g.node("MatMul", f"{name}.similar", units[0], turned)
    from_query = _best(g, f"{name}.from_query", cosines, CONTENT, axis=2)
    from_document = _best(g, f"{name}.from_document", cosines, QUERY_CONTENT, axis=1)
    means = [
        unit_vectors(
            g, f"{name}.{side}.mean", _masked_mean(g, f"{name}.{side}.pooled", x, mask, rank=3)
        )
        for side, x, mask in (
            ("query", query, "query_mask"),
            ("document", states, "attention_mask"),
        )
    ]
    last = g.constant("axis.last", np.array([-1], np.int64))
    product = g.node("Mul", f"{name}.means", *means)
    return [
        _masked_mean(g, f"{name}.query_maxsim", from_query, QUERY_CONTENT),
        _masked_mean(g, f"{name}.document_maxsim", from_document, CONTENT),
        g.node("ReduceSum", f"{name}.cosine", product, last, keepdims=0),
    ], means[1]


def _best(
    g: GraphBuilder, name: str, values: str, content: str, axis: int, lowest: float = -1.0
) -> str:
    """The highest of ``(rows, words, tokens)`` along `axis` where its mask `content` is 1."""
    axes = {n: g.constant(f"axis{n}", np.array([n], np.int64)) for n in (1, 2)}
    wide = g.node("Unsqueeze", f"{name}.wide", content, axes[3 - axis])
    is_content = g.node("Cast", f"{name}.known", wide, to=TensorProto.BOOL)
    least = g.constant(f"least{lowest:g}", np.array(lowest, np.float32))
    masked = g.node("Where", f"{name}.masked", is_content, values, least)
    return g.node("ReduceMax", f"{name}.best", masked, axes[axis], keepdims=0)


def _masked_mean(g: GraphBuilder, name: str, values: str, mask: str, rank: int = 2) -> str:
    """Mean over tokens where the mask is 1: of ``(rows, n)``, or of ``(rows, n, dim)``, rank 3."""
    axis = g.constant("axis1", np.array([1], np.int64))
    counted = g.node("Cast", f"{name}.mask", mask, to=TensorProto.FLOAT)
    if rank == 3:
        last = g.constant("axis.last", np.array([-1], np.int64))
        counted = g.node("Unsqueeze", f"{name}.wide", counted, last)
    masked = g.node("Mul", f"{name}.masked", values, counted)
    total = g.node("ReduceSum", f"{name}.total", masked, axis, keepdims=0)
    count = g.node("ReduceSum", f"{name}.count", counted, axis, keepdims=0)
    return g.node("Div", name, total, count)
