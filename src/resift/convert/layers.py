"""The parts of an encoder: embeddings, attention, feed-forward network, in canonical weight names.

What an architecture lacks is missing in its weights: a norm before or after a block, a bias, a
table of positions or token types. `EncoderShape` has what weights do not show, and its `positions`
what is special about attention.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from resift.convert.graph import Activation, GraphBuilder, Weights, quantise_rows
from resift.convert.heads import Heads
from resift.convert.positions import Absolute
from resift.rerank.artifact import Pooling

Floats = NDArray[np.float32]

ABSOLUTE = Absolute()


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """The settings of an encoder that its weights do not contain.

    `pooling` says which state a cross-encoder's head reads: the first token's or the mean.
    """

    layers: int
    heads: int
    epsilon: float
    activation: Activation
    first_position: int = 0  # RoBERTa counts positions from padding_idx + 1
    token_types: bool = True
    head_activation: Activation = "tanh"  # of a cross-encoder's classifier
    head_epsilon: float = 1e-5  # of the norm in a classifier
    positions: Absolute = ABSOLUTE
    pooling: Pooling = "cls"


def embeddings(g: GraphBuilder, weights: Weights, shape: EncoderShape, int8: bool) -> str:
    """``input_ids`` → ``(rows, tokens, dim)``: words, positions and types, normalised."""
    total = _words(g, weights["embeddings.word_embeddings.weight"], int8)
    positions = weights.get("embeddings.position_embeddings.weight")
    if positions is not None:
        tokens = g.node("Shape", "tokens", "input_ids", start=1, end=2)
        table = g.constant("positions.table", positions[shape.first_position :])
        start, axis = g.constant("zero", np.array([0], np.int64)), g.integers(0)
        rows = g.node("Slice", "positions", table, start, tokens, axis)
        total = g.node("Add", "words.positions", total, rows)
    types = weights.get("embeddings.token_type_embeddings.weight") if shape.token_types else None
    if types is not None and len(types) > 1:
        table = g.constant("types.table", types)
        total = g.node(
            "Add", "words.types", total, g.node("Gather", "types", table, "token_type_ids")
        )
    elif types is not None:
        total = g.node("Add", "words.types", total, g.constant("types.only", types[0]))
    states = g.layer_norm("embeddings.LayerNorm", total, weights, shape.epsilon)
    if "embeddings_project.weight" in weights:  # a table narrower than the layers
        states = g.linear("embeddings_project", states, weights)
    return states


def _words(g: GraphBuilder, table: Floats, int8: bool) -> str:
    """Rows of the word table; with `int8` the table itself stays int8 in memory."""
    if not int8:
        return g.node("Gather", "words", g.constant("words.table", table), "input_ids")
    rows, scale = quantise_rows(table)
    picked = g.node("Gather", "words.int8", g.constant("words.table", rows), "input_ids")
    wide = g.node("Cast", "words.float", picked, to=TensorProto.FLOAT)
    scales = g.node("Gather", "words.scales", g.constant("words.scale", scale), "input_ids")
    return g.node("Mul", "words", wide, scales)


def layer(
    g: GraphBuilder,
    name: str,
    x: str,
    context: str,
    mask: str,
    weights: Weights,
    shape: EncoderShape,
    *,
    index: int = 0,
    single_token: bool = False,
) -> str:
    """Attention of `x` over `context`, then the feed-forward network, each with its norms.

    Set `single_token` if `x` has one token per row, the first one.
    """
    norm = f"{name}.attention.input.LayerNorm"
    inputs = g.layer_norm(norm, context, weights, shape.epsilon)
    queries = inputs
    if x != context:
        queries = g.layer_norm(norm, x, weights, shape.epsilon, output=f"{norm}.queries")
    if single_token and shape.positions.folds_first_token:
        attended = _attention_of_first_token(g, name, queries, inputs, mask, weights, shape)
    else:
        heads = _heads(g, name, queries, inputs, mask, weights, shape)
        heads = replace(heads, layer=index, first_only=single_token)
        mixed = shape.positions.mix(g, heads)
        attended = g.linear(f"{name}.attention.output.dense", mixed, weights)
    x = g.node("Add", f"{name}.attention.sum", x, attended)
    x = g.layer_norm(f"{name}.attention.output.LayerNorm", x, weights, shape.epsilon)
    narrow = _feed_forward(g, name, x, weights, shape)
    x = g.node("Add", f"{name}.output.sum", x, narrow)
    return g.layer_norm(f"{name}.output.LayerNorm", x, weights, shape.epsilon)


def _heads(
    g: GraphBuilder,
    name: str,
    x: str,
    context: str,
    mask: str,
    weights: Weights,
    shape: EncoderShape,
) -> Heads:
    """The queries of `x`, and the keys and values of `context`."""
    size = weights[f"{name}.attention.self.query.weight"].shape[0] // shape.heads
    split = g.constant("heads.split", np.array([0, 0, shape.heads, size], np.int64))

    def projected(part: str, states: str) -> str:
        flat = g.linear(f"{name}.attention.self.{part}", states, weights)
        return g.node("Reshape", f"{name}.{part}.parted", flat, split)

    return Heads(
        name=name,
        layer=0,
        query=projected("query", x),
        key=projected("key", context),
        value=projected("value", context),
        mask=mask,
        count=shape.heads,
        size=size,
    )


def _attention_of_first_token(
    g: GraphBuilder,
    name: str,
    x: str,
    context: str,
    mask: str,
    weights: Weights,
    shape: EncoderShape,
) -> str:
    """Attention for one query token per row, ``(rows, 1, dim)``, without projecting its context.

    The result is the same, since ``q · W c = (Wᵀ q) · c``, a key bias shifts all logits of a head
    alike, and the mean of projected values is the projected mean. So both projections are computed
    once per head instead of once per context token.
    """
    dim = weights[f"{name}.attention.self.query.weight"].shape[0]
    heads = shape.heads
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
    if f"{name}.attention.self.value.bias" in weights:
        bias = g.constant(f"{name}.values.bias", weights[f"{name}.attention.self.value.bias"])
        flat = g.node("Add", f"{name}.flat.sum", flat, bias)
    return g.linear(f"{name}.attention.output.dense", flat, weights)


def _feed_forward(g: GraphBuilder, name: str, x: str, weights: Weights, shape: EncoderShape) -> str:
    """Two linear layers with an activation between them, and a gate if there is one.

    A gate is a third linear layer beside the first, by which its activated values are multiplied
    (arXiv:2002.05202).
    """
    x = g.layer_norm(f"{name}.intermediate.LayerNorm", x, weights, shape.epsilon)
    wide = g.linear(f"{name}.intermediate.dense", x, weights)
    active = g.activation(f"{name}.intermediate.activated", wide, shape.activation)
    if f"{name}.intermediate.gate.weight" in weights:
        gate = g.linear(f"{name}.intermediate.gate", x, weights)
        active = g.node("Mul", f"{name}.intermediate.gated", active, gate)
    return g.linear(f"{name}.output.dense", active, weights)
