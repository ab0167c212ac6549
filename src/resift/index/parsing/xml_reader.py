"""What XML's elements become: text, titles with sections, and fields with their names.

Knows no vocabulary, but what they share: DocBook, DITA, JATS, RSS and Atom put the title of a part
into its first ``title`` element.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from resift.index.parsing.documents import ParsedDocument, TextBuilder
from resift.index.parsing.parse_html import read_page

_TITLES = frozenset({"title", "article-title"})
_VERBATIM = frozenset(
    "programlisting screen literallayout codeblock pre preformat code-block synopsis".split()
)
# Elements of running text; the text of others is often a field, whose name tells what it means.
_PROSE = frozenset(
    "p para simpara title subtitle li listitem item entry td th dd dt term name text description "
    "summary content encoded abstract note caption label head l ab lb s seg q quote string value "
    "target source body".split()
)
_PARAGRAPHS = frozenset("p para simpara".split()) | _VERBATIM
# Elements between a part and its title.
_TITLE_WRAPPERS = frozenset(
    "info bookinfo articleinfo sectioninfo title-group article-meta front prolog head header "
    "titleinfo".split()
)
_MARKUP = frozenset({"description", "content", "encoded", "summary"})
_TAGGED = re.compile(
    r"<(?:p|br|div|a|ul|ol|h[1-6]|img|table|b|i|em|strong|span|pre)\b[^<>]{0,500}>"
)
_MAX_FIELD = 100
_MAX_DEPTH = 10_000


class TooMuch(Exception):
    """The file is nested deeper, or expands to more text, than a document needs."""


class XmlHandler:
    """What expat calls, with names without the prefix of their namespace.

    Collects the text of the innermost title while `title_depth` is not 0.
    """

    def __init__(self, max_characters: int) -> None:
        """Expect at most so many characters; entities can expand to more than memory holds."""
        self.max_characters = self._left = max_characters
        self.depth = 0
        self.title_depth = 0
        self.title_texts: list[str] = []

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """Enter an element."""
        if self.depth > _MAX_DEPTH:
            raise TooMuch(f"its elements are nested deeper than {_MAX_DEPTH:,} levels")
        self.depth += 1
        local = name.rpartition(":")[2]
        if local in _TITLES and not self.title_depth:
            self.title_depth = self.depth
            self.title_texts = []
        self.enter(local, attributes)

    def end(self, name: str) -> None:
        """Leave an element."""
        self.leave()
        if self.depth == self.title_depth:
            self.finish_title()
        self.depth -= 1

    def finish_title(self) -> None:
        """Read the innermost title, also one that an error has cut off."""
        if self.title_depth:
            self.title_depth = 0
            self.read_title(" ".join("".join(self.title_texts).split()))

    def characters(self, text: str) -> None:
        """Read text."""
        self._left -= len(text)
        if self._left < 0:
            raise TooMuch("its entities expand to too much text")
        if self.title_depth:
            self.title_texts.append(text)
        self.read(text)

    def enter(self, name: str, attributes: Mapping[str, str]) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        raise NotImplementedError

    def read(self, text: str) -> None:
        raise NotImplementedError

    def read_title(self, title: str) -> None:
        raise NotImplementedError


class XmlStructure(XmlHandler):
    """Finds the first title, and the names of elements that mostly stand in running text."""

    def __init__(self, max_characters: int) -> None:
        super().__init__(max_characters)
        self.title = ""
        self._stack: list[tuple[bool, list[str]]] = [(False, [])]
        self._in_text: Counter[str] = Counter()
        self._all: Counter[str] = Counter()

    @property
    def is_data(self) -> bool:
        """Whether the file looks like data or configuration: no titles, and no running text."""
        return not self.title and not self.inline_names

    @property
    def inline_names(self) -> frozenset[str]:
        """The names of elements that have text beside them more often than not."""
        return frozenset(name for name, n in self._in_text.items() if 2 * n > self._all[name])

    def finish(self) -> None:
        """Leave what is still open because of an error, so that it counts, too."""
        self.finish_title()
        while len(self._stack) > 1:
            self.leave()

    def enter(self, name: str, attributes: Mapping[str, str]) -> None:
        self._stack[-1][1].append(name)
        self._stack.append((False, []))

    def leave(self) -> None:
        has_text, children = self._stack.pop()
        self._all.update(children)
        if has_text:
            self._in_text.update(children)

    def read(self, text: str) -> None:
        has_text, children = self._stack[-1]
        if not has_text and not text.isspace():
            self._stack[-1] = (True, children)

    def read_title(self, title: str) -> None:
        self.title = self.title or title


@dataclass(slots=True)
class _Element:
    """An open element. `texts` are those since its last child; `has_title` closes a section."""

    name: str
    attributes: Mapping[str, str]
    is_inline: bool
    is_verbatim: bool
    texts: list[str] = field(default_factory=list)
    is_leaf: bool = True
    has_title: bool = False


class XmlReader(XmlHandler):
    """Builds the document's text."""

    def __init__(self, structure: XmlStructure, name: str) -> None:
        """Use `name` as the title of a document without one."""
        super().__init__(structure.max_characters)
        self._inline_names = structure.inline_names
        self._is_data = structure.is_data
        self._title = structure.title or name
        self._builder = TextBuilder(self._title)
        self._stack = [_Element("", {}, is_inline=False, is_verbatim=False)]

    @property
    def is_empty(self) -> bool:
        """Whether there was no text."""
        return self._builder.is_empty

    def build(self, key: str) -> ParsedDocument:
        """Make the document; after an error, of what came before it."""
        self.finish_title()
        self._flush(self._stack[-1])
        return self._builder.build(key, self._title)

    def enter(self, name: str, attributes: Mapping[str, str]) -> None:
        parent = self._stack[-1]
        if parent.is_leaf and self._is_data and (label := _label(parent)):
            parent.texts.insert(0, f"{label} ")
        parent.is_leaf = False
        self._flush(parent)
        space = attributes.get("xml:space") == "preserve"
        element = _Element(
            name,
            attributes,
            is_inline=name in self._inline_names,
            is_verbatim=parent.is_verbatim or name in _VERBATIM or space,
        )
        self._add_gap(element)
        self._stack.append(element)

    def leave(self) -> None:
        element = self._stack.pop()
        if element.is_leaf and not element.is_inline and not self.title_depth:
            self._read_leaf(element)
        else:
            self._flush(element)
        self._add_gap(element)
        if element.has_title:  # what follows belongs to the element around it
            self._builder.end_section(self.depth)

    def read(self, text: str) -> None:
        if not self.title_depth:
            self._stack[-1].texts.append(text)

    def read_title(self, title: str) -> None:
        """Start the section of the element that has this title, perhaps in a wrapper."""
        level = len(self._stack) - 1
        while level > 1 and self._stack[level].name in _TITLE_WRAPPERS:
            level -= 1
        holder = self._stack[level]
        if not title:
            return
        if not holder.has_title:
            holder.has_title = True
            self._builder.start_section(level, title)
        self._builder.add_block(title)

    def _add_gap(self, element: _Element) -> None:
        if not element.is_inline:
            self._builder.add_gap("\n\n" if element.name in _PARAGRAPHS else "\n")

    def _flush(self, element: _Element) -> None:
        text = "".join(element.texts)
        element.texts.clear()
        if text:
            (self._builder.add_verbatim if element.is_verbatim else self._builder.add_words)(text)

    def _read_leaf(self, element: _Element) -> None:
        """Read an element without children: a paragraph, a field, or its attributes."""
        text = "".join(element.texts).strip()
        label = _label(element) if self._is_data or not text else ""
        if text and element.name in _MARKUP and _TAGGED.search(text):
            self._builder.add_block(_text_of_html(text))
            return
        if text and not label and element.name not in _PROSE | _VERBATIM:
            label = f"{element.name}:" if len(text) <= _MAX_FIELD else ""
        if label:
            self._builder.add_words(f"{label} ")
        self._flush(element)


def _label(element: _Element) -> str:
    """Return an element's name with its attributes; empty without attributes."""
    values = [f"{name}={value}" for name, value in element.attributes.items()
              if not name.startswith("xml")]  # fmt: skip
    return f"{element.name} {' '.join(values)}:" if values else ""


def _text_of_html(markup: str) -> str:
    """Return the text of HTML that a feed has as the text of an element."""
    return read_page("", f"<body>{markup}").text
