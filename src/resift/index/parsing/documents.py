"""What parsing gives: documents whose text is cut into sections, and what was wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HEADING_SEPARATOR = " > "


@dataclass(frozen=True, slots=True)
class Section:
    """The characters ``start:end`` of a text: one heading's part of it, or one page of a PDF.

    `heading` is the path of headings that lead there, outermost first, joined by
    `HEADING_SEPARATOR`; a heading that only repeats the title is left out.
    """

    start: int
    end: int
    heading: str = ""
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """The characters ``start:end`` of a text: a table, a line a row, within one section.

    ``start:head`` is its head, which says what stands in the columns; often there is none.
    """

    start: int
    head: int
    end: int


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document as text. All that is not space in `text` lies in one of the `sections`.
    `tables` are in the order of the text.

    `row` is the line or row of its file that it was read from, counted from 1; None where the file
    is the document. `metadata` are JSON's types.
    """

    id: str
    title: str
    text: str
    sections: tuple[Section, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    row: int | None = None
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class Parsed:
    """The documents of one file, and one line for each part of it that could not be read."""

    documents: tuple[ParsedDocument, ...]
    problems: tuple[str, ...] = ()


class Outline:
    """The sections of a text, while its headings come.

    A heading with nothing under it stands in the section of the one that comes next.
    """

    def __init__(self, title: str, start: int = 0) -> None:
        """`title` is the document's: a first heading that repeats it is in no path."""
        self._title = title
        self._start = start
        self._page: int | None = None
        self._open: list[tuple[int, str]] = []
        self._sections: list[Section] = []

    def heading(self, at: int, level: int, name: str, before: str, page: int | None = None) -> None:
        """Begin a heading's section at `at`, on `page`; close headings of its level and deeper.

        `before` is the text since the heading that came before this one.
        """
        is_bare = bool(self._open) and _letters(before) == _letters(self._open[-1][1])
        if not (is_bare and page == self._page):
            self._close(at, before)
        self._page = page
        self._open = [entry for entry in self._open if entry[0] < level]
        self._open.append((level, name))

    def finish(self, end: int, before: str) -> tuple[Section, ...]:
        """All sections of a text that ends at `end`."""
        self._close(end, before)
        return tuple(self._sections)

    def _close(self, at: int, before: str) -> None:
        if before.strip():
            self._sections.append(Section(self._start, at, self._path(), self._page))
        self._start = at

    def _path(self) -> str:
        names = [name for _, name in self._open if name]
        if names and names[0] == self._title:
            names = names[1:]
        return HEADING_SEPARATOR.join(names)


def _letters(text: str) -> str:
    """A heading's text without its spaces, and without the marks that Markdown has round it."""
    return "".join(text.split()).strip("#=-")
