"""Attention to near tokens in blocks, with a cost that grows with the length of a row only.

A long row is read in blocks of `window` tokens. A query sees at most `window` tokens to each side,
so the keys of its block and of the two neighbours suffice. Blocks become rows: ``rows * blocks``
rows of `window` queries and three times as many keys, which the usual attention reads. A row of at
most `WHOLE` tokens is one block with its own keys, since small blocks would cost more than they
save.
"""

from dataclasses import replace

import numpy as np
from onnx import TensorProto

from resift.convert.graph import MASKED, GraphBuilder
from resift.convert.heads import Heads, token_count

WHOLE = 256


class Blocks:
    """The blocks of a layer's heads, and the way back to rows.

    `heads` are those of the blocks, with ``rows * blocks`` rows.
    """

    def __init__(self, g: GraphBuilder, heads: Heads, window: int) -> None:
        self._g = g
        self._window = window
        self._name = f"blocks.{window}"
        self._whole = heads
        if not g.has(f"{self._name}.mask"):  # it is the same in every layer
            self._sizes()
            self._mask(*self._tokens())
        shape = g.integers(heads.count, heads.size)
        self.heads = replace(
            heads,
            query=self._read("query", heads.query, "size", shape),
            key=self._read("key", heads.key, "near", shape),
            value=self._read("value", heads.value, "near", shape),
            mask=f"{self._name}.mask",
        )

    def join(self, mixed: str) -> str:
        """``(rows * blocks, size, dim)`` → ``(rows, tokens, dim)``."""
        g, name, mask = self._g, self._whole.name, self._whole.mask
        shape = f"{self._name}.joined"
        if not g.has(shape):
            rows = g.node("Shape", f"{self._name}.rows", mask, start=0, end=1)
            dim = g.integers(self._whole.count * self._whole.size)
            g.node("Concat", shape, rows, g.integers(-1), dim, axis=0)
        joined = g.node("Reshape", f"{name}.joined", mixed, shape)
        ends = (g.integers(0), token_count(g, mask), g.integers(1))
        return g.node("Slice", f"{name}.whole", joined, *ends)

    def sighted(self) -> str:
        """1 for each token that has a key to attend to, else 0: ``(rows * blocks, size, 1)``."""
        g, name = self._g, self._tensor("sighted")
        if not g.has(name):
            best = self._node("ReduceMax", "best", self.heads.mask, g.integers(3))
            limit = g.constant("blind", np.array(MASKED / 2, np.float32))
            sees = self._node("Greater", "sees", best, limit)
            number = g.node("Cast", self._tensor("sees.number"), sees, to=TensorProto.FLOAT)
            self._node("Squeeze", "sighted", number, g.integers(1))
        return name

    def _sizes(self) -> None:
        """``size`` of a block, ``near`` keys that it reads, ``reach`` to each side, ``count``."""
        g = self._g
        window = g.integers(self._window)
        tokens = token_count(g, self._whole.mask)
        is_long = self._node("Greater", "is_long", tokens, g.integers(WHOLE))
        size = self._node("Where", "size", is_long, window, tokens)
        reach = self._node("Where", "reach", is_long, window, g.integers(0))
        both = self._node("Mul", "both", reach, g.integers(2))
        self._node("Add", "near", size, both)
        rest = self._node("Sub", "rest", size, g.integers(1))
        self._node("Div", "count", self._node("Add", "filled", tokens, rest), size)

    def _tokens(self) -> tuple[str, str]:
        """The numbers of each block's queries ``(blocks, size, 1)`` and keys ``(blocks, 1, near)``.

        Some are no tokens: they are before the first or after the last one.
        """
        g = self._g
        block = self._node("Mul", "block", self._range("count"), self._tensor("size"))
        first = g.reshape(f"{self._name}.first", block, -1, 1, 1)
        query = g.reshape(f"{self._name}.query", self._range("size"), 1, -1, 1)
        key = g.reshape(f"{self._name}.key", self._range("near"), 1, 1, -1)
        shifted = self._node("Sub", "shifted", key, self._tensor("reach"))
        return self._node("Add", "queries", first, query), self._node("Add", "keys", first, shifted)

    def _mask(self, queries: str, keys: str) -> None:
        """Indices of tokens to read, and the additive mask ``(rows * blocks, 1, size, near)``."""
        g, whole = self._g, self._whole.mask
        tokens = token_count(g, whole)
        last = self._node("Sub", "last", tokens, g.integers(1))
        for numbers, name in ((queries, "size"), (keys, "near")):
            lowest = self._node("Max", f"{name}.lowest", numbers, g.integers(0))
            present = self._node("Min", f"{name}.present", lowest, last)
            g.reshape(f"{self._name}.{name}.tokens", present, -1)
        distance = self._node("Abs", "distance", self._node("Sub", "difference", keys, queries))
        far = self._node("Greater", "far", distance, g.integers(self._window))
        before = self._node("Less", "before", keys, g.integers(0))
        after = self._node("GreaterOrEqual", "after", keys, tokens)
        beyond = self._node("Or", "beyond", far, self._node("Or", "outside", before, after))
        number = g.node("Cast", f"{self._name}.number", beyond, to=TensorProto.FLOAT)
        masked = g.constant("masked", np.array(MASKED, np.float32))
        band = self._node("Mul", "band", number, masked)
        near = g.node(
            "Gather", f"{self._name}.near.mask", whole, f"{self._name}.near.tokens", axis=3
        )
        names = (g.integers(0), self._tensor("count"), g.integers(1), self._tensor("near"))
        shape = g.node("Concat", f"{self._name}.near.shape", *names, axis=0)
        by_block = self._node(
            "Add", "by_block", self._node("Reshape", "near.parted", near, shape), band
        )
        sizes = (g.integers(-1, 1), self._tensor("size"), self._tensor("near"))
        self._node(
            "Reshape", "mask", by_block, g.node("Concat", f"{self._name}.shape", *sizes, axis=0)
        )

    def _read(self, part: str, x: str, size: str, shape: str) -> str:
        """``(rows, tokens, count, size)`` → the tokens of each block."""
        g, name = self._g, f"{self._whole.name}.{part}"
        target = f"{self._name}.{size}.heads"
        if not g.has(target):
            g.node("Concat", target, g.integers(-1), self._tensor(size), shape, axis=0)
        tokens = g.node("Gather", f"{name}.near", x, f"{self._name}.{size}.tokens", axis=1)
        return g.node("Reshape", f"{name}.blocks", tokens, target)

    def _range(self, name: str) -> str:
        """0, 1, … before one of the sizes, ``(n,)``."""
        return self._g.count_up(self._tensor(f"{name}.range"), self._tensor(name))

    def _tensor(self, name: str) -> str:
        return f"{self._name}.{name}"

    def _node(self, operator: str, name: str, *inputs: str) -> str:
        return self._g.node(operator, self._tensor(name), *inputs)
