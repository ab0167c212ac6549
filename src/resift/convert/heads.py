"""Queries, keys and values of a layer, by heads: what attention reads."""

from dataclasses import dataclass, replace

from resift.convert.graph import GraphBuilder


@dataclass(frozen=True, slots=True)
class Heads:
    """Queries, keys and values of a layer, ``(rows, tokens, count, size)`` each.

    `mask` is the additive mask ``(rows, 1, 1, tokens)``. With `first_only` there is one query a
    row, that of the first token.
    """

    name: str
    layer: int
    query: str
    key: str
    value: str
    mask: str
    count: int
    size: int
    first_only: bool = False

    @property
    def queries(self) -> str:
        """Which queries there are, as part of a tensor's name."""
        return "first" if self.first_only else "all"

    def beginning(self, g: GraphBuilder, tokens: int) -> "Heads":
        """The same queries with the first `tokens` keys."""
        key, value, mask = (
            g.slice(f"{self.name}.{part}.near", getattr(self, part), axis, 0, tokens)
            for part, axis in (("key", 1), ("value", 1), ("mask", 3))
        )
        return replace(self, key=key, value=value, mask=mask)


def token_count(g: GraphBuilder, mask: str) -> str:
    """The number of positions of a mask ``(rows, 1, 1, tokens)``, int64 ``(1,)``."""
    name = f"{mask}.tokens"
    return name if g.has(name) else g.node("Shape", name, mask, start=3, end=4)
