"""Plain text and Markdown. The text is not changed, so offsets are those of the file.

A file that begins like an HTML page is read as HTML. If a Markdown table is cut into chunks,
`chunking` repeats its head.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from resift.index.parsing.charset import decode
from resift.index.parsing.documents import Outline, ParsedDocument, ParsedFile, Section, Table
from resift.index.parsing.options import DEFAULTS, ParseOptions
from resift.index.parsing.parse_html import is_page, parse_html

# No line may match these in two ways, because backtracking on a long line is quadratic.
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t](.*))?$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
# A line that is not a list item, quote, table row, tag or code: an underline makes it a heading.
_PARAGRAPH = re.compile(r" {0,3}(?![-*+>|<=]|\d{1,9}[.)][ \t])\S")
_RULE = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)$")

# Front matter: a mapping in YAML or TOML from the first line on.
_KEY = r"(?:[\w.-]+|\"[^\"\n]+\"|'[^'\n]+')"
# Comments, blank lines, and lines that continue a value: indented, a list, closing brackets.
_MORE = r"(?:[ \t]*(?:#.*)?|[ \t]+[^\s#].*|-[ \t].*|-|[\]})].*)\n"
_YAML = re.compile(
    rf"---[ \t]*\n(?:(?:[ \t]*(?:#.*)?\n)*{_KEY}:(?:[ \t].*)?\n(?:{_KEY}:(?:[ \t].*)?\n|{_MORE})*?"
    r")?(?:---|\.\.\.)[ \t]*(?:\n|\Z)"
)
_TOML = re.compile(
    rf"\+\+\+[ \t]*\n(?:{_KEY}[ \t]*=.*\n|\[.*\][ \t]*\n|{_MORE})*?\+\+\+[ \t]*(?:\n|\Z)"
)
_VALUE = r"(?:\"([^\"\n]*)\"|'([^'\n]*)'|([^\n]*))"
# A value may be folded onto the next line.
_YAML_TITLE = re.compile(rf"^title:[ \t]*(?:[>|][+-]?[ \t]*\n[ \t]+)?{_VALUE}", re.MULTILINE)
_TOML_TITLE = re.compile(rf"^title[ \t]*=[ \t]*{_VALUE}", re.MULTILINE)


def parse_plain(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read a text file as one section; its title is the file's name."""
    if is_page(data):
        return parse_html(key, data, options)
    decoded = decode(data)
    text = decoded.text
    document = ParsedDocument(key, PurePosixPath(key).stem, text, (Section(0, len(text)),))
    return ParsedFile((document,), decoded.problems)


def parse_markdown(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read Markdown; the title is the front matter's, the first H1's or the file's name."""
    if is_page(data):
        return parse_html(key, data, options)
    decoded = decode(data)
    text = decoded.text
    body, title = _front_matter(text)
    lines = list(_lines_outside_code(text, body))
    headings = list(_headings(lines))
    first = next((name for _, level, name in headings if level == 1 and name), "")
    title = title or first or PurePosixPath(key).stem
    outline = Outline(title, body)
    last = body
    for at, level, name in headings:
        outline.start_section(at, level, name, text[last:at])
        last = at
    sections = outline.finish(len(text), text[last:])
    document = ParsedDocument(key, title, text, sections, tables=tuple(_tables(lines)))
    return ParsedFile((document,), decoded.problems)


def _front_matter(text: str) -> tuple[int, str]:
    """Return the end of the front matter, and its title; 0 if there is none."""
    for block, title in ((_YAML, _YAML_TITLE), (_TOML, _TOML_TITLE)):
        if match := block.match(text):
            named = title.search(match.group())
            values = named.groups() if named else ()
            return match.end(), next((value.strip() for value in values if value), "")
    return 0, ""


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


def _headings(lines: list[tuple[int, str]]) -> Iterator[tuple[int, int, str]]:
    """Yield (offset, level, name) of the ``#`` lines, and of lines underlined with = or -."""
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
