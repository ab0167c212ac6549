"""Plain text and Markdown. The text is kept as it is written, so offsets are the file's own.

But for a table in Markdown that is cut into passages: its head is repeated (`tables`).
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from resift.index.parsing.charset import decode
from resift.index.parsing.documents import Outline, Parsed, ParsedDocument, Section, Table
from resift.index.parsing.front_matter import front_matter

# Written so that no line can be read in two ways: a long one would be read for ever.
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t](.*))?$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
# A line that is no item, quote, row, tag or code: what an underline makes a heading of.
_PARAGRAPH = re.compile(r" {0,3}(?![-*+>|<=]|\d{1,9}[.)][ \t])\S")
_RULE = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)$")


def parse_plain(key: str, data: bytes) -> Parsed:
    """A text file: one section, its title is the file's name."""
    decoded = decode(data)
    text = decoded.text
    document = ParsedDocument(key, stem(key), text, (Section(0, len(text)),))
    return Parsed((document,), decoded.problems)


def parse_markdown(key: str, data: bytes) -> Parsed:
    """Markdown: a section a heading; the title is the front matter's, the first H1 or the name."""
    decoded = decode(data)
    text = decoded.text
    front = front_matter(text)
    lines = list(_lines(text, front.end))
    headings = list(_headings(lines))
    first = next((name for _, level, name in headings if level == 1 and name), "")
    title = front.title or first or stem(key)
    sections = _sections(text, front.end, headings, title)
    document = ParsedDocument(key, title, text, sections, tables=tuple(_tables(lines)))
    return Parsed((document,), decoded.problems)


def stem(key: str) -> str:
    """A file's name without folder and suffix."""
    return PurePosixPath(key).stem


def _sections(
    text: str, body: int, headings: list[tuple[int, int, str]], title: str
) -> tuple[Section, ...]:
    outline = Outline(title, body)
    last = body
    for at, level, name in headings:
        outline.heading(at, level, name, text[last:at])
        last = at
    return outline.finish(len(text), text[last:])


def _lines(text: str, at: int) -> Iterator[tuple[int, str]]:
    """Give (offset, line) of the lines that are outside code fences."""
    fence = ""
    for line in text[at:].split("\n"):
        marks = _FENCE.match(line)
        if fence:
            # Only a bare run of the same mark, at least as long, closes a fence.
            if marks and marks.group(1).startswith(fence) and not marks.group(2).strip():
                fence = ""
        elif marks:
            fence = marks.group(1)
        else:
            yield at, line
        at += len(line) + 1


def _headings(lines: list[tuple[int, str]]) -> Iterator[tuple[int, int, str]]:
    """Give (offset, level, name) of the ``#`` lines, and of those underlined with = or -."""
    above: tuple[int, str] | None = None
    is_alone = True
    for at, line in lines:
        if heading := _HEADING.match(line):
            yield at, len(heading.group(1)), _without_end(heading.group(2) or "")
            above, is_alone = None, True
            continue
        mark = _UNDERLINE.match(line)
        if mark and above and at == above[0] + len(above[1]) + 1:
            yield above[0], 1 if mark.group(1)[0] == "=" else 2, above[1].strip()
        is_blank = not line.strip() or mark is not None
        above = (at, line) if is_alone and not is_blank and _PARAGRAPH.match(line) else None
        is_alone = is_blank


def _without_end(name: str) -> str:
    """A heading's name without the ``#`` that may close it, which stand apart from it."""
    name = name.strip()
    rest = name.rstrip("#")
    return rest.rstrip() if not rest or rest[-1].isspace() else name


def _tables(lines: list[tuple[int, str]]) -> Iterator[Table]:
    """Give the pipe tables: a head, the line of hyphens under it, rows up to one without a pipe."""
    place = 1
    while place < len(lines):
        (start, head), (at, rule) = lines[place - 1 : place + 1]
        place += 1
        if "|" not in head or "|" not in rule or not _RULE.match(rule.strip()):
            continue
        headed = end = at + len(rule)
        while place < len(lines) and "|" in lines[place][1] and lines[place][0] == end + 1:
            end += 1 + len(lines[place][1])
            place += 1
        yield Table(start, headed, end)
