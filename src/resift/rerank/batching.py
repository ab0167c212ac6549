"""Batches of rows, by length and a token budget; the number of documents is not limited.

Pure: lengths in, groups of row indices out. Knows no runtime, no text and no clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOKEN_BUDGET = 1024
"""Positions in a batch. Measured best on small CPUs: over 2,048 a batch exceeds the CPU cache."""

MAX_EXCESS = 1.25
"""A batch may exceed its budget by this factor if it then holds all rows of its length."""

LENGTH_STEP = 16
"""Rows are padded to a multiple of this, the width of the widest vector registers. A batch has rows
of one padded length only. So a sum over a row always runs in the same order, and a pair's score is
the same, bit for bit, alone, in any batch, and from a cache; otherwise rounding would order two
equal documents. Measured: adding shorter rows costs as much as a second batch.

A finer step would pad less, but a runtime prepares its kernels for each new number of positions in
a batch, which takes half as long as a full batch runs. Steps of 16 keep these numbers few."""

WAVE = 16
"""Under a deadline, candidates run this many at a time in input order: rows of one length in a wave
share batches, and the first candidate is in the first batch."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that run as one batch, padded to `length` positions each."""

    rows: NDArray[np.intp]
    length: int

    @property
    def positions(self) -> int:
        return len(self.rows) * self.length


def padded_length(tokens: int) -> int:
    """The positions that a row of `tokens` takes."""
    return max(-(-tokens // LENGTH_STEP), 1) * LENGTH_STEP


def padded_rows(rows: int) -> int:
    """The rows of a batch after rows were added, so that batches have few different numbers.

    OpenVINO prepares kernels for each new shape, which takes time, and keeps them (LOG.md).
    """
    step = next((step for most, step in _ROW_STEPS if rows <= most), 8)
    return -(-rows // step) * step


_ROW_STEPS = ((4, 1), (16, 2), (32, 4))
"""(rows up to, step): at most a quarter of the rows is added."""


def schedule(lengths: Sequence[int], token_budget: int = TOKEN_BUDGET) -> list[Group]:
    """Group rows so that each group's padded size is at most `token_budget` positions.

    Rows are taken in length order, longest first, so that a runtime allocates its largest buffers
    first and neighbours have similar lengths. A row longer than the budget is a group of its own.
    """
    order = waves(lengths)[0] if len(lengths) else []
    groups: list[Group] = []
    first = 0
    while first < len(order):
        count = first_batch([lengths[row] for row in order[first:]], token_budget)
        rows = np.array(order[first : first + count], np.intp)
        groups.append(Group(rows, padded_length(lengths[order[first]])))
        first += count
    return groups


def waves(lengths: Sequence[int], size: int | None = None) -> list[list[int]]:
    """Row indices in the order in which they run, rows of one padded length side by side.

    Without `size` there is one wave, with the longest rows first. With `size`, under a deadline,
    each wave has that many rows of the input, and within it lengths come in the order of their
    first rows: a deadline then leaves out the end of the input, and neither its short texts nor its
    long ones.
    """
    rows = range(len(lengths))
    if size is None:
        return [sorted(rows, key=lambda row: -lengths[row])]
    return [_by_first_row(lengths, rows[start : start + size]) for start in rows[::size]]


def _by_first_row(lengths: Sequence[int], rows: Sequence[int]) -> list[int]:
    """Rows grouped by their padded length, in the order in which the lengths first occur."""
    groups: dict[int, list[int]] = {}
    for row in rows:
        groups.setdefault(padded_length(lengths[row]), []).append(row)
    return [row for group in groups.values() for row in group]


def first_batch(lengths: Sequence[int], token_budget: int = TOKEN_BUDGET) -> int:
    """How many rows from the front of a wave make a batch, at least one."""
    longest = padded_length(lengths[0])
    others = (n for n, length in enumerate(lengths) if padded_length(length) != longest)
    same_length = next(others, len(lengths))
    if same_length * longest <= MAX_EXCESS * token_budget:
        return same_length
    return min(same_length, full_batch(longest, token_budget))


def full_batch(longest: int, token_budget: int) -> int:
    """How many rows of `longest` positions fit without added rows, at least one."""
    most = max(token_budget // longest, 1)
    return next(rows for rows in range(most, 0, -1) if padded_rows(rows) == rows)


def fill(lengths: Sequence[int], longest: int, room: int) -> slice:
    """The rows of another wave that fill up a batch: those of the same padded length.

    `longest` is the batch's padded length, `room` the number of rows that still fit.
    """
    rows = [n for n, length in enumerate(lengths) if padded_length(length) == longest]
    rows = rows[: max(room, 0)]
    return slice(rows[0], rows[-1] + 1) if rows else slice(0, 0)
