"""The graph of a causal reranker: a prompt's tokens → keys and values, or documents → logits.

A decoder reads from left to right, so the states of what precedes the documents, the prefix, do not
depend on them. The graph runs once over the prefix and gives its keys and values, `present`. It
runs again over documents, each followed by the end of the prompt, and reads these as `past`. The
logit comes from the last token of a row: the vocabulary's other rows are never multiplied.

Keys and values of all layers are one array ``(layers * 2, key heads, tokens, size)``, for each
layer its keys, already turned, then its values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from resift.convert.causal_attention import Attention, AttentionShape
from resift.convert.causal_products import Float32, Products
from resift.convert.graph import Activation, GraphBuilder, quantise_rows
from resift.convert.streamed import StreamedBuilder

Floats = NDArray[np.float32]
Arrays = Mapping[str, Floats]

WORDS = "embed_tokens.weight"
HEAD = "head.weight"
"""What is multiplied with the last token's state, ``(dim,)``: a row of the vocabulary's matrix, or
the difference of two."""

_ROWS = 8192  # of the embedding table that are quantised at once


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """The settings of a decoder that its weights do not contain.

    `norm_shift` is added to the scales of norms; embeddings are multiplied by `embedding_scale`.
    """

    layers: int
    attention: AttentionShape
    epsilon: float
    activation: Activation
    norm_shift: float = 0.0
    embedding_scale: float = 1.0


def write_graph(
    file: Path, weights: Arrays, shape: DecoderShape, tokens: int, products: Products
) -> None:
    """Write the graph for rows of at most `tokens`, the prefix included; `products` multiplies.

    `weights` are read one after the other, and go to ``NAME.data`` beside `file`.

    Inputs: ``input_ids`` and ``attention_mask`` int64 ``(rows, tokens)``, padding after the tokens;
    ``past`` float32 and ``past_mask`` int64 ``(1, past)``, padding after the tokens too, at least
    one position; ``present_tokens`` int64 ``(1,)``. Outputs: ``logits`` ``(rows,)`` and
    ``present``, the keys and values of the first row's first ``present_tokens``.
    """
    g = StreamedBuilder(file)
    attention = Attention(g, shape.attention, tokens)
    decoder = _Decoder(g, weights, shape, products, attention)
    x = _embeddings(g, weights[WORDS], shape, int8=not isinstance(products, Float32))
    for index in range(shape.layers):
        x = decoder.layer(index, x, is_last=index + 1 == shape.layers)
    x = decoder.norm("norm", x)
    product = g.node("MatMul", "head.product", x, g.constant("head.kernel", weights[HEAD][:, None]))
    g.node("Squeeze", "logits", product, g.integers(1, 2))
    g.node("Concat", "present", *decoder.present, axis=0)
    info = helper.make_tensor_value_info
    sizes = [shape.layers * 2, shape.attention.key_heads]
    rows = [info(n, TensorProto.INT64, ["rows", "tokens"]) for n in ("input_ids", "attention_mask")]
    inputs = [
        *rows,
        info("past", TensorProto.FLOAT, [*sizes, "past", shape.attention.size]),
        info("past_mask", TensorProto.INT64, [1, "past"]),
        info("present_tokens", TensorProto.INT64, [1]),
    ]
    outputs = [
        info("logits", TensorProto.FLOAT, ["rows"]),
        info("present", TensorProto.FLOAT, [*sizes, "present", shape.attention.size]),
    ]
    g.save(inputs, outputs)


def _embeddings(g: GraphBuilder, table: Floats, shape: DecoderShape, *, int8: bool) -> str:
    """Rows of the table, ``(rows, tokens, dim)``; with `int8` it stays int8 in memory."""
    if int8:
        parts = [
            quantise_rows(table[start : start + _ROWS]) for start in range(0, len(table), _ROWS)
        ]
        codes, scale = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        picked = g.node("Gather", "words.int8", g.constant("words.table", codes), "input_ids")
        wide = g.node("Cast", "words.float", picked, to=TensorProto.FLOAT)
        steps = g.constant("words.scale", scale * np.float32(shape.embedding_scale))
        return g.node("Mul", "words", wide, g.node("Gather", "words.steps", steps, "input_ids"))
    words = g.node("Gather", "words", g.constant("words.table", table), "input_ids")
    if shape.embedding_scale == 1:
        return words
    root = g.constant("words.scale", np.array(shape.embedding_scale, np.float32))
    return g.node("Mul", "words.scaled", words, root)


class _Decoder:
    """Adds a decoder's layers to a graph. `present` has the names of keys and values."""

    def __init__(
        self,
        g: GraphBuilder,
        weights: Arrays,
        shape: DecoderShape,
        products: Products,
        attention: Attention,
    ) -> None:
        self.present: list[str] = []
        self._g, self._weights, self._shape = g, weights, shape
        self._products, self._attention = products, attention

    def layer(self, index: int, x: str, *, is_last: bool) -> str:
        """Attention and feed-forward; in the last layer of each row's last token only."""
        g, name, attention = self._g, f"layers.{index}", self._attention
        states = self.norm(f"{name}.input_layernorm", x)
        heads = self._shape.attention
        key = self._heads(f"{name}.self_attn.k", states, heads.key_heads)
        key = attention.turn(f"{name}.key", key)
        value = self._heads(f"{name}.self_attn.v", states, heads.key_heads)
        self._keep_present(f"{name}.key", key)
        self._keep_present(f"{name}.value", value)
        if is_last:
            x = attention.last_token(f"{name}.x", x)
            states = attention.last_token(f"{name}.states", states)
        which = "last" if is_last else "all"
        query = self._heads(f"{name}.self_attn.q", states, heads.heads)
        query = attention.turn(f"{name}.query", query, which)
        mixed = attention.mix(index, query, key, value, which)
        x = g.node(
            "Add", f"{name}.attention.sum", x, self._linear(f"{name}.self_attn.o_proj", mixed)
        )
        return self._feed_forward(name, x)

    def norm(self, name: str, x: str) -> str:
        """``x / sqrt(mean(x²) + ε) * scale`` over the last axis."""
        g = self._g
        two, epsilon = (
            g.constant(f"norm.{part}", np.array(value, np.float32))
            for part, value in (("two", 2), ("epsilon", self._shape.epsilon))
        )
        squares = g.node("Pow", f"{name}.squares", x, two)
        mean = g.node("ReduceMean", f"{name}.mean", squares, g.integers(-1), keepdims=1)
        root = g.node("Sqrt", f"{name}.root", g.node("Add", f"{name}.positive", mean, epsilon))
        unit = g.node("Div", f"{name}.unit", x, root)
        scale = self._weights[f"{name}.weight"] + np.float32(self._shape.norm_shift)
        return g.node("Mul", f"{name}.out", unit, g.constant(f"{name}.scale", scale))

    def _heads(self, name: str, x: str, count: int) -> str:
        """A projection of `x` by heads, ``(rows, count, tokens, size)``, and its norm if any."""
        g, size = self._g, self._shape.attention.size
        split = g.reshape(f"{name}.split", self._linear(f"{name}_proj", x), 0, -1, count, size)
        if f"{name}_norm.weight" in self._weights:
            split = self.norm(f"{name}_norm", split)
        return g.node("Transpose", f"{name}.by_head", split, perm=[0, 2, 1, 3])

    def _keep_present(self, name: str, x: str) -> None:
        """Add keys or values of the first row's first tokens to `present`."""
        g = self._g
        first = g.node("Gather", f"{name}.first", x, g.integers(0), axis=0)  # has a known size
        ends = (g.integers(0), "present_tokens", g.integers(2))
        self.present.append(g.node("Slice", f"{name}.present", first, *ends))

    def _feed_forward(self, name: str, x: str) -> str:
        """``down(activation(gate(x)) * up(x))``, added to `x`."""
        g = self._g
        states = self.norm(f"{name}.post_attention_layernorm", x)
        gate = self._linear(f"{name}.mlp.gate_proj", states)
        gate = g.activation(f"{name}.mlp.activated", gate, self._shape.activation)
        up = self._linear(f"{name}.mlp.up_proj", states)
        product = g.node("Mul", f"{name}.mlp.gated", gate, up)
        return g.node("Add", f"{name}.sum", x, self._linear(f"{name}.mlp.down_proj", product))

    def _linear(self, name: str, x: str) -> str:
        """``x @ W.T + b``, with the weights of a name."""
        bias = self._weights.get(f"{name}.bias")
        return self._products.linear(self._g, name, x, self._weights[f"{name}.weight"], bias)
