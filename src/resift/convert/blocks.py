"""Attention to near tokens in blocks, with a cost that grows with the length of a row only.

A row is read in blocks as long as the window. A query sees at most the window to each side, so the
keys of its block and of the two neighbours suffice. Blocks become rows: ``rows * blocks`` rows of
`window` queries and three times as many keys, which the usual attention reads.
"""

from dataclasses import replace

import numpy as np

from resift.convert.graph import MASKED, GraphBuilder
from resift.convert.heads import Heads, token_count


class Blocks:
    """The blocks of a layer's `heads`, and the way back to rows."""

    def __init__(self, g: GraphBuilder, heads: Heads, window: int) -> None:
        self._g = g
        self._window = window
        self._whole = heads
        self._name = f"blocks.{window}"
        missing = f"{self._name}.missing"
        if not g.has(missing):  # how many tokens the last block lacks
            negative = g.node("Neg", f"{self._name}.negative", token_count(g, heads.mask))
            g.node("Mod", missing, negative, g.integers(window))
        name, shape = heads.name, (heads.count, heads.size)
        query = self._padded(f"{name}.query.padded", heads.query, 0, f"{self._name}.missing")
        self.heads = replace(
            heads,
            query=g.reshape(f"{name}.query.blocks", query, -1, window, *shape),
            key=self._neighbours(f"{name}.key", heads.key, *shape),
            value=self._neighbours(f"{name}.value", heads.value, *shape),
            mask=self._mask(),
        )
        """The heads of each block, with ``rows * blocks`` rows."""

    def join(self, mixed: str) -> str:
        """``(rows * blocks, window, dim)`` → ``(rows, tokens, dim)``."""
        g, name = self._g, self._whole.name
        rows = f"{self._name}.rows"
        if not g.has(rows):
            first = g.node("Shape", f"{self._name}.count", self._whole.mask, start=0, end=1)
            dim = g.integers(self._whole.count * self._whole.size)
            g.node("Concat", rows, first, g.integers(-1), dim, axis=0)
        joined = g.node("Reshape", f"{name}.joined", mixed, rows)
        end = token_count(g, self._whole.mask)
        return g.node("Slice", f"{name}.whole", joined, g.integers(0), end, g.integers(1))

    def _neighbours(self, name: str, x: str, *shape: int, fill: float = 0.0) -> str:
        """``(rows, tokens, *shape)`` → ``(rows * blocks, 3 * window, *shape)``."""
        g, window = self._g, self._window
        end = f"{self._name}.end"
        if not g.has(end):
            g.node("Add", end, f"{self._name}.missing", g.integers(window))
        padded = self._padded(f"{name}.padded", x, window, end, fill)
        parts = []
        for number, (start, stop) in enumerate(((0, -2), (1, -1), (2, None))):
            last = np.iinfo(np.int64).max if stop is None else stop * window
            part = f"{name}.block.{number}"
            begin, finish = g.integers(start * window), g.integers(int(last))
            g.node("Slice", part, padded, begin, finish, g.integers(1))
            parts.append(g.reshape(f"{part}.rows", part, -1, window, *shape))
        return g.node("Concat", f"{name}.near", *parts, axis=1)

    def _padded(self, name: str, x: str, before: int, after: str, fill: float = 0.0) -> str:
        """`x` with `before` tokens more at the front and `after` at the end."""
        g = self._g
        pads = g.node("Concat", f"{name}.pads", g.integers(before), after, axis=0)
        value = g.constant(f"fill.{fill}", np.array(fill, np.float32))
        return g.node("Pad", name, x, pads, value, g.integers(1))

    def _mask(self) -> str:
        """The additive mask of each block's keys, ``(rows * blocks, 1, window, 3 * window)``."""
        g, window, name = self._g, self._window, f"{self._name}.mask"
        if g.has(name):
            return name  # it is the same in every layer
        upright = g.reshape(f"{name}.upright", self._whole.mask, 0, -1, 1, 1)
        near = self._neighbours(name, upright, 1, 1, fill=MASKED)
        keys = g.reshape(f"{name}.keys", near, -1, 1, 1, 3 * window)
        distance = np.arange(3 * window)[None] - window - np.arange(window)[:, None]
        far = np.where(np.abs(distance) > window, MASKED, 0).astype(np.float32)
        return g.node("Add", name, keys, g.constant(f"{self._name}.far", far))
