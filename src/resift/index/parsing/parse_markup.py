"""reStructuredText, AsciiDoc, Org and LaTeX: text with headings. The text is not changed.

Only headings and front matter are read, so offsets are those of the file, and the text of
directives, blocks and macros is searched. Nothing is included from other files: a full reader of
such a language (docutils, asciidoctor) follows includes, and its output has other offsets.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from resift.index.parsing.charset import decode
from resift.index.parsing.declared_encoding import declared_encoding, latex_encoding
from resift.index.parsing.documents import ParsedDocument, ParsedFile
from resift.index.parsing.front_matter import read_front_matter
from resift.index.parsing.options import DEFAULTS, ParseOptions
from resift.index.parsing.sections import Heading, outline

_Line = tuple[int, str]
"""The position of a line in the text, and the line without its line end."""
_HeadingsOf = Callable[[str, int], Iterator[Heading]]

# A line of one repeated punctuation mark, which is under (and over) a title.
_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1+[ \t]*$")
_MIN_SHORT_ADORNMENT = 3
_ASCIIDOC_HEADING = re.compile(r"(={1,6}|#{1,6})[ \t]+(\S.*)$")
_ASCIIDOC_UNDERLINES = {"=": 1, "-": 2, "~": 3, "^": 4, "+": 5}
# Blocks whose lines are no headings: comments, listings, literals, examples, quotes, passthroughs.
_ASCIIDOC_FENCE = re.compile(r"(/{4,}|-{4,}|\.{4,}|\+{4,}|={4,}|_{4,}|\*{4,}|```.*)[ \t]*$")
_ORG_HEADING = re.compile(r"(\*{1,20})[ \t]+(\S.*)$")
_ORG_TODO = re.compile(r"(?:TODO|DONE|NEXT|WAITING)[ \t]+|\[#[A-Z0-9]\][ \t]+")
_ORG_TAGS = re.compile(r"[ \t]+:[\w@#%:]+:[ \t]*$")
_ORG_BLOCK = re.compile(r"[ \t]*#\+(begin|end)_(\w+)", re.IGNORECASE)
_ORG_TITLE = re.compile(r"#\+title:[ \t]*(\S.*)$", re.IGNORECASE | re.MULTILINE)
_TEX_LEVELS = {
    "part": 1, "chapter": 2, "section": 3, "subsection": 4, "subsubsection": 5, "paragraph": 6,
}  # fmt: skip
_TEX_HEADING = re.compile(
    r"\\(part|chapter|(?:sub){0,2}section|paragraph)\*?[ \t]*(?:\[[^\]\n]{0,500}\])?[ \t]*\{"
)
_TEX_TITLE = re.compile(r"\\title[ \t]*(?:\[[^\]\n]{0,500}\])?[ \t]*\{")
_TEX_COMMENT = re.compile(r"(?<!\\)%")
_TEX_MACRO = re.compile(r"\\[a-zA-Z]+\*?[ \t]*|[{}~$]|\\(?=[^a-zA-Z])")
_TEX_BRACE = re.compile(r"(?<!\\)[{}]")
_MAX_NAME = 500


def parse_rst(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read reStructuredText; the first title that is alone at its level is the document's."""
    return _parse(key, data, _rst_headings)


def parse_asciidoc(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read AsciiDoc; the title is its level 0 heading's."""
    return _parse(key, data, _asciidoc_headings)


def parse_org(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read an Org file; the title is its ``#+title:``."""
    return _parse(key, data, _org_headings, _ORG_TITLE)


def parse_tex(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    r"""Read LaTeX; the title is its ``\title``."""
    return _parse(key, data, _tex_headings, _TEX_TITLE, latex_encoding(data))


def _parse(
    key: str,
    data: bytes,
    headings_of: _HeadingsOf,
    title_pattern: re.Pattern[str] | None = None,
    declared: str | None = None,
) -> ParsedFile:
    decoded = decode(data, declared or declared_encoding(data))
    text = decoded.text
    front = read_front_matter(text)
    headings = list(headings_of(text, front.end))
    title = front.title or _named_title(text, title_pattern)
    title = title or _first_title(headings) or PurePosixPath(key).stem
    sections = outline(text, headings, title, front.end)
    document = ParsedDocument(key, title, text, sections, front.metadata, has_lines=True)
    return ParsedFile((document,), (*decoded.problems, *front.problems))


def _named_title(text: str, pattern: re.Pattern[str] | None) -> str:
    match = pattern.search(text) if pattern else None
    if match is None:
        return ""
    return match[1].strip() if match.re.groups else _tex_name(text, match.end())


def _first_title(headings: list[Heading]) -> str:
    """Return the first heading if it is the only one at its level, and no other is above it."""
    if not headings:
        return ""
    _, level, name = headings[0]
    is_alone = all(other > level for _, other, _ in headings[1:])
    return name if is_alone else ""


def _lines(text: str, start: int) -> Iterator[_Line]:
    at = start
    for line in text[start:].split("\n"):
        yield at, line
        at += len(line) + 1


def _rst_headings(text: str, start: int) -> Iterator[Heading]:
    """Yield the titles; a style of adornment gets the next level when it is first used."""
    levels: dict[tuple[str, bool], int] = {}
    lines = list(_lines(text, start))
    index = 1
    while index < len(lines):
        title, under = lines[index - 1][1], lines[index][1]
        mark = _ADORNMENT.match(under)
        if mark and _is_rst_title(title, under):
            over = lines[index - 2][1] if index > 1 else ""
            has_over = over.rstrip() == under.rstrip()
            is_text_before = index > 1 and not has_over and over.strip() != ""
            if not is_text_before and (has_over or not title[:1].isspace()):
                level = levels.setdefault((mark[1], has_over), len(levels) + 1)
                at = lines[index - 2][0] if has_over else lines[index - 1][0]
                yield at, level, title.strip()
                index += 1
        index += 1


def _is_rst_title(title: str, under: str) -> bool:
    """Whether a line with an adornment below is a title: text that is not wider than it."""
    name, width = title.strip(), len(under.rstrip())
    if not name or _ADORNMENT.match(title):
        return False
    return width >= len(name) or (width >= _MIN_SHORT_ADORNMENT and not title[:1].isspace())


def _asciidoc_headings(text: str, start: int) -> Iterator[Heading]:
    """Yield ``== titles``, and titles of two lines; levels begin at 1."""
    fence = ""
    before: _Line = (start, "")
    is_after_blank = True
    for at, line in _lines(text, start):
        underlined = _asciidoc_underlined(before[1], line) if is_after_blank else None
        if fence:
            fence = "" if line.rstrip() == fence else fence
        elif underlined is not None:
            yield before[0], underlined, before[1].strip()
        elif match := _ASCIIDOC_HEADING.match(line):
            yield at, len(match[1]), match[2].strip()
        elif marks := _ASCIIDOC_FENCE.match(line):
            fence = "```" if line.startswith("```") else marks[1]
        is_after_blank = not before[1].strip()
        before = (at, line)


def _asciidoc_underlined(title: str, under: str) -> int | None:
    """Return the level of a title with a line of one mark below, as long as it; else None."""
    under = under.rstrip()
    level = _ASCIIDOC_UNDERLINES.get(under[:1])
    name = title.rstrip()
    is_title = name[:1].isalnum() and set(under) == {under[:1]}
    return level if level and is_title and abs(len(name) - len(under)) <= 2 else None


def _org_headings(text: str, start: int) -> Iterator[Heading]:
    block = ""
    for at, line in _lines(text, start):
        if marks := _ORG_BLOCK.match(line):
            kind = marks[2].lower()
            if marks[1].lower() == "begin":
                block = block or kind
            elif kind == block:
                block = ""
        elif not block and (match := _ORG_HEADING.match(line)):
            name = _ORG_TAGS.sub("", match[2])
            while mark := _ORG_TODO.match(name):
                name = name[mark.end() :]
            yield at, len(match[1]), name.strip()


def _tex_headings(text: str, start: int) -> Iterator[Heading]:
    is_comment, last = False, start
    for match in _TEX_HEADING.finditer(text, start):
        line_start = text.rfind("\n", last, match.start()) + 1
        is_comment = is_comment and not line_start
        is_comment |= _TEX_COMMENT.search(text, line_start or last, match.start()) is not None
        last = match.start()
        name = _tex_name(text, match.end())
        if name and not is_comment:
            yield match.start(), _TEX_LEVELS[match[1]], name


def _tex_name(text: str, start: int) -> str:
    """Return the argument that begins at `start`, without macros; empty if it never ends."""
    depth = 1
    for brace in _TEX_BRACE.finditer(text, start, start + _MAX_NAME):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return " ".join(_TEX_MACRO.sub(" ", text[start : brace.start()]).split())
    return ""
