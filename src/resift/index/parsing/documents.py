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


class HeadingPath:
    """The headings that are open at a place in a text."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    def enter(self, level: int, heading: str) -> None:
        """Open a heading and close those of its level and deeper."""
        self._open = [entry for entry in self._open if entry[0] < level]
        self._open.append((level, heading))

    def below(self, title: str) -> str:
        """The path as one string, without a first heading that is the title itself."""
        names = [name for _, name in self._open if name]
        if names and names[0] == title:
            names = names[1:]
        return HEADING_SEPARATOR.join(names)
