"""A group of a cross-encoder's layers as an ONNX graph: one stage, and what its exit says of a pair.

`graph.py` writes the layers; here is where they are cut. At an exit the first token goes on alone
through the layers that are left, over the states as they are at the exit, and a linear head reads
where it arrives. What those layers expect of their context is mapped onto the states that there
are (`exits.py`).
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from resift.convert.graph import (
    EncoderShape,
    GraphBuilder,
    Head,
    Weights,
    added_mask,
    classifier,
    embeddings,
    finished,
    first_token,
    layer,
)


def stage_graph(
    weights: Weights,
    shape: EncoderShape,
    head: Head,
    layers: range,
    int8_embeddings: bool = False,
    scales: NDArray[np.float32] | None = None,
) -> onnx.ModelProto:
    """Some neighbouring layers: ids or ``states`` → ``logits``, and ``next_states`` to go on with.

    Inputs are int64 ``(rows, tokens)``: ``attention_mask``, and for the first layers ``input_ids``
    and ``token_type_ids`` where they have types; all others begin at ``states`` ``(rows, tokens,
    dim)``, float32, or int8 whose steps are `scales`, ``(dim,)``. The last layers end in the
    head's ``logits`` ``(rows,)``, all others in ``next_states`` and in an exit: ``logits`` where
    `weights` have ``exit.N.weight`` for a cut after N layers, else what such weights are fitted on,
    ``features`` float32 ``(rows, dim)``.
    """
    g = GraphBuilder()
    begins, ends = layers.start == 0, layers.stop == shape.layers
    states = embeddings(g, weights, shape, int8_embeddings) if begins else _given(g, scales)
    mask = added_mask(g)
    for index in layers:
        one = ends and index == layers[-1]
        read = first_token(g, states) if one else states
        states = layer(g, f"encoder.layer.{index}", read, states, mask, weights, shape, one=one)
    info = helper.make_tensor_value_info
    dim = weights["encoder.layer.0.output.dense.weight"].shape[0]
    wide = ["rows", "tokens", dim]
    outputs = [info("logits", TensorProto.FLOAT, ["rows"])]
    if ends:
        classifier(g, states, weights, head)
    else:
        g.node("Identity", "next_states", states)
        outputs.append(info("next_states", TensorProto.FLOAT, wide))
        arrived = _alone(g, states, mask, weights, shape, layers.stop)
        if f"exit.{layers.stop}.weight" in weights:
            _estimate(g, arrived, weights, layers.stop)
        else:
            g.node("Identity", "features", arrived)
            outputs[0] = info("features", TensorProto.FLOAT, ["rows", dim])
    names = ["input_ids", "attention_mask"] if begins else ["attention_mask"]
    if any("token_type_ids" in node.input for node in g.nodes):
        names.append("token_type_ids")
    inputs = [info(name, TensorProto.INT64, wide[:2]) for name in names]
    if not begins:
        kind = TensorProto.FLOAT if scales is None else TensorProto.INT8
        inputs.append(info("states", kind, wide))
    return finished(g, inputs, outputs)


def _given(g: GraphBuilder, scales: NDArray[np.float32] | None) -> str:
    """What the stage before has left, as float32."""
    if scales is None:
        return "states"
    floats = g.node("Cast", "states.wide", "states", to=TensorProto.FLOAT)
    return g.node("Mul", "states.0.states", floats, g.constant("states.scale", scales))


def _alone(
    g: GraphBuilder, states: str, mask: str, weights: Weights, shape: EncoderShape, cut: int
) -> str:
    """The first token after all layers, ``(rows, dim)``, while the others stay where they are."""
    token = first_token(g, states)
    for index in range(cut, shape.layers):
        token = layer(g, f"exit.{cut}.layer.{index}", token, states, mask, weights, shape, one=True)
    return g.node("Squeeze", "exit.token", token, g.constant("exit.axis", np.array([1], np.int64)))


def _estimate(g: GraphBuilder, features: str, weights: Weights, cut: int) -> str:
    """The exit's estimate of the final logit, ``(rows,)``: linear in its features."""
    kernel = g.constant(f"exit.{cut}.kernel", weights[f"exit.{cut}.weight"][:, None])
    product = g.node("MatMul", f"exit.{cut}.estimate", features, kernel)
    bias = g.constant(f"exit.{cut}.bias", weights[f"exit.{cut}.bias"])
    sums = g.node("Add", f"exit.{cut}.sum", product, bias)
    return g.node("Squeeze", "logits", sums, g.constant("exit.axis", np.array([1], np.int64)))
