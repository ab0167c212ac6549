"""Attention of a decoder: documents' tokens over the prefix's keys and values and their own.

A row's tokens see the whole past and what precedes them. Padding comes after a row's tokens, so
that none sees it; the past's padding is masked. Keys and values serve several queries each: the
queries of a key's group stand below one another, as if they were more tokens.
"""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from resift.convert.graph import MASKED, GraphBuilder
from resift.rerank.batching import LENGTH_STEP


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """Of a decoder: `heads` queries of `size`, and `key_heads` keys and values.

    `angles` are those of a position, ``(size / 2,)``.
    """

    heads: int
    key_heads: int
    size: int
    angles: tuple[float, ...]

    @property
    def group(self) -> int:
        """Queries of a key."""
        return self.heads // self.key_heads


class Attention:
    """What all layers of a graph share: positions, masks, and which token is a row's last.

    Queries are those of `all` tokens or of each row's `last` one.
    """

    def __init__(self, g: GraphBuilder, shape: AttentionShape, tokens: int) -> None:
        """Add the tables for positions before `tokens`."""
        self._g, self._shape = g, shape
        count = g.node("ReduceSum", "last.count", "attention_mask", g.integers(1), keepdims=0)
        self.last = g.node("Sub", "last.index", count, g.integers(1))
        self._add_positions(tokens)
        self._add_masks()

    def last_token(self, name: str, x: str) -> str:
        """The state of each row's last token, ``(rows, 1, dim)``."""
        g = self._g
        if not g.has("last.rows"):
            g.reshape("last.rows", self.last, -1, 1)
        picked = g.node("GatherND", f"{name}.picked", x, "last.rows", batch_dims=1)
        return g.node("Unsqueeze", name, picked, g.integers(1))

    def turn(self, name: str, x: str, which: str = "all") -> str:
        """Turn queries or keys ``(rows, heads, tokens, size)`` by the angles of their positions.

        In this form OpenVINO runs it as one operator.
        """
        g, size = self._g, self._shape.size
        a = g.slice(f"{name}.a", x, 3, 0, size // 2)
        b = g.slice(f"{name}.b", x, 3, size // 2, size)
        minus = g.node("Mul", f"{name}.minus", b, _number(g, "minus", -1))
        across = g.node("Concat", f"{name}.across", minus, a, axis=-1)
        return g.node(
            "Add",
            f"{name}.turned",
            g.node("Mul", f"{name}.cos", x, f"rotary.cos.{which}"),
            g.node("Mul", f"{name}.sin", across, f"rotary.sin.{which}"),
        )

    def mix(self, layer: int, query: str, key: str, value: str, which: str = "all") -> str:
        """Each query's mean of the values: ``(rows, tokens, heads * size)``.

        Inputs are ``(rows, heads or key_heads, tokens, size)``.
        """
        g, shape, name = self._g, self._shape, f"layers.{layer}.attention"
        query = g.reshape(f"{name}.groups", query, 0, shape.key_heads, -1, shape.size)
        scale = _number(g, "attention.scale", shape.size**-0.5)
        query = g.node("Mul", f"{name}.scaled", query, scale)
        keys, values = (
            self._joined(f"{name}.{part}", x, 2 * layer + number)
            for number, (part, x) in enumerate((("keys", key), ("values", value)))
        )
        keys = g.node("Transpose", f"{name}.keys.turned", keys, perm=[0, 1, 3, 2])
        logits = g.node("MatMul", f"{name}.qk", query, keys)
        masked = g.node("Add", f"{name}.masked", logits, f"mask.{which}")
        weights = g.node("Softmax", f"{name}.softmax", masked, axis=-1)
        mixed = g.node("MatMul", f"{name}.mixed", weights, values)
        by_head = g.node(
            "Concat",
            f"{name}.sizes",
            g.integers(0, shape.heads),
            f"count.{which}",
            g.integers(shape.size),
            axis=0,
        )
        apart = g.node("Reshape", f"{name}.apart", mixed, by_head)
        together = g.node("Transpose", f"{name}.together", apart, perm=[0, 2, 1, 3])
        return g.reshape(f"{name}.flat", together, 0, -1, shape.heads * shape.size)

    def _joined(self, name: str, x: str, index: int) -> str:
        """Keys or values of the past, the same for all rows, before those of the rows."""
        g = self._g
        number = g.constant(f"past.index.{index}", np.array([index], np.int64))
        past = g.node("Gather", f"{name}.past", "past", number, axis=0)
        if not g.has("past.sizes"):
            rows = g.node("Shape", "rows", "input_ids", start=0, end=1)
            g.node("Concat", "past.sizes", rows, g.integers(1, 1, 1), axis=0)
        spread = g.node("Expand", f"{name}.spread", past, "past.sizes")
        return g.node("Concat", f"{name}.joined", spread, x, axis=2)

    def _add_positions(self, tokens: int) -> None:
        """Cosines and sines: ``(1, 1, tokens, size)``; of last tokens ``(rows, 1, 1, size)``."""
        g, angles = self._g, self._shape.angles
        start = g.node("ReduceSum", "past.count", "past_mask", g.integers(1), keepdims=0)
        count = g.node("Shape", "count.all", "input_ids", start=1, end=2)
        g.constant("count.last", np.array([1], np.int64))
        positions = g.node("Add", "positions", g.count_up("range", count), start)
        longest = tokens + LENGTH_STEP  # with a row's padding
        turns = np.outer(np.arange(longest), [*angles, *angles])
        for function, name in ((np.cos, "rotary.cos"), (np.sin, "rotary.sin")):
            table = g.constant(f"{name}.table", function(turns).astype(np.float32))
            rows = g.node("Gather", f"{name}.rows", table, positions)
            g.node("Unsqueeze", f"{name}.all", rows, g.integers(0, 1))
            last = g.node("Gather", f"{name}.last.rows", rows, self.last)
            g.node("Unsqueeze", f"{name}.last", last, g.integers(1, 2))

    def _add_masks(self) -> None:
        """What is added to attention logits, ``(1 or rows, 1, queries, past + tokens)``."""
        g = self._g
        masked = _number(g, "masked", MASKED)
        wide = g.node("Cast", "past.float", "past_mask", to=TensorProto.FLOAT)
        missing = g.node("Sub", "past.missing", _number(g, "one", 1), wide)
        past = g.reshape("mask.past", g.node("Mul", "past.masked", missing, masked), 1, 1, 1, -1)
        keys = g.reshape("causal.keys", "range", 1, -1)
        queries = g.reshape("causal.queries", "range", -1, 1)
        later = g.node("Greater", "causal.later", keys, queries)
        later = g.node("Cast", "causal.float", later, to=TensorProto.FLOAT)
        among = g.node("Mul", "causal.masked", later, masked)
        self._join_mask(
            "all", past, g.node("Unsqueeze", "causal", among, g.integers(0, 1)), "count.all"
        )
        last = g.node("Gather", "causal.last.rows", among, self.last)
        last = g.node("Unsqueeze", "causal.last", last, g.integers(1, 2))
        rows = g.node("Shape", "last.count.rows", last, start=0, end=1)
        sizes = g.node("Concat", "mask.last.sizes", rows, g.integers(1, 1, 1), axis=0)
        spread = g.node("Expand", "mask.last.spread", past, sizes)
        g.node("Concat", "mask.last", spread, last, axis=3)

    def _join_mask(self, which: str, past: str, among: str, count: str) -> None:
        """The masks of the past and of a row's tokens, for all queries of a group."""
        g = self._g
        sizes = g.node(
            "Concat", f"mask.{which}.sizes", g.integers(1, 1), count, g.integers(1), axis=0
        )
        spread = g.node("Expand", f"mask.{which}.spread", past, sizes)
        both = g.node("Concat", f"mask.{which}.both", spread, among, axis=3)
        g.node("Concat", f"mask.{which}", *[both] * self._shape.group, axis=2)


def _number(g: GraphBuilder, name: str, value: float) -> str:
    return g.constant(f"number.{name}", np.array(value, np.float32))
