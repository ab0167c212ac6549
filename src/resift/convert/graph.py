"""BERT-type models written out as ONNX graphs: an encoder alone, or a cross-encoder by stages.

resift writes the graph itself instead of tracing a model, because the engine depends on its form:
token ids of any shape ``(rows, tokens)``, an embedding table that stays int8 in memory, one file
per group of layers, and only standard ONNX operators, so that every runtime can fuse it.

Each stage of a cross-encoder but the last ends in an exit: only the first token passes through the
remaining layers, over the states at the exit, and a linear head estimates the final logit from the
result. These layers expect a context that is not computed; `exits.py` fits a replacement.
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
MASKED = -10000.0  # its exp() is exactly 0 in float32, so padding has no weight

Weights = Mapping[str, NDArray[np.float32]]
Activation = Literal["gelu", "gelu_tanh", "relu", "tanh"]


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """The settings of an encoder that its weights do not contain."""

    layers: int
    heads: int
    epsilon: float
    activation: Activation
    first_position: int = 0  # RoBERTa counts positions from padding_idx + 1
    token_types: bool = True
    head_activation: Activation = "tanh"  # of a cross-encoder's classifier


class GraphBuilder:
    """Collects nodes and weights; each method returns the name of the tensor that it adds."""

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
    """Symmetric int8 with a scale per row: ``(n, dim)`` → int8 ``(n, dim)``, float32 ``(n, 1)``."""
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12) / 127.0
    return np.rint(table / scale).astype(np.int8), scale.astype(np.float32)


def embeddings(g: GraphBuilder, weights: Weights, shape: EncoderShape, int8: bool) -> str:
    """``input_ids`` → ``(rows, tokens, dim)``: words, positions and types, normalised."""
    table = weights["embeddings.word_embeddings.weight"]
    if int8:
        # Gather before the cast, so that the table itself stays int8 in memory.
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


def additive_mask(g: GraphBuilder, attention_mask: str = "attention_mask") -> str:
    """``(rows, tokens)`` of 1 and 0 → ``(rows, 1, 1, tokens)`` to add to attention logits."""
    wide = g.node("Cast", "mask.float", attention_mask, to=TensorProto.FLOAT)
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

    def projected(part: str, order: list[int]) -> str:
        states = x if part == "query" else context
        flat = g.linear(f"{name}.attention.self.{part}", states, weights)
        heads_apart = g.node("Reshape", f"{name}.{part}.parted", flat, split)
        return g.node("Transpose", f"{name}.{part}", heads_apart, perm=order)

    query, value = projected("query", [0, 2, 1, 3]), projected("value", [0, 2, 1, 3])
    key = projected("key", [0, 2, 3, 1])
    scale = g.constant("attention.scale", np.array((dim / heads) ** -0.5, np.float32))
    logits = g.node("Mul", f"{name}.scaled", g.node("MatMul", f"{name}.qk", query, key), scale)
    masked = g.node("Add", f"{name}.masked", logits, mask)
    attention = g.node("Softmax", f"{name}.softmax", masked, axis=-1)
    mixed = g.node("MatMul", f"{name}.mixed", attention, value)
    together = g.node("Transpose", f"{name}.together", mixed, perm=[0, 2, 1, 3])
    flat = g.node("Reshape", f"{name}.flat", together, merge)
    return g.linear(f"{name}.attention.output.dense", flat, weights)


def _attention_of_first_token(
    g: GraphBuilder, name: str, x: str, context: str, mask: str, weights: Weights, heads: int
) -> str:
    """`_attention` for one query token per row, ``(rows, 1, dim)``, without projecting its context.

    The result is the same, since ``q · W c = (Wᵀ q) · c``, a key bias shifts all logits of a head
    alike, and the mean of projected values is the projected mean. So both projections are computed
    once per head instead of once per context token.
    """
    dim = weights[f"{name}.attention.self.query.weight"].shape[0]
    size = dim // heads
    key, value = (weights[f"{name}.attention.self.{part}.weight"] for part in ("key", "value"))

    def reshape(tensor: str, x: str, shape_name: str, *shape: int) -> str:
        return g.node("Reshape", tensor, x, g.constant(shape_name, np.array(shape, np.int64)))

    flat = g.linear(f"{name}.attention.self.query", x, weights)
    query = reshape(f"{name}.query", flat, "one.split", 0, heads, 1, size)
    keys = g.constant(f"{name}.keys", key.reshape(heads, size, dim) / np.float32(size**0.5))
    turned = g.node("MatMul", f"{name}.turned", query, keys)
    turned = reshape(f"{name}.turned.flat", turned, "one.heads", 0, heads, dim)
    turned = g.node("Transpose", f"{name}.turned.upright", turned, perm=[0, 2, 1])
    logits = g.node("MatMul", f"{name}.qk", context, turned)  # (rows, tokens, heads)
    upright = reshape(f"{name}.mask", mask, "one.mask", 0, -1, 1)
    masked = g.node("Add", f"{name}.masked", logits, upright)
    attention = g.node("Softmax", f"{name}.softmax", masked, axis=1)
    attention = g.node("Transpose", f"{name}.softmax.turned", attention, perm=[0, 2, 1])
    mean = g.node("MatMul", f"{name}.mixed", attention, context)
    mean = reshape(f"{name}.mixed.apart", mean, "one.apart", 0, heads, 1, dim)
    values = g.constant(f"{name}.valued", value.reshape(heads, size, dim).transpose(0, 2, 1))
    projected = g.node("MatMul", f"{name}.values", mean, values)
    flat = reshape(f"{name}.flat", projected, "one.merge", 0, 1, dim)
    bias = g.constant(f"{name}.values.bias", weights[f"{name}.attention.self.value.bias"])
    flat = g.node("Add", f"{name}.flat.sum", flat, bias)
    return g.linear(f"{name}.attention.output.dense", flat, weights)


def layer(
    g: GraphBuilder,
    name: str,
    x: str,
    context: str,
    mask: str,
    weights: Weights,
    shape: EncoderShape,
    *,
    single_token: bool = False,
) -> str:
    """Attention of `x` over `context`, then the feed-forward network, each with its layer norm.

    Set `single_token` if `x` has one token per row.
    """
    attend = _attention_of_first_token if single_token else _attention
    attended = attend(g, name, x, context, mask, weights, shape.heads)
    x = g.node("Add", f"{name}.attention.sum", x, attended)
    x = g.layer_norm(f"{name}.attention.output.LayerNorm", x, weights, shape.epsilon)
    wide = g.linear(f"{name}.intermediate.dense", x, weights)
    wide = g.activation(f"{name}.intermediate.activated", wide, shape.activation)
    narrow = g.linear(f"{name}.output.dense", wide, weights)
    x = g.node("Add", f"{name}.output.sum", x, narrow)
    return g.layer_norm(f"{name}.output.LayerNorm", x, weights, shape.epsilon)


def encoder_graph(
    weights: Weights,
    shape: EncoderShape,
    *,
    int8_embeddings: bool = False,
    cross_attention_layers: int = 0,
) -> onnx.ModelProto:
    """The whole encoder: token ids → token states.

    Inputs are `token_inputs`; the output is ``states`` float32 ``(rows, tokens, dim)``. For N
    cross-attention layers a second output, ``layers`` ``(rows, tokens, (N + 1) * dim)``, has the
    input states of the last N layers, then the output of the last layer.
    """
    g = GraphBuilder()
    states = embeddings(g, weights, shape, int8_embeddings)
    mask = additive_mask(g)
    by_layer = [states]
    for index in range(shape.layers):
        states = layer(g, f"encoder.layer.{index}", states, states, mask, weights, shape)
        by_layer.append(states)
    g.node("Identity", "states", states)
    dim = weights["encoder.layer.0.output.dense.weight"].shape[0]
    widths = {"states": dim}
    if cross_attention_layers:
        g.node("Concat", "layers", *by_layer[shape.layers - cross_attention_layers :], axis=2)
        widths["layers"] = (cross_attention_layers + 1) * dim
    info = helper.make_tensor_value_info
    outputs = [info(name, TensorProto.FLOAT, ["rows", "tokens", n]) for name, n in widths.items()]
    return checked_model(g, token_inputs(g, "input_ids", "attention_mask"), outputs)


def stage_graph(
    weights: Weights,
    shape: EncoderShape,
    layers: range,
    *,
    int8_embeddings: bool = False,
    scales: NDArray[np.float32] | None = None,
) -> onnx.ModelProto:
    """The stage of consecutive `layers`: token ids or ``states`` → ``logits`` and ``next_states``.

    The first stage reads ``input_ids``, all others ``states`` ``(rows, tokens, dim)``: float32, or
    int8 with `scales` ``(dim,)``. All read ``attention_mask``. The last stage gives the head's
    ``logits`` ``(rows,)``. Any other gives ``next_states`` and the exit's ``logits`` if `weights`
    have ``exit.N.weight`` for a cut after N layers; otherwise, to fit these, ``features`` float32
    ``(rows, dim)``.
    """
    g = GraphBuilder()
    is_first, is_last = layers.start == 0, layers.stop == shape.layers
    states = embeddings(g, weights, shape, int8_embeddings) if is_first else _states(g, scales)
    mask = additive_mask(g)
    for index in layers:
        single = is_last and index == layers[-1]  # the head reads the first token and no other
        x = _first_token(g, states) if single else states
        name = f"encoder.layer.{index}"
        states = layer(g, name, x, states, mask, weights, shape, single_token=single)
    info = helper.make_tensor_value_info
    dim = weights["encoder.layer.0.output.dense.weight"].shape[0]
    outputs = [info("logits", TensorProto.FLOAT, ["rows"])]
    if is_last:
        _classifier(g, states, weights, shape.head_activation)
    else:
        g.node("Identity", "next_states", states)
        outputs.append(info("next_states", TensorProto.FLOAT, ["rows", "tokens", dim]))
        features = _exit_features(g, states, mask, weights, shape, layers.stop)
        if f"exit.{layers.stop}.weight" in weights:
            _exit_head(g, features, weights, layers.stop)
        else:
            g.node("Identity", "features", features)
            outputs[0] = info("features", TensorProto.FLOAT, ["rows", dim])
    inputs = token_inputs(g, *["input_ids"] * is_first, "attention_mask")
    if not is_first:
        kind = TensorProto.FLOAT if scales is None else TensorProto.INT8
        inputs.append(info("states", kind, ["rows", "tokens", dim]))
    return checked_model(g, inputs, outputs)


def _states(g: GraphBuilder, scales: NDArray[np.float32] | None) -> str:
    """The states of the previous stage, as float32."""
    if scales is None:
        return "states"
    floats = g.node("Cast", "states.wide", "states", to=TensorProto.FLOAT)
    return g.node("Mul", "states.0.states", floats, g.constant("states.scale", scales))


def _first_token(g: GraphBuilder, states: str) -> str:
    """The state of the first token, ``(rows, 1, dim)``."""
    index = g.constant("first.index", np.array([0], np.int64))
    return g.node("Gather", "first", states, index, axis=1)


def _classifier(g: GraphBuilder, states: str, weights: Weights, activation: Activation) -> None:
    """The head on the first token's state: ``logits`` ``(rows,)``."""
    first = g.constant("head.first", np.array(0, np.int64))
    x = g.node("Gather", "head.token", states, first, axis=1)
    if "head.dense.weight" in weights:
        x = g.linear("head.dense", x, weights)
        x = g.activation("head.activated", x, activation)
    labels = g.linear("head.projection", x, weights)
    axes = g.constant("head.axes", np.array([1], np.int64))
    g.node("Squeeze", "logits", labels, axes)


def _exit_features(
    g: GraphBuilder, states: str, mask: str, weights: Weights, shape: EncoderShape, cut: int
) -> str:
    """The first token after all layers, ``(rows, dim)``; other tokens do not change."""
    token = _first_token(g, states)
    for index in range(cut, shape.layers):
        name = f"exit.{cut}.layer.{index}"
        token = layer(g, name, token, states, mask, weights, shape, single_token=True)
    return g.node("Squeeze", "exit.token", token, g.constant("exit.axis", np.array([1], np.int64)))


def _exit_head(g: GraphBuilder, features: str, weights: Weights, cut: int) -> None:
    """The exit's estimate of the final logit, ``(rows,)``, linear in its features."""
    kernel = g.constant(f"exit.{cut}.kernel", weights[f"exit.{cut}.weight"][:, None])
    product = g.node("MatMul", f"exit.{cut}.estimate", features, kernel)
    bias = g.constant(f"exit.{cut}.bias", weights[f"exit.{cut}.bias"])
    sums = g.node("Add", f"exit.{cut}.sum", product, bias)
    g.node("Squeeze", "logits", sums, g.constant("exit.axis", np.array([1], np.int64)))


def token_inputs(g: GraphBuilder, *names: str) -> list[onnx.ValueInfoProto]:
    """int64 inputs ``(rows, tokens)``: `names`, and ``token_type_ids`` if a node reads them.

    ``attention_mask`` is 1 for a token and 0 for padding.
    """
    has_types = any("token_type_ids" in node.input for node in g.nodes)
    return [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
        for name in (*names, *(["token_type_ids"] if has_types else []))
    ]


def checked_model(g: GraphBuilder, inputs: list[Any], outputs: list[Any]) -> onnx.ModelProto:
    """Make a model of the collected nodes and weights, and run ONNX's checker."""
    graph = helper.make_graph(g.nodes, "resift", inputs, outputs, list(g.weights.values()))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="resift"
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model
