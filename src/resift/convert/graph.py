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


def embeddings(g: GraphBuilder, weights: Weights, shape: EncoderShape, int8: bool) -> str:
    """``input_ids`` → ``(rows, tokens, dim)``: words, positions and types, normalised."""
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


def added_mask(g: GraphBuilder, given: str = "attention_mask") -> str:
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


def _attention_of_one(
    g: GraphBuilder, name: str, x: str, context: str, mask: str, weights: Weights, heads: int
) -> str:
    """`_attention` of one token a row, ``(rows, 1, dim)``, without its context's keys and values.

    The same by the rules of products: a key's part in a logit is ``q · W c = (Wᵀ q) · c``, its bias
    moves all logits alike, and a mean of values is the value of the mean. So what is done for each
    of the context's tokens is a share of about 1 / head size of two projections.
    """
    dim = weights[f"{name}.attention.self.query.weight"].shape[0]
    size = dim // heads
    key, value = (weights[f"{name}.attention.self.{which}.weight"] for which in ("key", "value"))
    flat = g.linear(f"{name}.attention.self.query", x, weights)
    one = g.constant("one.split", np.array([0, heads, 1, size], np.int64))
    query = g.node("Reshape", f"{name}.query", flat, one)
    keys = g.constant(f"{name}.keys", key.reshape(heads, size, dim) / np.float32(size**0.5))
    turned = g.node("MatMul", f"{name}.turned", query, keys)
    by_head = g.constant("one.heads", np.array([0, heads, dim], np.int64))
    turned = g.node("Reshape", f"{name}.turned.flat", turned, by_head)
    turned = g.node("Transpose", f"{name}.turned.upright", turned, perm=[0, 2, 1])
    logits = g.node("MatMul", f"{name}.qk", context, turned)  # (rows, tokens, heads)
    upright = g.constant("one.mask", np.array([0, -1, 1], np.int64))
    masked = g.node(
        "Add", f"{name}.masked", logits, g.node("Reshape", f"{name}.mask", mask, upright)
    )
    attention = g.node("Softmax", f"{name}.softmax", masked, axis=1)
    attention = g.node("Transpose", f"{name}.softmax.turned", attention, perm=[0, 2, 1])
    mean = g.node("MatMul", f"{name}.mixed", attention, context)
    apart = g.constant("one.apart", np.array([0, heads, 1, dim], np.int64))
    mean = g.node("Reshape", f"{name}.mixed.apart", mean, apart)
    values = g.constant(f"{name}.valued", value.reshape(heads, size, dim).transpose(0, 2, 1))
    found = g.node("MatMul", f"{name}.values", mean, values)
    merge = g.constant("one.merge", np.array([0, 1, dim], np.int64))
    flat = g.node("Reshape", f"{name}.flat", found, merge)
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
    one: bool = False,
) -> str:
    """Attention of `x` over `context`, then the feed-forward part, normalised after each.

    `one` where `x` is one token a row.
    """
    attend = _attention_of_one if one else _attention
    attended = attend(g, name, x, context, mask, weights, shape.heads)
    x = g.node("Add", f"{name}.attention.sum", x, attended)
    x = g.layer_norm(f"{name}.attention.output.LayerNorm", x, weights, shape.epsilon)
    wide = g.linear(f"{name}.intermediate.dense", x, weights)
    wide = g.activation(f"{name}.intermediate.activated", wide, shape.activation)
    narrow = g.linear(f"{name}.output.dense", wide, weights)
    x = g.node("Add", f"{name}.output.sum", x, narrow)
    return g.layer_norm(f"{name}.output.LayerNorm", x, weights, shape.epsilon)


def first_token(g: GraphBuilder, states: str) -> str:
    """``(rows, 1, dim)``: all that a head reads, so all of the last layer that has to be computed.

    Its keys and values are still those of all tokens: the arithmetic of that row is the same.
    """
    place = g.constant("first.place", np.array([0], np.int64))
    return g.node("Gather", "first", states, place, axis=1)


def classifier(g: GraphBuilder, states: str, weights: Weights, head: Head) -> str:
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
    states = embeddings(g, weights, shape, int8_embeddings)
    mask = added_mask(g)
    through = [states]
    for index in range(shape.layers):
        last = head is not None and index == shape.layers - 1
        read = first_token(g, states) if last else states
        states = layer(g, f"encoder.layer.{index}", read, states, mask, weights, shape, one=last)
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
        return finished(
            g,
            inputs,
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", "tokens", width])
                for name, width in outputs.items()
            ],
        )
    classifier(g, states, weights, head)
    return finished(
        g, inputs, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows"])]
    )


def finished(g: GraphBuilder, inputs: list[Any], outputs: list[Any]) -> onnx.ModelProto:
    """The nodes and weights collected so far, as a model that is checked."""
    graph = helper.make_graph(g.nodes, "resift", inputs, outputs, list(g.weights.values()))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="resift"
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model
