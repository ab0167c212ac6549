"""Disentangled attention of DeBERTa (arXiv:2006.03654): a logit has parts for content and distance.

A query and a key add ``query · key``, the query's product with an embedding of their distance, and
the key's product with another. Distances have buckets: exact ones near, wider ones further away.
The embeddings are constants, so a layer needs two products ``(…, n, size) x (size, buckets)`` and
from each a number per query and key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from resift.convert.graph import GraphBuilder
from resift.convert.heads import Heads, token_count
from resift.convert.positions import Absolute

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DistanceTables:
    """A layer's embeddings of buckets, ``(heads, size, buckets)`` each, with the logits' scale.

    Queries are multiplied by `for_queries`, keys by `for_keys`; None leaves a part out.
    """

    for_queries: Floats | None = None
    for_keys: Floats | None = None


@dataclass(frozen=True, slots=True)
class Disentangled(Absolute):
    """Adds products with embeddings of the distance, query position - key position.

    ``buckets[distance + tokens - 1]`` is a distance's column in the tables; buckets must not fall
    as distances grow. `tokens` is the highest number of positions, `scale` that of the content.
    """

    folds_first_token: ClassVar[bool] = False

    layers: Sequence[DistanceTables]
    buckets: NDArray[np.int64]
    scale: float

    @property
    def tokens(self) -> int:
        return (len(self.buckets) + 1) // 2

    def logits(self, g: GraphBuilder, heads: Heads, query: str, key: str) -> str:
        tables = self.layers[heads.layer]
        if heads.first_only:
            return self._logits_of_first(g, heads, query, key, tables)
        scale = g.constant("attention.scale", np.array(self.scale, np.float32))
        product = g.node("MatMul", f"{heads.name}.qk", query, key)
        total = g.node("Mul", f"{heads.name}.scaled", product, scale)
        if tables.for_queries is not None:
            added = self._of_queries(g, heads, query, tables.for_queries)
            total = g.node("Add", f"{heads.name}.c2p.sum", total, added)
        if tables.for_keys is not None:
            added = self._of_keys(g, heads, tables.for_keys)
            total = g.node("Add", f"{heads.name}.p2c.sum", total, added)
        return total

    def _of_queries(self, g: GraphBuilder, heads: Heads, query: str, table: Floats) -> str:
        """Products of queries with their distances to keys, ``(rows, count, n, n)``.

        The product has ``2 n + 1`` columns for the distances from n to -n. A query's columns begin
        one further left than those of the query before. So in pieces of n numbers, every second
        piece is a query's: a copy of rows, which is the fastest in both runtimes.
        """
        name, columns = f"{heads.name}.c2p", "distances.falling"
        count = token_count(g, heads.mask)
        if not g.has(columns):
            falling = np.pad(self.buckets, 1, mode="edge")[::-1]
            start = g.node("Sub", f"{columns}.start", g.integers(self.tokens), count)
            end = g.node("Add", f"{columns}.end", g.integers(self.tokens + 1), count)
            constant = g.constant(f"{columns}.buckets", falling)
            g.node("Slice", columns, constant, start, end, g.integers(0))
            sizes = (g.integers(0, 0, -1), count)
            g.node("Concat", "distances.pieces", *sizes, axis=0)
        constant = g.constant(f"{name}.table", table)
        near = g.node("Gather", f"{name}.near", constant, columns, axis=2)
        products = g.node("MatMul", f"{name}.qk", query, near)
        pieces = g.node("Reshape", f"{name}.pieces", products, "distances.pieces")
        end = g.integers(np.iinfo(np.int64).max)
        return g.node("Slice", name, pieces, g.integers(1), end, g.integers(2), g.integers(2))

    def _of_keys(self, g: GraphBuilder, heads: Heads, table: Floats) -> str:
        """Products of keys with their distances to queries, ``(rows, count, n, n)``.

        The product has a row per key, the result a column, so numbers are picked one by one: by one
        index along a flat axis, which is faster than the copy above with a transposition, and much
        faster than GatherElements.
        """
        name = f"{heads.name}.p2c"
        first, end = self._reach(g, heads)
        key = g.node("Transpose", f"{name}.key", heads.key, perm=[0, 2, 1, 3])
        constant = g.constant(f"{name}.table", table)
        near = g.node("Slice", f"{name}.near", constant, first, end, g.integers(2))
        products = g.node("MatMul", f"{name}.qk", key, near)
        flat = g.reshape(f"{name}.flat", products, 0, 0, -1)
        return g.node("Gather", name, flat, self._indices(g, heads), axis=2)

    def _reach(self, g: GraphBuilder, heads: Heads) -> tuple[str, str]:
        """The first column that rows of this length need, and the end, int64 ``(1,)`` each."""
        first, end = "distances.first", "distances.end"
        if not g.has(first):
            buckets = g.constant("distances.buckets", self.buckets)
            count = token_count(g, heads.mask)
            lowest = g.node("Sub", "distances.lowest", g.integers(self.tokens), count)
            g.node("Gather", first, buckets, lowest)
            highest = g.node("Add", "distances.highest", g.integers(self.tokens - 2), count)
            last = g.node("Gather", "distances.last", buckets, highest)
            g.node("Add", end, last, g.integers(1))
        return first, end

    def _indices(self, g: GraphBuilder, heads: Heads) -> str:
        """Where the number of a query and a key is in flat products, int64 ``(queries, keys)``."""
        name = "distances.indices"
        if g.has(name):
            return name  # it is the same in every layer
        first, end = self._reach(g, heads)
        keys = g.count_up("distances.keys", token_count(g, heads.mask))
        queries = g.reshape("distances.queries", keys, -1, 1)
        difference = g.node("Sub", "distances.difference", queries, keys)
        shifted = g.node("Add", "distances.shifted", difference, g.integers(self.tokens - 1))
        buckets = g.constant("distances.buckets", self.buckets)
        picked = g.node("Gather", "distances.picked", buckets, shifted)
        columns = g.node("Sub", "distances.columns", picked, first)
        width = g.node("Sub", "distances.width", end, first)
        return g.node("Add", name, columns, g.node("Mul", "distances.rows", keys, width))

    def _logits_of_first(
        self, g: GraphBuilder, heads: Heads, query: str, key: str, tables: DistanceTables
    ) -> str:
        """The logits of the first token, ``(rows, count, 1, tokens)``: a distance per key."""
        name = heads.name
        scale = g.constant("attention.scale", np.array(self.scale, np.float32))
        keys = g.node("Mul", f"{name}.key.scaled", key, scale)
        if tables.for_queries is not None:
            near = self._embeddings_of_keys(g, heads, "c2p", tables.for_queries)
            keys = g.node("Add", f"{name}.c2p.sum", keys, near)
        total = g.node("MatMul", f"{name}.qk", query, keys)
        if tables.for_keys is not None:
            near = self._embeddings_of_keys(g, heads, "p2c", tables.for_keys)
            products = g.node("Mul", f"{name}.p2c.products", key, near)
            added = g.node("ReduceSum", f"{name}.p2c", products, g.integers(2), keepdims=1)
            total = g.node("Add", f"{name}.p2c.sum", total, added)
        return total

    def _embeddings_of_keys(self, g: GraphBuilder, heads: Heads, part: str, table: Floats) -> str:
        """Embeddings of the distances from the first token, ``(count, size, tokens)``."""
        columns = "distances.of_first"
        if not g.has(columns):
            before = g.constant(f"{columns}.buckets", self.buckets[: self.tokens][::-1])
            end = token_count(g, heads.mask)
            g.node("Slice", columns, before, g.integers(0), end, g.integers(0))
        constant = g.constant(f"{heads.name}.{part}.table", table)
        return g.node("Gather", f"{heads.name}.{part}.near", constant, columns, axis=2)
