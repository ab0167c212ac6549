"""Whole graphs: an encoder alone, one that pools, or a cross-encoder by stages.

Each stage of a cross-encoder but the last ends in an exit: only the first token passes through the
remaining layers, over the states at the exit, and a linear head estimates the final logit from the
result. These layers expect a context that is not computed; `exits.py` fits a replacement.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from resift.convert.graph import (
    Activation,
    GraphBuilder,
    Weights,
    additive_mask,
    checked_model,
    token_inputs,
)
from resift.convert.layers import EncoderShape, embeddings, layer


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
        name = f"encoder.layer.{index}"
        states = layer(g, name, states, states, mask, weights, shape, index=index)
        by_layer.append(states)
    g.node("Identity", "states", g.layer_norm("encoder.LayerNorm", states, weights, shape.epsilon))
    dim = weights["encoder.layer.0.output.dense.weight"].shape[0]
    widths = {"states": dim}
    if cross_attention_layers:
        g.node("Concat", "layers", *by_layer[shape.layers - cross_attention_layers :], axis=2)
        widths["layers"] = (cross_attention_layers + 1) * dim
    info = helper.make_tensor_value_info
    outputs = [info(name, TensorProto.FLOAT, ["rows", "tokens", n]) for name, n in widths.items()]
    return checked_model(g, token_inputs(g, "input_ids", "attention_mask"), outputs)


def vector_graph(
    weights: Weights,
    shape: EncoderShape,
    dense: Sequence[Activation] = (),
    *,
    int8_embeddings: bool = False,
) -> onnx.ModelProto:
    """The encoder of texts, pooled as `shape` says: token ids → ``states`` ``(rows, 1, width)``.

    The pooled state passes through layers with the activations `dense`, whose weights are
    ``head.dense.N``. Only the first token passes through the last encoder layer if no other is
    pooled.
    """
    g = GraphBuilder()
    states = embeddings(g, weights, shape, int8_embeddings)
    mask = additive_mask(g)
    for index in range(shape.layers):
        single = shape.pooling == "cls" and index + 1 == shape.layers
        x = _first_token(g, states) if single else states
        name = f"encoder.layer.{index}"
        states = layer(g, name, x, states, mask, weights, shape, index=index, single_token=single)
    states = g.layer_norm("encoder.LayerNorm", states, weights, shape.epsilon)
    if shape.pooling == "mean":
        states = g.node("Unsqueeze", "head.pooled", _mean(g, states), g.integers(1))
    width = weights["encoder.layer.0.output.dense.weight"].shape[0]
    for number, activation in enumerate(dense):
        states = g.linear(f"head.dense.{number}", states, weights)
        states = g.activation(f"head.activated.{number}", states, activation)
        width = len(weights[f"head.dense.{number}.weight"])
    g.node("Identity", "states", states)
    output = helper.make_tensor_value_info("states", TensorProto.FLOAT, ["rows", 1, width])
    return checked_model(g, token_inputs(g, "input_ids", "attention_mask"), [output])


def token_vector_graph(
    weights: Weights,
    shape: EncoderShape,
    projections: Sequence[tuple[Activation, bool]],
    *,
    int8_embeddings: bool = False,
) -> onnx.ModelProto:
    """The encoder of multi-vector models: token ids → unit ``states`` ``(rows, tokens, width)``.

    `projections` are the activations of the linear layers ``projection.N`` on all states, and
    whether their inputs are added to their outputs, through ``projection.N.residual`` if there is
    one.
    """
    g = GraphBuilder()
    states = embeddings(g, weights, shape, int8_embeddings)
    mask = additive_mask(g)
    for index in range(shape.layers):
        name = f"encoder.layer.{index}"
        states = layer(g, name, states, states, mask, weights, shape, index=index)
    states = g.layer_norm("encoder.LayerNorm", states, weights, shape.epsilon)
    width = weights["encoder.layer.0.output.dense.weight"].shape[0]
    for number, (activation, has_residual) in enumerate(projections):
        name = f"projection.{number}"
        projected = g.activation(f"{name}.activated", g.linear(name, states, weights), activation)
        if has_residual:
            has_kernel = f"{name}.residual.weight" in weights
            added = g.linear(f"{name}.residual", states, weights) if has_kernel else states
            projected = g.node("Add", f"{name}.sum", projected, added)
        states, width = projected, len(weights[f"{name}.weight"])
    g.node("Identity", "states", unit_vectors(g, "vectors", states))
    output = helper.make_tensor_value_info("states", TensorProto.FLOAT, ["rows", "tokens", width])
    return checked_model(g, token_inputs(g, "input_ids", "attention_mask"), [output])


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
        single = shape.pooling == "cls" and index + 1 == shape.layers  # the head reads no other
        x = _first_token(g, states) if single else states
        name = f"encoder.layer.{index}"
        states = layer(g, name, x, states, mask, weights, shape, index=index, single_token=single)
    info = helper.make_tensor_value_info
    dim = weights["encoder.layer.0.output.dense.weight"].shape[0]
    outputs = [info("logits", TensorProto.FLOAT, ["rows"])]
    if is_last:
        states = g.layer_norm("encoder.LayerNorm", states, weights, shape.epsilon)
        _classifier(g, states, weights, shape)
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


def unit_vectors(g: GraphBuilder, name: str, states: str) -> str:
    """Vectors of length one along the last axis; a zero vector stays zero."""
    norm = g.node("ReduceL2", f"{name}.norm", states, g.integers(-1), keepdims=1)
    tiny = g.constant("tiny", np.array(1e-12, np.float32))
    return g.node("Div", f"{name}.unit", states, g.node("Max", f"{name}.floor", norm, tiny))


def _first_token(g: GraphBuilder, states: str) -> str:
    """The state of the first token, ``(rows, 1, dim)``."""
    index = g.constant("first.index", np.array([0], np.int64))
    return g.node("Gather", "first", states, index, axis=1)


def _classifier(g: GraphBuilder, states: str, weights: Weights, shape: EncoderShape) -> None:
    """The head on the pooled state: ``logits`` ``(rows,)``."""
    if shape.pooling == "cls":
        first = g.constant("head.first", np.array(0, np.int64))
        x = g.node("Gather", "head.token", states, first, axis=1)
    else:
        x = _mean(g, states)
    if "head.dense.weight" in weights:
        x = g.linear("head.dense", x, weights)
        x = g.activation("head.activated", x, shape.head_activation)
    x = g.layer_norm("head.norm", x, weights, shape.head_epsilon)
    labels = g.linear("head.projection", x, weights)
    axes = g.constant("head.axes", np.array([1], np.int64))
    g.node("Squeeze", "logits", labels, axes)


def _mean(g: GraphBuilder, states: str) -> str:
    """The mean state of a row's tokens, ``(rows, dim)``."""
    counted = g.node("Cast", "head.mask.float", "attention_mask", to=TensorProto.FLOAT)
    wide = g.node("Unsqueeze", "head.mask", counted, g.integers(2))
    present = g.node("Mul", "head.present", states, wide)
    total = g.node("ReduceSum", "head.total", present, g.integers(1), keepdims=0)
    count = g.node("ReduceSum", "head.count", wide, g.integers(1), keepdims=0)
    return g.node("Div", "head.mean", total, count)


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
