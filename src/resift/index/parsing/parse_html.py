"""HTML: extracts the text that a reader of the page sees, with a section for each heading."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import PurePosixPath
from typing import Any

from resift.errors import SourceError
from resift.extras import require
from resift.index.parsing.charset import decode
from resift.index.parsing.documents import Grid, ParsedDocument, ParsedFile, TextBuilder
from resift.index.parsing.options import DEFAULTS, ParseOptions

_CHARSET = re.compile(
    rb"(?:<meta[^>]{0,200}?charset|<\?xml[^>]{0,200}?encoding)=[\"']?([A-Za-z0-9_:-]+)",
    re.IGNORECASE,
)
_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*-->\s*)*"
    rb"<(?:!doctype html|html)\b",
    re.IGNORECASE | re.DOTALL,
)
_TEMPLATE = re.compile(r"<(/?)template\b", re.IGNORECASE)
# Elements that no reader sees, and elements around a page's text. The latter are read only if the
# page has no other text: pages of links, of a dialogue, of content shown without scripts.
_NEVER = frozenset("script style head canvas svg object iframe -comment".split())
_AROUND = frozenset("nav noscript template button select dialog".split())
_BLOCKS = frozenset(
    "address article aside blockquote body br button caption center dd details dialog dir div dl "
    "dt fieldset figcaption figure footer form frameset h1 h2 h3 h4 h5 h6 header hgroup hr "
    "legend li main menu nav noscript ol optgroup option p pre search section select summary table "
    "tbody td template textarea tfoot th thead tr ul".split()
)
_PARAGRAPHS = _BLOCKS - set("br dd dt legend li option td th tr thead tbody tfoot".split())
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_SPACES = re.compile(r"\s+")
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
# In XML every element may close itself; in HTML <script/> stays open until the end of the page.
_SELF_CLOSED = re.compile(r"<([A-Za-z][\w:-]*)((?:\s[^<>]*)?)/>")
_VOID = frozenset(
    "area base br col embed hr img input link meta param source track wbr basefont frame".split()
)
# Elements that only layout tables have in their cells, unless the table names its columns.
_LAYOUT = "table, h1, h2, h3, h4, h5, h6, pre"
# Elements that only layout tables have if they have one row, which are the columns of a page.
_LAYOUT_OF_ONE_ROW = "p, div, ul, ol, section, article"
# Broken pages declare wider or taller cells.
_MAX_SPAN = 64
# A cell that spans rows is repeated in each row, unless its text is longer.
_MAX_REPEATED = 80


def is_page(data: bytes) -> bool:
    """Whether the first bytes declare an HTML page."""
    return _PAGE.match(data[:2048]) is not None


def parse_html(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read a page; raise as `read_page`."""
    decoded = decode(data, html_encoding(data))
    return ParsedFile((read_page(key, decoded.text),), decoded.problems)


def html_encoding(data: bytes) -> str | None:
    """Return the encoding that a page declares in its first bytes."""
    charset = _CHARSET.search(data[:2048])
    return charset.group(1).decode() if charset else None


def read_page(key: str, html: str) -> ParsedDocument:
    """Read a page; its title is ``<title>``, else the first ``<h1>``, else the file's name.

    Rows of data tables become lines. Raise `SourceError` for a page of frames, whose text is in
    other files.
    """
    lexbor = require("selectolax.lexbor", "index")
    if html.lstrip().startswith("<?xml"):
        html = _from_xhtml(html)
    tree = lexbor.LexborHTMLParser(html)
    title = _line(tree.css_first("head title")) or _line(tree.css_first("h1"))
    title = title or PurePosixPath(key).stem
    page = _read(tree, title, _NEVER | _AROUND)
    if page.is_empty:
        shown = _TEMPLATE.sub(r"<\1div", html)
        page = _read(lexbor.LexborHTMLParser(shown), title, _NEVER)
    if page.is_empty and tree.css_first("frameset") is not None:
        raise SourceError("a page of frames: its text is in the pages that it shows")
    return page.build(key, title)


def _from_xhtml(xml: str) -> str:
    """Convert XHTML to HTML: self-closed elements get an end tag, CDATA sections become text."""
    closed = _SELF_CLOSED.sub(
        lambda m: m[0] if m[1].lower() in _VOID else f"<{m[1]}{m[2]}></{m[1]}>", xml
    )
    return _CDATA.sub(lambda m: escape(m[1]), closed)


def _read(tree: Any, title: str, skipped: frozenset[str]) -> TextBuilder:
    page = TextBuilder(title)
    if tree.body is not None:
        _walk(tree.body, page, skipped)
    return page


def _walk(root: Any, page: TextBuilder, skipped: frozenset[str], *, is_cell: bool = False) -> None:
    """Add the text below `root`; not recursive, because pages nest deeper than Python's stack."""
    stack: list[tuple[Any, bool, bool]] = [(root, False, False)]
    while stack:
        node, is_end, is_verbatim = stack.pop()
        tag = node.tag
        if tag == "-text":
            (page.add_verbatim if is_verbatim else page.add_words)(node.text_content or "")
            continue
        if tag in _BLOCKS:
            page.add_gap("\n\n" if tag in _PARAGRAPHS else "\n")
        if is_end or tag in skipped:
            continue
        if tag == "table" and not is_cell and (table := _data_table(node)):
            _add_table(table, page, skipped)
            continue
        if tag in _HEADINGS and not is_cell:
            page.start_section(_HEADINGS[tag], _line(node))
        stack.append((node, True, is_verbatim))
        children = [(child, False, is_verbatim or tag == "pre") for child in _children(node)]
        stack.extend(reversed(children))


def _children(node: Any) -> Iterator[Any]:
    child = node.child
    while child is not None:
        yield child
        child = child.next


def _line(node: Any) -> str:
    return _SPACES.sub(" ", node.text()).strip() if node is not None else ""


@dataclass(slots=True)
class _DataTable:
    """The cell nodes of each row, the number of head rows, and the caption's node.

    `part_starts` are the rows that begin a part of the table, into which no cell above may span.
    """

    rows: list[list[Any]] = field(default_factory=list)
    head: int = 0
    part_starts: set[int] = field(default_factory=set)
    caption: Any = None


def _data_table(node: Any) -> _DataTable | None:
    """Read the structure of a ``<table>``; None for a layout table, whose cells are blocks."""
    role = node.attributes.get("role") or ""
    if role.strip().lower() in ("presentation", "none"):
        return None
    table = _DataTable()
    is_head_by_row = []
    part = None
    for row, is_head in _rows(node, table):
        cells = [cell for cell in _children(row) if cell.tag in ("td", "th")]
        if row.parent.mem_id != part:
            part = row.parent.mem_id
            table.part_starts.add(len(table.rows))
        if cells:
            table.rows.append(cells)
            is_head_by_row.append(is_head or all(cell.tag == "th" for cell in cells))
    if False in is_head_by_row:
        table.head = is_head_by_row.index(False)
    else:
        table.head = min(len(is_head_by_row), 1)
    names_columns = any(cell.tag == "th" for row in table.rows for cell in row)
    if not names_columns and len(node.css(_LAYOUT)) > 1:  # the table itself matches once
        return None
    if len(table.rows) == 1 and node.css_first(_LAYOUT_OF_ONE_ROW) is not None:
        return None
    return table


def _rows(node: Any, table: _DataTable) -> Iterator[tuple[Any, bool]]:
    """Yield the table's rows, with whether they are in its ``<thead>``; set the table's caption."""
    for child in _children(node):
        if child.tag == "tr":
            yield child, False
        elif child.tag == "caption":
            table.caption = child
        elif child.tag in ("thead", "tbody", "tfoot"):
            for row in _children(child):
                if row.tag == "tr":
                    yield row, child.tag == "thead"


def _add_table(table: _DataTable, page: TextBuilder, skipped: frozenset[str]) -> None:
    """Add the table as lines, under its caption."""

    def text_of(cell: Any) -> str:
        inner = TextBuilder("")
        _walk(cell, inner, skipped, is_cell=True)
        return _SPACES.sub(" ", inner.text)

    if table.caption is not None:
        _walk(table.caption, page, skipped)
    page.add_table(_grid(table, text_of))


def _grid(table: _DataTable, text_of: Callable[[Any], str]) -> Grid:
    """Put the texts of cells into their columns; repeat a short text in all rows it spans."""
    rows: list[list[str]] = []
    spans: dict[int, tuple[int, str]] = {}  # by column: the rows still to span, and the text
    head = 0
    for number, cells in enumerate(table.rows):
        row: list[str] = []
        if number in table.part_starts:
            spans.clear()
        for cell in cells:
            _fill_from_spans(row, spans)
            text = text_of(cell)
            height = _span(cell, "rowspan")
            repeated = text if len(text) <= _MAX_REPEATED else ""
            for column in range(_span(cell, "colspan")):
                if height > 1:
                    spans[len(row)] = (height - 1, "" if column else repeated)
                row.append("" if column else text)
        _fill_from_spans(row, spans)
        if any(row):
            rows.append(row)
            head += number < table.head
    return Grid(rows, head if head < len(rows) else 0)


def _fill_from_spans(row: list[str], spans: dict[int, tuple[int, str]]) -> None:
    """Append the cells of rows above that span into the next columns of this row."""
    while (span := spans.pop(len(row), None)) is not None:
        height, text = span
        if height > 1:
            spans[len(row)] = (height - 1, text)
        row.append(text)


def _span(cell: Any, name: str) -> int:
    digits = (cell.attributes.get(name) or "1").strip()
    if name == "rowspan" and digits == "0":  # up to the end of the part of the table
        return _MAX_SPAN
    return min(max(int(digits), 1), _MAX_SPAN) if digits.isdecimal() and len(digits) < 9 else 1
