"""HTML to the text that a reader of the page sees, a section a heading."""

import re
from html import escape
from typing import Any

from resift.errors import SourceError
from resift.extras import require
from resift.index.parsing.charset import decode
from resift.index.parsing.documents import Parsed, ParsedDocument
from resift.index.parsing.html_table import HtmlTable, grid, html_table
from resift.index.parsing.page import Page
from resift.index.parsing.parse_text import stem

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
# What no reader sees, and what stands round a page's text. Where there is nothing else, the latter
# is read after all: a page of links, of a dialogue, of what is said without scripts.
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
# In XML every element may end itself; to HTML <script/> is open, and swallows the page.
_ENDED = re.compile(r"<([A-Za-z][\w:-]*)((?:\s[^<>]*)?)/>")
_VOID = frozenset(
    "area base br col embed hr img input link meta param source track wbr basefont frame".split()
)


def is_page(data: bytes) -> bool:
    """Whether bytes say at once that they are an HTML page, whatever their file's name is."""
    return _PAGE.match(data[:2048]) is not None


def parse_html(key: str, data: bytes) -> Parsed:
    """Read a page; its title is ``<title>``, else the first ``<h1>``, else the file's name.

    A table of data is a line a row. Raise `SourceError` for a page of frames, whose text is in
    other files.
    """
    lexbor = require("selectolax.lexbor", "index")
    charset = _CHARSET.search(data[:2048])
    decoded = decode(data, charset.group(1).decode() if charset else None)
    html = decoded.text
    if html.lstrip().startswith("<?xml"):
        html = _as_html(html)
    tree = lexbor.LexborHTMLParser(html)
    title = _line(tree.css_first("head title")) or _line(tree.css_first("h1")) or stem(key)
    page = _read(tree, title, _NEVER | _AROUND)
    if page.is_empty:
        shown = _TEMPLATE.sub(r"<\1div", html)
        page = _read(lexbor.LexborHTMLParser(shown), title, _NEVER)
    if page.is_empty and tree.css_first("frameset") is not None:
        raise SourceError("a page of frames: its text is in the pages that it shows")
    text, sections, tables = page.finish()
    return Parsed((ParsedDocument(key, title, text, sections, tables=tables),), decoded.problems)


def _as_html(xml: str) -> str:
    """XHTML as HTML reads it: elements that end themselves, and text that is marked as such."""
    ended = _ENDED.sub(lambda m: m[0] if m[1].lower() in _VOID else f"<{m[1]}{m[2]}></{m[1]}>", xml)
    return _CDATA.sub(lambda m: escape(m[1]), ended)


def _read(tree: Any, title: str, unseen: frozenset[str]) -> Page:
    page = Page(title)
    if tree.body is not None:
        _walk(tree.body, page, unseen)
    return page


def _walk(root: Any, page: Page, unseen: frozenset[str], *, is_cell: bool = False) -> None:
    """Depth first, without recursion: pages nest deeper than Python's stack may."""
    stack: list[tuple[Any, bool, bool]] = [(root, False, False)]
    while stack:
        node, leaving, verbatim = stack.pop()
        tag = node.tag
        if tag == "-text":
            (page.verbatim if verbatim else page.words)(node.text_content or "")
            continue
        if tag in _BLOCKS:
            page.separate("\n\n" if tag in _PARAGRAPHS else "\n")
        if leaving or tag in unseen:
            continue
        if tag == "table" and not is_cell and (table := html_table(node)):
            _table(table, page, unseen)
            continue
        if tag in _HEADINGS and not is_cell:
            page.heading(_HEADINGS[tag], _line(node))
        stack.append((node, True, verbatim))
        children = []
        child = node.child
        while child is not None:
            children.append((child, False, verbatim or tag == "pre"))
            child = child.next
        stack.extend(reversed(children))


def _table(table: HtmlTable, page: Page, unseen: frozenset[str]) -> None:
    """The table as lines, under its caption."""

    def text_of(cell: Any) -> str:
        inner = Page("")
        _walk(cell, inner, unseen, is_cell=True)
        return _SPACES.sub(" ", inner.finish()[0])

    if table.caption is not None:
        _walk(table.caption, page, unseen)
    page.table(grid(table, text_of))


def _line(node: Any) -> str:
    return _SPACES.sub(" ", node.text()).strip() if node is not None else ""
