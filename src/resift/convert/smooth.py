"""SmoothQuant: move outlying channels of activations into the weights that multiply them.

x W = (x / s)(s W) for any factor s a channel (Xiao et al., https://arxiv.org/abs/2211.10438). With
s between the sizes of a channel's activations and of its weights, both round well. Where the maker
of x can divide by s, this costs nothing at run time; elsewhere x is multiplied by 1 / s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from resift.convert.folding import foldable_constants
from resift.convert.products import Floats, Graph, Product, groups
from resift.convert.ranges import Ranges

ALPHA = 0.8
"""How much of a channel's size moves into the weights: 0 is nothing, 1 everything (LOG.md)."""

_TINY = 1e-8


@dataclass(slots=True)
class Smoothing:
    """Factors ``(channels,)`` by tensor, and what the makers of `folded_tensors` divide by.

    `divisors` has what the last axis of constants is divided by.
    """

    factors: dict[str, Floats] = field(default_factory=dict)
    folded_tensors: set[str] = field(default_factory=set)
    divisors: dict[str, Floats] = field(default_factory=dict)

    def folded(self, graph: Graph, name: str) -> Floats:
        """The value of a constant after folding."""
        value = graph.floats(name)
        return value / self.divisors[name] if name in self.divisors else value


def smoothing(
    graph: Graph, ranges: Ranges, products: Sequence[Product], alpha: float = ALPHA
) -> Smoothing:
    """The factors of all products' tensors: one array for all that share a tensor or a kernel.

    Later groups come first, because folding changes the kernels that make their tensors.
    """
    result = Smoothing()
    nodes = frozenset(product.node for product in products)
    for group in reversed(groups(products)):
        activations = np.max([ranges.largest(name) for name in group.tensors], axis=0)
        rows = [np.abs(result.folded(graph, name)).max(axis=1) for name in group.kernels]
        factors = _factors(activations, np.max(rows, axis=0), alpha)
        result.factors |= dict.fromkeys(group.tensors, factors)
        constants = foldable_constants(graph, group, nodes)
        if constants:
            result.folded_tensors.update(group.tensors)
            for name in constants:
                result.divisors[name] = result.divisors.get(name, 1.0) * factors
    return result


def _factors(activations: Floats, weights: Floats, alpha: float) -> Floats:
    """Activations to the power of alpha by weights to the power of 1 - alpha; 1 for zeros."""
    is_used = (activations > _TINY) & (weights > _TINY)
    x, w = np.where(is_used, activations, 1.0), np.where(is_used, weights, 1.0)
    result: Floats = np.where(is_used, x**alpha / w ** (1 - alpha), 1.0).astype(np.float32)
    return result
