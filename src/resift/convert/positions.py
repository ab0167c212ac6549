"""How attention knows where tokens stand: one class for each kind of position.

A layer's attention is ``mix``: queries, keys and values by heads in, the mixed values out. The
kinds differ in what they change on the way. `Absolute` changes nothing, because positions are added
to the embeddings; `Biased` adds a number per head and distance; `Rotary` turns queries and keys,
and may let a layer's tokens see near tokens only (`blocks.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from resift.convert.blocks import Blocks
from resift.convert.graph import GraphBuilder
from resift.convert.heads import Heads, token_count


@dataclass(frozen=True, slots=True)
class Absolute:
    """Positions are part of the embeddings.

    `folds_first_token`: attention of the first token alone may skip the projection of its context.
    """

    folds_first_token: ClassVar[bool] = True

    def limited(self, tokens: int) -> "Absolute":
        """Positions for rows of at most so many tokens."""
        return self

    def mix(self, g: GraphBuilder, heads: Heads) -> str:
        """Each query's mean of the values, weighted by attention: ``(rows, n, count * size)``."""
        name = heads.name
        query = g.node("Transpose", f"{name}.query", heads.query, perm=[0, 2, 1, 3])
        key = g.node("Transpose", f"{name}.key", heads.key, perm=[0, 2, 3, 1])
        value = g.node("Transpose", f"{name}.value", heads.value, perm=[0, 2, 1, 3])
        logits = self.logits(g, heads, query, key)
        masked = g.node("Add", f"{name}.masked", logits, self.mask(g, heads))
        attention = g.node("Softmax", f"{name}.softmax", masked, axis=-1)
        mixed = g.node("MatMul", f"{name}.mixed", attention, value)
        together = g.node("Transpose", f"{name}.together", mixed, perm=[0, 2, 1, 3])
        merge = g.constant("heads.merge", np.array([0, 0, heads.count * heads.size], np.int64))
        return g.node("Reshape", f"{name}.flat", together, merge)

    def logits(self, g: GraphBuilder, heads: Heads, query: str, key: str) -> str:
        """Scaled products of queries ``(…, n, size)`` and keys ``(…, size, tokens)``."""
        scale = g.constant("attention.scale", np.array(heads.size**-0.5, np.float32))
        product = g.node("MatMul", f"{heads.name}.qk", query, key)
        return g.node("Mul", f"{heads.name}.scaled", product, scale)

    def mask(self, g: GraphBuilder, heads: Heads) -> str:
        """What is added to the logits before the softmax."""
        return heads.mask


@dataclass(frozen=True, slots=True)
class Biased(Absolute):
    """Adds ``bias[head, key position - query position + reach]`` to the logits of all layers.

    `bias` is ``(heads, 2 * reach + 1)``: learned numbers per distance.
    """

    folds_first_token: ClassVar[bool] = False

    bias: NDArray[np.float32]

    def mask(self, g: GraphBuilder, heads: Heads) -> str:
        name = f"positions.{heads.queries}.mask"
        if g.has(name):
            return name  # it is the same in every layer
        table = g.constant("positions.bias", self.bias)
        distances = self._distances(g, heads)
        bias = g.node("Gather", f"positions.{heads.queries}.bias", table, distances, axis=1)
        return g.node("Add", name, bias, heads.mask)

    def _distances(self, g: GraphBuilder, heads: Heads) -> str:
        """Indices of the bias, int64 ``(queries, tokens)``."""
        name = f"positions.{heads.queries}"
        keys = g.count_up(f"{name}.keys", token_count(g, heads.mask))
        queries = g.integers(0) if heads.first_only else keys
        upright = g.reshape(f"{name}.upright", queries, -1, 1)
        difference = g.node("Sub", f"{name}.difference", keys, upright)
        return g.node("Add", f"{name}.indices", difference, g.integers(self.bias.shape[1] // 2))


@dataclass(frozen=True, slots=True)
class RotaryLayer:
    """A layer's `angles` per position, ``(size / 2,)``, and how far its tokens see; 0 is all."""

    angles: tuple[float, ...]
    window: int = 0


@dataclass(frozen=True, slots=True)
class Rotary(Absolute):
    """Turns queries and keys by angles that grow with the position (arXiv:2104.09864).

    `tokens` is the highest number of positions. A layer with a window reads rows in blocks, so that
    its cost grows with the length of a row and not with its square. With `blind_is_zero` attention
    gives zero for a token whose window has no token to attend to, as torch does; otherwise it gives
    any value, since only padding has such a window.
    """

    folds_first_token: ClassVar[bool] = False

    layers: Sequence[RotaryLayer]
    tokens: int
    blind_is_zero: bool = False

    def limited(self, tokens: int) -> Absolute:
        return replace(self, tokens=min(self.tokens, tokens))

    def mix(self, g: GraphBuilder, heads: Heads) -> str:
        layer = self.layers[heads.layer]
        key = self._turn(g, heads, "key", layer.angles)
        query = heads.query
        if not heads.first_only:  # the first token's angle is 0
            query = self._turn(g, heads, "query", layer.angles)
        heads = replace(heads, query=query, key=key)
        if not layer.window:
            return Absolute().mix(g, heads)
        if heads.first_only:
            return Absolute().mix(g, heads.beginning(g, layer.window + 1))
        blocks = Blocks(g, heads, layer.window)
        mixed = Absolute().mix(g, blocks.heads)
        if self.blind_is_zero:
            mixed = g.node("Mul", f"{heads.name}.seen", mixed, blocks.sighted())
        return blocks.join(mixed)

    def _turn(self, g: GraphBuilder, heads: Heads, part: str, angles: tuple[float, ...]) -> str:
        """``x cos + (-b, a) sin``, where a and b are the first and last elements of each head of x.

        In this form, by heads and with slices, OpenVINO runs it as one operator.
        """
        name, middle = f"{heads.name}.{part}", heads.size // 2
        cosine, sine = self._tables(g, heads.mask, angles)
        x = heads.key if part == "key" else heads.query
        x = g.node("Transpose", f"{name}.by_head", x, perm=[0, 2, 1, 3])
        a = g.slice(f"{name}.a", x, 3, 0, middle)
        b = g.slice(f"{name}.b", x, 3, middle, heads.size)
        minus = g.constant("minus", np.array(-1.0, np.float32))
        across = g.node(
            "Concat", f"{name}.across", g.node("Mul", f"{name}.minus", b, minus), a, axis=-1
        )
        turned = g.node(
            "Add",
            f"{name}.turned",
            g.node("Mul", f"{name}.cos", x, cosine),
            g.node("Mul", f"{name}.sin", across, sine),
        )
        return g.node("Transpose", f"{name}.by_token", turned, perm=[0, 2, 1, 3])

    def _tables(self, g: GraphBuilder, mask: str, angles: tuple[float, ...]) -> list[str]:
        """Cosines and sines of the positions at hand, ``(1, 1, tokens, size)``."""
        number = list(dict.fromkeys(layer.angles for layer in self.layers)).index(angles)
        turns = np.outer(
            np.arange(self.tokens, dtype=np.float32), np.array([*angles, *angles], np.float32)
        )
        tables = []
        for function, name in ((np.cos, f"rotary.{number}.cos"), (np.sin, f"rotary.{number}.sin")):
            if not g.has(name):
                table = g.constant(f"{name}.table", function(turns)[None, None])
                g.node("Slice", name, table, g.integers(0), token_count(g, mask), g.integers(2))
            tables.append(name)
        return tables
