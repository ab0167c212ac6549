"""A BERT-type encoder written out as an ONNX graph: weights in, graph out.

The graph is ours rather than a tracer's, because the engine depends on its form: token ids of
any ``(rows, tokens)``, an embedding table that stays int8 in memory, one stage a group of
layers, and nothing but standard ONNX operators, so that every runtime can fuse it.
This file knows nothing of checkpoints on disk (`checkpoint.py`) nor of int8 layers (`quantise.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
IR_VERSION = 9
MASKED = -10000.0  # exp() of it is exactly 0 in float32: a padded position weighs nothing

Weights = Mapping[str, NDArray[np.float32]]
Activation = Literal["gelu", "gelu_tanh", "relu", "tanh"]


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """What the weights do not say about an encoder."""

    layers: int
    heads: int
    epsilon: float
    activation: Activation
    first_position: int = 0  # RoBERTa counts positions from padding_idx + 1
    token_types: bool = True


@dataclass(frozen=True, slots=True)
class Head:
    """The classifier on the first token's state: dense, activation, projection to labels."""

    activation: Activation


class GraphBuilder:
    """Collects nodes and weights; every method returns the name of the tensor that it made."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: NDArray[Any]) -> str:
        if name not in self.weights:
            self.weights[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def node(self, operator: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def linear(self, name: str, x: str, weights: Weights) -> str:
        """``x @ W.T + b``, with checkpoint weights ``(out, in)``."""
        kernel = self.constant(f"{name}.kernel", weights[f"{name}.weight"].T)
        product = self.node("MatMul", f"{name}.matmul", x, kernel)
        bias = self.constant(f"{name}.bias", weights[f"{name}.bias"])
        return self.node("Add", f"{name}.out", product, bias)

    def layer_norm(self, name: str, x: str, weights: Weights, epsilon: float) -> str:
        scale = self.constant(f"{name}.scale", weights[f"{name}.weight"])
        bias = self.constant(f"{name}.shift", weights[f"{name}.bias"])
        return self.node(
            "LayerNormalization", f"{name}.out", x, scale, bias, axis=-1, epsilon=epsilon
        )

    def activation(self, name: str, x: str, kind: Activation) -> str:
        if kind == "gelu":
            return self.node("Gelu", name, x)
        if kind == "gelu_tanh":
            return self.node("Gelu", name, x, approximate="tanh")
        return self.node("Relu" if kind == "relu" else "Tanh", name, x)


def quantise_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 with one scale a row: ``(n, dim)`` → int8 ``(n, dim)``, float32 ``(n, 1)``."""
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12) / 127.0
    return np.rint(table / scale).astype(np.int8), scale.astype(np.float32)


def _embeddings(g: GraphBuilder, weights: Weights, shape: EncoderShape, int8: bool) -> str:
    table = weights["embeddings.word_embeddings.weight"]
    if int8:
        # Gathered first and widened after: the table itself stays int8 in memory.
        rows, scale = quantise_rows(table)
        picked = g.node("Gather", "words.int8", g.constant("words.table", rows), "input_ids")
        wide = g.node("Cast", "words.float", picked, to=TensorProto.FLOAT)
        scales = g.node("Gather", "words.scales", g.constant("words.scale", scale), "input_ids")
        words = g.node("Mul", "words", wide, scales)
    else:
        words = g.node("Gather", "words", g.constant("words.table", table), "input_ids")
    tokens = g.node("Shape", "tokens", "input_ids", start=1, end=2)
    start = g.constant("zero", np.array([0], np.int64))
    axis = g.constant("axis0", np.array([0], np.int64))
    table = weights["embeddings.position_embeddings.weight"][shape.first_position :]
    positions = g.node(
        "Slice", "positions", g.constant("positions.table", table), start, tokens, axis
    )
    total = g.node("Add", "words.positions", words, positions)
    types = weights["embeddings.token_type_embeddings.weight"] if shape.token_types else None
    if types is not None and len(types) > 1:
        table_name = g.constant("types.table", types)
        total = g.node(
            "Add", "words.types", total, g.node("Gather", "types", table_name, "token_type_ids")
        )
    elif types is not None:
        total = g.node("Add", "words.types", total, g.constant("types.only", types[0]))
    states = g.layer_norm("embeddings.LayerNorm", total, weights, shape.epsilon)
    if "embeddings_project.weight" in weights:  # ELECTRA: a table narrower than the layers
        states = g.linear("embeddings_project", states, weights)
    return states


def _mask(g: GraphBuilder, given: str = "attention_mask") -> str:
    """``(rows, tokens)`` of 1 and 0 → ``(rows, 1, 1, tokens)`` to add to attention logits."""
    wide = g.node("Cast", "mask.float", given, to=TensorProto.FLOAT)
    axes = g.constant("mask.axes", np.array([1, 2], np.int64))
    shaped = g.node("Unsqueeze", "mask.shaped", wide, axes)
    missing = g.node("Sub", "mask.missing", g.constant("one", np.array(1.0, np.float32)), shaped)
    return g.node("Mul", "mask", missing, g.constant("masked", np.array(MASKED, np.float32)))


def _attention(
    g: GraphBuilder, name: str, x: str, context: str, mask: str, weights: Weights, heads: int
) -> str:
    dim = weights[f"{name}.attention.self.query.weight"].shape[0]
    split = g.constant("heads.split", np.array([0, 0, heads, dim // heads], np.int64))
    merge = g.constant("heads.merge", np.array([0, 0, dim], np.int64))

    def part(which: str, order: list[int]) -> str:
        read = x if which == "query" else context
        flat = g.linear(f"{name}.attention.self.{which}", read, weights)
        parted = g.node("Reshape", f"{name}.{which}.parted", flat, split)
        return g.node("Transpose", f"{name}.{which}", parted, perm=order)

    query, value = part("query", [0, 2, 1, 3]), part("value", [0, 2, 1, 3])
    key = part("key", [0, 2, 3, 1])
    scale = g.constant("attention.scale", np.array((dim / heads) ** -0.5, np.float32))
    logits = g.node("Mul", f"{name}.scaled", g.node("MatMul", f"{name}.qk", query, key), scale)
    masked = g.node("Add", f"{name}.masked", logits, mask)
    attention = g.node("Softmax", f"{name}.softmax", masked, axis=-1)
    mixed = g.node("MatMul", f"{name}.mixed", attention, value)
    together = g.node("Transpose", f"{name}.together", mixed, perm=[0, 2, 1, 3])
    flat = g.node("Reshape", f"{name}.flat", together, merge)
    return g.linear(f"{name}.attention.output.dense", flat, weights)


def _layer(
    g: GraphBuilder,
    name: str,
    x: str,
    context: str,
    mask: str,
    weights: Weights,
    shape: EncoderShape,
) -> str:
    attended = _attention(g, name, x, context, mask, weights, shape.heads)
    x = g.node("Add", f"{name}.attention.sum", x, attended)
    x = g.layer_norm(f"{name}.attention.output.LayerNorm", x, weights, shape.epsilon)
    wide = g.linear(f"{name}.intermediate.dense", x, weights)
    wide = g.activation(f"{name}.intermediate.activated", wide, shape.activation)
    narrow = g.linear(f"{name}.output.dense", wide, weights)
    x = g.node("Add", f"{name}.output.sum", x, narrow)
    return g.layer_norm(f"{name}.output.LayerNorm", x, weights, shape.epsilon)


def _head(g: GraphBuilder, states: str, weights: Weights, head: Head) -> str:
    """States ``(rows, tokens, dim)`` → one relevance logit a row, ``(rows,)``."""
    first = g.constant("head.first", np.array(0, np.int64))
    x = g.node("Gather", "head.token", states, first, axis=1)
    if "head.dense.weight" in weights:
        x = g.linear("head.dense", x, weights)
        x = g.activation("head.activated", x, head.activation)
    labels = g.linear("head.projection", x, weights)
    axes = g.constant("head.axes", np.array([1], np.int64))
    return g.node("Squeeze", "logits", labels, axes)


def encoder_graph(
    weights: Weights,
    shape: EncoderShape,
    head: Head | None = None,
    int8_embeddings: bool = False,
    meets: int = 0,
) -> onnx.ModelProto:
    """The whole encoder: ids → token states, or, with a head, ids → relevance logits.

    Inputs are int64 ``(rows, tokens)``: ``input_ids``, ``attention_mask`` (1 for a token, 0 for
    padding) and, where the checkpoint has more than one type, ``token_type_ids``. The output is
    ``states`` float32 ``(rows, tokens, dim)`` or ``logits`` float32 ``(rows,)``. For a meeting of
    `meets` layers there is a second one, ``layers`` ``(rows, tokens, (meets + 1) * dim)``: the
    states that the last `meets` layers read and, last, those that the last one gave.
    """
    g = GraphBuilder()
    states = _embeddings(g, weights, shape, int8_embeddings)
    mask = _mask(g)
    through = [states]
    for index in range(shape.layers):
        states = _layer(g, f"encoder.layer.{index}", states, states, mask, weights, shape)
        through.append(states)
    names = ["input_ids", "attention_mask"]
    if any("token_type_ids" in node.input for node in g.nodes):
        names.append("token_type_ids")
    shape_in = ["rows", "tokens"]
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, shape_in) for n in names]
    dim = weights["encoder.layer.0.output.dense.weight"].shape[0]
    if head is None:
        g.node("Identity", "states", states)
        outputs = {"states": dim}
        if meets:
            g.node("Concat", "layers", *through[shape.layers - meets :], axis=2)
            outputs["layers"] = (meets + 1) * dim
        return _model(
            g,
            inputs,
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", "tokens", width])
                for name, width in outputs.items()
            ],
        )
    _head(g, states, weights, head)
    return _model(g, inputs, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows"])])


def meeting_graph(weights: Weights, shape: EncoderShape) -> onnx.ModelProto:
    """The layers in which query and document meet: both halves' states → what to add to a logit.

    Inputs: ``query_states`` ``(rows, words, layers * dim)`` and ``states`` ``(rows, tokens,
    layers * dim)``, float32, as the encoder's ``layers``; their masks ``query_mask`` and
    ``attention_mask``, and ``query_own`` and ``own``, which leave special tokens out, int64;
    ``logits`` ``(rows,)``, late interaction's. Output: ``residual`` float32 ``(rows,)``: a share of
    what late interaction of the query as it is now would change, and two means over its tokens,
    of its best match weighed by a learned number and of another such number.
    """
    g = GraphBuilder()
    dim, layers = weights["meeting.head.weight"].shape[1], meeting_layers(weights)
    mask = _mask(g, g.node("Concat", "meeting.mask", "query_mask", "attention_mask", axis=1))
    x = _part(g, "query_states", 0, dim)
    for index in range(layers):
        name = f"meeting.layer.{index}"
        below = _part(g, "states", index, dim)
        context = g.node("Concat", f"{name}.context", x, below, axis=1)
        x = _layer(g, name, x, context, mask, weights, shape)
    again, best = _late_interaction(g, x, _part(g, "states", layers, dim), weights)
    change = g.node("Sub", "meeting.change", again, "logits")
    share = g.constant("meeting.share", weights["meeting.share"].astype(np.float32))
    shared = g.node("Mul", "meeting.shared", share, change)
    parts = g.node(
        "Transpose", "meeting.parts", g.linear("meeting.head", x, weights), perm=[2, 0, 1]
    )
    gate = g.node("Gather", "meeting.gate", parts, g.constant("first", np.array(0, np.int64)))
    add = g.node("Gather", "meeting.add", parts, g.constant("second", np.array(1, np.int64)))
    gated = g.node("Mul", "meeting.gated", gate, best)
    learned = g.node(
        "Add",
        "meeting.learned",
        _masked_mean(g, "meeting.weighed", gated, "query_own"),
        _masked_mean(g, "meeting.rest", add, "query_mask"),
    )
    g.node("Add", "residual", shared, learned)
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
    return _model(g, inputs, [info("residual", TensorProto.FLOAT, ["rows"])])


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


def _late_interaction(
    g: GraphBuilder, query: str, states: str, weights: Weights
) -> tuple[str, str]:
    """The logit of `rerank.late_interaction` for a query's states that differ from row to row.

    And each query token's highest cosine, ``(rows, words)``.
    """
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
    return logit, best[0]


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


def _model(g: GraphBuilder, inputs: list[Any], outputs: list[Any]) -> onnx.ModelProto:
    graph = helper.make_graph(g.nodes, "resift", inputs, outputs, list(g.weights.values()))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="resift"
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model
