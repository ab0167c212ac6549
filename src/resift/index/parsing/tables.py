"""Tables as text: a line a row, cells in their places, the head again where a table is cut."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resift.index.parsing.documents import ParsedDocument, Table

CELLS = " | "
_GAP = "\n\n"
# A head that alone takes more than this share of a passage is not repeated.
_MOST_HEAD = 0.5


@dataclass(frozen=True, slots=True)
class Grid:
    """A table's rows, of which the first `head` say what stands in its columns."""

    rows: Sequence[Sequence[str]]
    head: int = 0

    @property
    def lines(self) -> list[str]:
        """A line a row; a cell's own line ends are spaces in it."""
        return [CELLS.join(" ".join(cell.split()) for cell in row).strip() for row in self.rows]

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)

    def at(self, start: int) -> Table:
        """Where the table is in a text that has its lines from `start` on."""
        head = len("\n".join(self.lines[: self.head]))
        return Table(start, start + head, start + len(self.text))


def repeat_heads(
    document: ParsedDocument, token_starts: NDArray[np.int64], target: int
) -> ParsedDocument:
    """The document with the heads of tables of more than `target` tokens before each part of them.

    A part is a head and as many whole rows as go with it into `target` tokens. The document's
    text is longer afterwards: sections and tables are at their new places, and a part is a table.
    """
    cuts = {
        table: list(_cuts(document.text, table, token_starts, target)) for table in document.tables
    }
    if not any(cuts.values()):
        return document
    text = document.text
    pieces: list[str] = []
    places: list[int] = []
    shifts = [0]
    last = 0
    for table, ats in cuts.items():
        head = _GAP + text[table.start : table.head]
        for at in ats:
            pieces += [text[last:at], head]
            places.append(at)
            shifts.append(shifts[-1] + len(head))
            last = at

    def moved(at: int) -> int:
        return at + shifts[bisect_left(places, at)]

    return replace(
        document,
        text="".join([*pieces, text[last:]]),
        sections=tuple(
            replace(section, start=moved(section.start), end=moved(section.end))
            for section in document.sections
        ),
        tables=tuple(
            Table(start, start + table.head - table.start, end)
            for table, ats in cuts.items()
            for start, end in zip(
                [moved(table.start), *(moved(at) + len(_GAP) for at in ats)],
                [*map(moved, ats), moved(table.end)],
                strict=True,
            )
        ),
    )


def _cuts(text: str, table: Table, token_starts: NDArray[np.int64], target: int) -> Iterator[int]:
    """The line ends at which a new part of the table begins."""

    def count(start: int, end: int) -> int:
        return int(np.searchsorted(token_starts, end) - np.searchsorted(token_starts, start))

    head = count(table.start, table.head)
    if not 0 < head <= _MOST_HEAD * target or count(table.start, table.end) <= target:
        return
    first = at = table.head
    while at < table.end:
        after = text.find("\n", at + 1, table.end)
        after = table.end if after < 0 else after
        if at > first and count(first, after) > target - head:
            yield at
            first = at
        at = after
