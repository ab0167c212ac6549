"""Plain text and Markdown. The text is not changed, so offsets are those of the file.

A file that begins like an HTML page is read as HTML. If a Markdown table is cut into chunks,
`chunking` repeats its head.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from resift.index.parsing.charset import decode
from resift.index.parsing.declared_encoding import declared_encoding
from resift.index.parsing.documents import ParsedDocument, ParsedFile, Section, Table
from resift.index.parsing.front_matter import read_front_matter
from resift.index.parsing.options import DEFAULTS, ParseOptions
from resift.index.parsing.parse_html import is_page, parse_html
from resift.index.parsing.sections import Heading, outline

# No line may match these in two ways, because backtracking on a long line is quadratic.
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t](.*))?$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
# A line that is not a list item, quote, table row, tag or code: an underline makes it a heading.
_PARAGRAPH = re.compile(r" {0,3}(?![-*+>|<=]|\d{1,9}[.)][ \t])\S")
_RULE = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)$")


def parse_plain(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read a text file as one section; its title is the file's name."""
    if is_page(data):
        return parse_html(key, data, options)
    decoded = decode(data, declared_encoding(data, has_comments=False))
    text = decoded.text
    sections = (Section(0, len(text)),)
    document = ParsedDocument(key, PurePosixPath(key).stem, text, sections, has_lines=True)
    return ParsedFile((document,), decoded.problems)


def parse_markdown(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read Markdown; the title is the front matter's, the first H1's or the file's name.

    Other keys of the front matter become metadata.
    """
    if is_page(data):
        return parse_html(key, data, options)
    decoded = decode(data, declared_encoding(data, has_comments=False))
    text = decoded.text
    front = read_front_matter(text)
    lines = list(_lines_outside_code(text, front.end))
    headings = list(_headings(lines))
    first = next((name for _, level, name in headings if level == 1 and name), "")
    title = front.title or first or PurePosixPath(key).stem
    document = ParsedDocument(
        key,
        title,
        text,
        outline(text, headings, title, front.end),
        front.metadata,
        tables=tuple(_tables(lines)),
        has_lines=True,
    )
    return ParsedFile((document,), (*decoded.problems, *front.problems))


def markdown_headings(text: str) -> Iterator[Heading]:
    """Yield the headings of Markdown outside code fences."""
    return _headings(_lines_outside_code(text, 0))


def _lines_outside_code(text: str, at: int) -> Iterator[tuple[int, str]]:
    """Yield (offset, line) of the lines from `at` on that are outside code fences."""
    fence = ""
    for line in text[at:].split("\n"):
        marks = _FENCE.match(line)
        if fence:
            # Only the same marks, at least as many and alone in a line, close a fence.
            if marks and marks.group(1).startswith(fence) and not marks.group(2).strip():
                fence = ""
        elif marks:
            fence = marks.group(1)
        else:
            yield at, line
        at += len(line) + 1


def _headings(lines: Iterable[tuple[int, str]]) -> Iterator[Heading]:
    """Yield the ``#`` lines, and of lines underlined with = or -."""
    candidate: tuple[int, str] | None = None  # the line above, if it is a paragraph of one line
    follows_blank = True
    for at, line in lines:
        if heading := _HEADING.match(line):
            yield at, len(heading.group(1)), _without_closing_marks(heading.group(2) or "")
            candidate, follows_blank = None, True
            continue
        mark = _UNDERLINE.match(line)
        if mark and candidate and at == candidate[0] + len(candidate[1]) + 1:
            yield candidate[0], 1 if mark.group(1)[0] == "=" else 2, candidate[1].strip()
        is_blank = not line.strip() or mark is not None
        is_candidate = follows_blank and not is_blank and _PARAGRAPH.match(line)
        candidate = (at, line) if is_candidate else None
        follows_blank = is_blank


def _without_closing_marks(name: str) -> str:
    """Remove the ``#`` that may close a heading after a space."""
    name = name.strip()
    rest = name.rstrip("#")
    return rest.rstrip() if not rest or rest[-1].isspace() else name


def _tables(lines: list[tuple[int, str]]) -> Iterator[Table]:
    """Yield the pipe tables: a head, a line of hyphens, and the following lines with a pipe."""
    index = 1
    while index < len(lines):
        (start, head), (at, rule) = lines[index - 1 : index + 1]
        index += 1
        if "|" not in head or "|" not in rule or not _RULE.match(rule.strip()):
            continue
        head_end = end = at + len(rule)
        while index < len(lines) and "|" in lines[index][1] and lines[index][0] == end + 1:
            end += 1 + len(lines[index][1])
            index += 1
        yield Table(start, head_end, end)
