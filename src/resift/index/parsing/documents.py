"""Parsed documents, with sections and tables, and the same documents as chunks.

Parsers build a document's text with `TextBuilder`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HEADING_SEPARATOR = " > "


@dataclass(frozen=True, slots=True)
class Section:
    """The characters ``start:end`` of a text: the part under one heading, or one page of a PDF.

    `heading` is the path of headings, outermost first, joined by `HEADING_SEPARATOR`. A first
    heading that repeats the document's title is left out. A section with `by_lines` has no
    sentences, as code and logs: it is cut at blank lines, or else between lines.
    """

    start: int
    end: int
    heading: str = ""
    page: int | None = None
    by_lines: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """The characters ``start:end`` of a text: a table, one line a row, within one section.

    ``start:head`` is its head with the names of the columns; it is often empty.
    """

    start: int
    head: int
    end: int


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document as text. Its `sections` cover all but white space; its `tables` are in order.

    `row` is the line or row in its file, counted from 1; None if the whole file is one document.
    `metadata` contains JSON types only. With `has_lines` its text is the text of the file, so that
    a line of the text is the same line of the file.
    """

    id: str
    title: str
    text: str
    sections: tuple[Section, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    row: int | None = None
    tables: tuple[Table, ...] = ()
    has_lines: bool = False


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """The documents of one file, and one line for each part of it that could not be read."""

    documents: tuple[ParsedDocument, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """The slice ``text[start:end]`` of a document, with its heading path and page.

    `after` is the text between this chunk and the next of its document, which has no visible
    character; empty for the last one, and if it is long. `line` is the line of the file in which
    it begins, from 1; None if the text is not that of the file.
    """

    start: int
    end: int
    heading: str
    page: int | None
    text: str
    after: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class ChunkedDocument:
    """A document as chunks, in order. `row` as in `ParsedDocument`.

    `text` is the whole text if `ParseOptions.with_text` is set.
    """

    id: str
    title: str
    metadata: Mapping[str, Any]
    row: int | None
    chunks: tuple[Chunk, ...]
    text: str | None = None


@dataclass(frozen=True, slots=True)
class ChunkedFile:
    """The documents of one file, and one line for each part of it that could not be read."""

    documents: tuple[ChunkedDocument, ...]
    problems: tuple[str, ...] = ()


class Outline:
    """Collects the sections of a text, heading by heading.

    A heading without text joins the section of the next heading.
    """

    def __init__(self, title: str, start: int = 0) -> None:
        """Begin at `start`. Heading paths leave out a first heading that repeats `title`."""
        self._title = title
        self._start = start
        self._page: int | None = None
        self._path: list[tuple[int, str]] = []
        self._sections: list[Section] = []
        self._has_joined = False  # a heading without text is part of the open section

    def start_section(
        self, at: int, level: int, name: str, text_before: str, page: int | None = None
    ) -> None:
        """Start a heading's section at `at`; close headings of the same and deeper levels.

        `text_before` is the text since the previous heading.
        """
        is_bare = bool(self._path) and _letters(text_before) == _letters(self._path[-1][1])
        if is_bare and page == self._page:
            self._has_joined = True
        else:
            self._close(at, text_before)
        self._page = page
        self._path = [*(entry for entry in self._path if entry[0] < level), (level, name)]

    def end_section(self, at: int, level: int, text_before: str) -> None:
        """End a heading's section, also without text: what follows belongs to the one above it."""
        self._close(at, text_before)
        self._path = [entry for entry in self._path if entry[0] < level]

    def finish(self, end: int, text_before: str) -> tuple[Section, ...]:
        """Return all sections of a text that ends at `end`."""
        self._close(end, text_before)
        return tuple(self._sections)

    def _close(self, at: int, text_before: str) -> None:
        if text_before.strip() or self._has_joined:
            names = [name for _, name in self._path if name]
            if names and names[0] == self._title:
                del names[0]
            heading = HEADING_SEPARATOR.join(names)
            self._sections.append(Section(self._start, at, heading, self._page))
        self._start, self._has_joined = at, False


def _letters(text: str) -> str:
    """Remove spaces and Markdown's marks from a heading."""
    return "".join(text.split()).strip("#=-")


@dataclass(frozen=True, slots=True)
class Grid:
    """A table's rows of cells; the first `head` rows name the columns."""

    rows: Sequence[Sequence[str]]
    head: int = 0

    @property
    def lines(self) -> list[str]:
        """One line a row, cells separated by " | "; line ends within a cell become spaces."""
        return [" | ".join(" ".join(cell.split()) for cell in row).strip() for row in self.rows]

    @property
    def text(self) -> str:
        """All lines as one text."""
        return "\n".join(self.lines)

    def table_at(self, start: int) -> Table:
        """Return the table's range in a text that has its lines from `start` on."""
        head = len("\n".join(self.lines[: self.head]))
        return Table(start, start + head, start + len(self.text))


class TextBuilder:
    """Builds a document's text from words, blocks, headings and tables, in order.

    Between two pieces of text only the widest of the added gaps remains.
    """

    def __init__(self, title: str) -> None:
        self.page: int | None = None
        self._pieces: list[str] = []
        self._length = 0
        self._gap = ""
        self._outline = Outline(title)
        self._tables: list[Table] = []
        self._last_heading = 0

    @property
    def is_empty(self) -> bool:
        """Whether no text was added."""
        return not self._length

    def add_gap(self, gap: str) -> None:
        """Add at least this white space before the next text."""
        if len(gap.strip(" ")) > len(self._gap.strip(" ")) or not self._gap:
            self._gap = gap

    def add_words(self, text: str) -> None:
        """Add running text; any white space in it becomes one space."""
        if text[:1].isspace():
            self.add_gap(" ")
        for word in text.split():
            self._add(word)
            self.add_gap(" ")
        if text and not text[-1].isspace():
            self._gap = ""

    def add_verbatim(self, text: str) -> None:
        """Add preformatted text with its line ends and indents."""
        body = text.strip()
        if not body:
            self._gap += text
            return
        before, _, after = text.partition(body)
        self._gap += before
        self._add(body)
        self._gap = after

    def add_block(self, text: str) -> None:
        """Add a block as it is, with blank lines around it."""
        if text:
            self.add_gap("\n\n")
            self._add(text)
            self.add_gap("\n\n")

    def add_table(self, grid: Grid) -> None:
        """Add a table as a block, one line a row."""
        text = grid.text
        self.add_block(text)
        if text:
            self._tables.append(grid.table_at(self._length - len(text)))

    def start_section(self, level: int, name: str) -> None:
        """Start the section of a heading; add the heading's text afterwards."""
        self._outline.start_section(
            self._length, level, name, self._text_since_heading(), self.page
        )

    def end_section(self, level: int) -> None:
        """End the section of a heading of this level, before the text around it goes on."""
        self._outline.end_section(self._length, level, self._text_since_heading())

    def build(self, id_: str, title: str) -> ParsedDocument:
        """Make the document from the whole text, its sections and its tables."""
        sections = self._outline.finish(self._length, self._text_since_heading())
        return ParsedDocument(id_, title, self.text, sections, tables=tuple(self._tables))

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._pieces)

    def _add(self, text: str) -> None:
        piece = self._gap + text if self._length else text
        self._pieces.append(piece)
        self._length += len(piece)
        self._gap = ""

    def _text_since_heading(self) -> str:
        pieces = self._pieces[self._last_heading :]
        self._last_heading = len(self._pieces)
        return "".join(pieces)
