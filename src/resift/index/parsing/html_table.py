"""An HTML table as a grid of cells; None for one that only lays a page out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from resift.index.parsing.tables import Grid

_CELLS = ("td", "th")
_PARTS = frozenset({"thead", "tbody", "tfoot"})
# What only a layout has in its cells; a table that names its columns may have it in data as well.
_LAYOUT = "table, h1, h2, h3, h4, h5, h6, pre"
# What else only a layout has, if it is one row: columns of a page.
_COLUMNS = "p, div, ul, ol, section, article"
# Spans are what a page claims: more is no table that anybody reads.
_MOST_SPAN = 64
# A value that holds for many rows is said in each of them, unless it is a whole text.
_LONGEST_REPEATED = 80


@dataclass(slots=True)
class HtmlTable:
    """The cells' nodes a row, how many rows are the head, and the caption's node.

    `starts` are the rows that begin a part of the table: no cell reaches down into one.
    """

    rows: list[list[Any]] = field(default_factory=list)
    head: int = 0
    starts: set[int] = field(default_factory=set)
    caption: Any = None


def html_table(node: Any) -> HtmlTable | None:
    """Read a ``<table>``'s structure; None for a layout, whose cells are to be read as blocks."""
    role = node.attributes.get("role") or ""
    if role.strip().lower() in ("presentation", "none"):
        return None
    table = HtmlTable()
    heads = []
    part = None
    for row, is_head in _rows(node, table):
        cells = [cell for cell in _children(row) if cell.tag in _CELLS]
        if row.parent.mem_id != part:
            part = row.parent.mem_id
            table.starts.add(len(table.rows))
        if cells:
            table.rows.append(cells)
            heads.append(is_head or all(cell.tag == "th" for cell in cells))
    table.head = heads.index(False) if False in heads else min(len(heads), 1)
    has_names = any(cell.tag == "th" for row in table.rows for cell in row)
    if not has_names and len(node.css(_LAYOUT)) > 1:  # the table is one of them itself
        return None
    if len(table.rows) == 1 and node.css_first(_COLUMNS) is not None:
        return None
    return table


def grid(table: HtmlTable, text_of: Callable[[Any], str]) -> Grid:
    """The texts of the cells in their columns; one that spans rows is in each, if it is short."""
    rows: list[list[str]] = []
    below: dict[int, tuple[int, str]] = {}
    head = 0
    for number, cells in enumerate(table.rows):
        row: list[str] = []
        if number in table.starts:
            below.clear()
        for cell in cells:
            _take_from_above(row, below)
            text = text_of(cell)
            height = _span(cell, "rowspan")
            repeated = text if len(text) <= _LONGEST_REPEATED else ""
            for place in range(_span(cell, "colspan")):
                if height > 1:
                    below[len(row)] = (height - 1, "" if place else repeated)
                row.append("" if place else text)
        _take_from_above(row, below)
        if any(row):
            rows.append(row)
            head += number < table.head
    return Grid(rows, head if head < len(rows) else 0)


def _rows(node: Any, table: HtmlTable) -> Iterator[tuple[Any, bool]]:
    """The rows that are the table's own, and whether they stand in its ``<thead>``."""
    for child in _children(node):
        if child.tag == "tr":
            yield child, False
        elif child.tag == "caption":
            table.caption = child
        elif child.tag in _PARTS:
            for row in _children(child):
                if row.tag == "tr":
                    yield row, child.tag == "thead"


def _children(node: Any) -> Iterator[Any]:
    child = node.child
    while child is not None:
        yield child
        child = child.next


def _take_from_above(row: list[str], below: dict[int, tuple[int, str]]) -> None:
    """Fill the places that cells of rows above reach down into."""
    while (left := below.pop(len(row), None)) is not None:
        rows, text = left
        if rows > 1:
            below[len(row)] = (rows - 1, text)
        row.append(text)


def _span(cell: Any, name: str) -> int:
    digits = (cell.attributes.get(name) or "1").strip()
    if name == "rowspan" and digits == "0":  # down to the end of its part
        return _MOST_SPAN
    return min(max(int(digits), 1), _MOST_SPAN) if digits.isdecimal() and len(digits) < 9 else 1
