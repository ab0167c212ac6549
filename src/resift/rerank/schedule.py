"""Which rows run together: length order and a token budget, never a count of documents.

Pure: lengths in, groups of row numbers out. Knows no runtime, no text and no clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOKEN_BUDGET = 1024
"""Positions a batch. Measured best on small CPUs: beyond 2,048 a batch falls out of the cache."""

LENGTH_STEP = 16
"""Rows are padded to a multiple of this, the width of the widest vector registers. Sums over a
row then run in the same order whatever the row is padded to, and so a pair's score is the same,
bit for bit, alone and among others; int8 layers would make of a last bit a visible difference."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that run as one batch, padded to `length` positions each."""

    rows: NDArray[np.intp]
    length: int

    @property
    def positions(self) -> int:
        return len(self.rows) * self.length


def padded_length(tokens: int) -> int:
    """The number of positions that a row of so many tokens takes on its own."""
    return max(-(-tokens // LENGTH_STEP), 1) * LENGTH_STEP


def schedule(
    lengths: Sequence[int], token_budget: int = TOKEN_BUDGET, wave: int | None = None
) -> list[Group]:
    """Group rows so that each group's padded size is at most `token_budget` positions.

    Rows are taken in length order, longest first, so that a runtime's buffers are largest at
    once and neighbours are alike. A row longer than the budget is a group of its own. With
    `wave`, the rows go in waves of that many in input order, each in length order within: what
    a deadline cuts off is then the end of the input and not its longest texts.
    """
    groups: list[Group] = []
    size = wave or max(len(lengths), 1)
    for start in range(0, len(lengths), size):
        part = np.asarray(lengths[start : start + size], dtype=np.int64)
        order = start + np.argsort(-part, kind="stable")
        groups.extend(_cut(order, lengths, token_budget))
    return groups


def _cut(order: NDArray[np.intp], lengths: Sequence[int], token_budget: int) -> list[Group]:
    groups: list[Group] = []
    first = 0
    while first < len(order):
        longest = padded_length(int(lengths[order[first]]))
        rows = order[first : first + max(token_budget // longest, 1)]
        groups.append(Group(rows, longest))
        first += len(rows)
    return groups
