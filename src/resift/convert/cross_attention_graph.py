"""The meeting written out as an ONNX graph: the encoder's kind of layers, and late interaction.

What it computes is `network.py`'s `Network.residual`; a test holds the two together.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

from resift.convert.graph import EncoderShape, GraphBuilder, Weights, added_mask, finished, layer
from resift.convert.late_graph import Scales, features, halves, part


def cross_attention_graph(
    weights: Weights, shape: EncoderShape, scales: Scales | None = None
) -> onnx.ModelProto:
    """The layers in which query and document meet: both halves' states → what to add to a logit.

    Inputs: those of `late_graph`, and ``logits`` ``(rows,)``, late interaction's. Output:
    ``residual`` float32 ``(rows,)``: a share of what late interaction of the query as it is now
    would change.
    """
    g = GraphBuilder()
    layers = cross_attention_layers(weights)
    dim = weights["meeting.layer.0.output.dense.weight"].shape[0]
    mask = added_mask(g, g.node("Concat", "meeting.mask", "query_mask", "attention_mask", axis=1))
    x = part(g, "query_states", 0, dim, scales)
    for index in range(layers):
        name = f"meeting.layer.{index}"
        below = part(g, "states", index, dim, scales)
        context = g.node("Concat", f"{name}.context", x, below, axis=1)
        x = layer(g, name, x, context, mask, weights, shape)
    again = _logit(g, x, part(g, "states", layers, dim, scales), weights)
    change = g.node("Sub", "meeting.change", again, "logits")
    share = g.constant("meeting.share", weights["meeting.share"].astype(np.float32))
    g.node("Mul", "residual", share, change)
    info = helper.make_tensor_value_info
    logits = info("logits", TensorProto.FLOAT, ["rows"])
    inputs = [*halves((layers + 1) * dim, scales), logits]
    return finished(g, inputs, [info("residual", TensorProto.FLOAT, ["rows"])])


def cross_attention_layers(weights: Weights) -> int:
    """How many layers of meeting a model's weights hold."""
    return len({name.split(".")[2] for name in weights if name.startswith("meeting.layer.")})


def _logit(g: GraphBuilder, query: str, states: str, weights: Weights) -> str:
    """Late interaction's logit for a query's states that differ from row to row."""
    found, _ = features(g, "meeting", query, states)
    logit = g.constant("meeting.bias", weights["bias"].astype(np.float32))
    for feature, weight in zip(found, weights["late"], strict=True):
        own = g.constant(f"{feature}.weight", np.array(weight, np.float32))
        scaled = g.node("Mul", f"{feature}.part", feature, own)
        logit = g.node("Add", f"{feature}.sum", logit, scaled)
    return logit
