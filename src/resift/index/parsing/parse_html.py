"""HTML to the text that a reader of the page sees, a section a heading."""

import re
from typing import Any

from resift.extras import require
from resift.index.parsing.charset import decode
from resift.index.parsing.documents import HeadingPath, ParsedDocument, Section
from resift.index.parsing.parse_text import stem

_CHARSET = re.compile(
    rb"(?:<meta[^>]{0,200}?charset|<\?xml[^>]{0,200}?encoding)=[\"']?([A-Za-z0-9_:-]+)",
    re.IGNORECASE,
)
_UNSEEN = frozenset(
    "script style noscript template nav svg canvas iframe object head button select form "
    "-comment dialog".split()
)
_BLOCKS = frozenset(
    "address article aside blockquote body br dd details div dl dt fieldset figcaption figure "
    "footer h1 h2 h3 h4 h5 h6 header hr li main ol p pre section summary table tbody td tfoot th "
    "thead tr ul".split()
)
_PARAGRAPHS = _BLOCKS - set("br dd dt li td th tr thead tbody tfoot".split())
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_SPACES = re.compile(r"\s+")


def parse_html(key: str, data: bytes) -> ParsedDocument:
    """Read a page; its title is ``<title>``, else the first ``<h1>``, else the file's name."""
    lexbor = require("selectolax.lexbor", "index")
    charset = _CHARSET.search(data[:2048])
    tree = lexbor.LexborHTMLParser(decode(data, charset.group(1).decode() if charset else None))
    title = _line(tree.css_first("head title")) or _line(tree.css_first("h1")) or stem(key)
    page = _Page(title)
    if tree.body is not None:
        _walk(tree.body, page)
    text, sections = page.finish()
    return ParsedDocument(key, title, text, sections)


class _Page:
    """The text so far. Space between two words is decided when the second one comes."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._pieces: list[str] = []
        self._length = 0
        self._gap = ""
        self._path = HeadingPath()
        self._sections: list[Section] = []
        self._start = 0

    def words(self, text: str) -> None:
        """Add running text: any white space in it is one space."""
        if text[:1].isspace():
            self.separate(" ")
        for word in text.split():
            self._add(word)
            self.separate(" ")
        if text and not text[-1].isspace():
            self._gap = ""

    def verbatim(self, text: str) -> None:
        """Add the text of a ``<pre>``, line ends and indents included."""
        body = text.strip()
        if not body:
            self._gap += text
            return
        at = text.index(body)
        self._gap += text[:at]
        self._add(body)
        self._gap = text[at + len(body) :]

    def separate(self, gap: str) -> None:
        """Ask for space before what comes next; the widest one asked for wins."""
        if len(gap.strip(" ")) > len(self._gap.strip(" ")) or not self._gap:
            self._gap = gap

    def heading(self, level: int, name: str) -> None:
        """Close the section that is open and begin the heading's own."""
        self._close()
        self._path.enter(level, name)

    def finish(self) -> tuple[str, tuple[Section, ...]]:
        """The whole text and its sections."""
        self._close()
        return "".join(self._pieces), tuple(self._sections)

    def _add(self, text: str) -> None:
        piece = self._gap + text if self._length else text
        self._pieces.append(piece)
        self._length += len(piece)
        self._gap = ""

    def _close(self) -> None:
        if self._length > self._start:
            heading = self._path.below(self._title)
            self._sections.append(Section(self._start, self._length, heading))
        self._start = self._length


def _walk(root: Any, page: _Page) -> None:
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
        if leaving or tag in _UNSEEN:
            continue
        if tag in _HEADINGS:
            page.heading(_HEADINGS[tag], _line(node))
        stack.append((node, True, verbatim))
        children = []
        child = node.child
        while child is not None:
            children.append((child, False, verbatim or tag == "pre"))
            child = child.next
        stack.extend(reversed(children))


def _line(node: Any) -> str:
    return _SPACES.sub(" ", node.text()).strip() if node is not None else ""
