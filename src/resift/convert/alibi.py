"""Attention that falls off with distance in a straight line (ALiBi, arXiv:2108.12409).

`Biased` could hold the same numbers. A product makes them without a table, so that a runtime which
joins elementwise operations writes ``(rows, heads, tokens, tokens)`` once and not twice: the most
memory that a long row takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from onnx import TensorProto

from resift.convert.graph import GraphBuilder
from resift.convert.heads import Heads, token_count
from resift.convert.positions import Absolute


@dataclass(frozen=True, slots=True)
class Alibi(Absolute):
    """Takes ``slopes[head] * |key position - query position|`` off the logits of all layers."""

    folds_first_token: ClassVar[bool] = False

    slopes: Sequence[float]

    def mask(self, g: GraphBuilder, heads: Heads) -> str:
        name = f"alibi.{heads.queries}.mask"
        if g.has(name):
            return name  # it is the same in every layer
        falls = -np.array(self.slopes, np.float32)[:, None, None]
        distances = self._distances(g, heads)
        bias = g.node("Mul", f"{name}.bias", distances, g.constant("alibi.falls", falls))
        return g.node("Add", name, bias, heads.mask)

    def _distances(self, g: GraphBuilder, heads: Heads) -> str:
        """Float32 ``(queries, tokens)``."""
        name = f"alibi.{heads.queries}"
        whole = g.count_up(f"{name}.whole", token_count(g, heads.mask))
        keys = g.node("Cast", f"{name}.keys", whole, to=TensorProto.FLOAT)
        if heads.first_only:
            return keys  # the first token is at 0
        difference = g.node("Sub", f"{name}.difference", keys, g.reshape(f"{name}.up", keys, -1, 1))
        return g.node("Abs", f"{name}.distances", difference)
