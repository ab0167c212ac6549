"""Office files, books and mails to text, by kreuzberg. A section a heading, a slide or a sheet.

The text is put together here, from the blocks that kreuzberg finds: so headings are known where
they stand, and a table is a line a row.
"""

import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

from resift.errors import SourceError
from resift.extras import require
from resift.index.parsing.charset import without_controls
from resift.index.parsing.documents import Outline, Parsed, ParsedDocument, Section, Table
from resift.index.parsing.docx_entities import hide_entities, show_entities
from resift.index.parsing.limits import ParseLimits
from resift.index.parsing.parse_text import stem
from resift.index.parsing.tables import Grid

_OPEN_XML = "application/vnd.openxmlformats-officedocument"
_ZIPPED = {
    ".docx": f"{_OPEN_XML}.wordprocessingml.document",
    ".pptx": f"{_OPEN_XML}.presentationml.presentation",
    ".xlsx": f"{_OPEN_XML}.spreadsheetml.sheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".epub": "application/epub+zip",
}
_PLAIN = {".rtf": "application/rtf", ".eml": "message/rfc822"}
OFFICE_SUFFIXES = (*_ZIPPED, *_PLAIN)

# What zipfile raises beside its own error: a password, a method or a length that cannot be.
_ODD_ARCHIVES = (RuntimeError, NotImplementedError, ValueError, EOFError, OSError)

_SLIDE = "@@slide-{page_num}@@"
_SLIDES = re.compile(r"^@@slide-(\d+)@@$", re.MULTILINE)
_LONGEST_HEADING = 120


def parse_office(key: str, data: bytes, limits: ParseLimits) -> Parsed:
    """Read one file; its title is the one it has in its properties, its subject or its name.

    Headers and footers of pages are left out. `page` is the number of a slide; other files have
    pages only where they are printed. Attachments of a mail are not read.
    """
    suffix = PurePosixPath(key).suffix.lower()
    if suffix in _ZIPPED:
        data = _unpacked(suffix, data, limits)
    elif suffix == ".rtf" and not data.lstrip().startswith(b"{\\rtf"):
        raise SourceError(f"not a readable {suffix}: damaged, or something else under that name")
    result = _extract(suffix, data)
    title = show_entities(_title(result.metadata)) or stem(key)
    if suffix == ".pptx":
        built = _slides(result.content, limits)
    else:
        built = _blocks(result.document["nodes"] if result.document else (), title)
    text, sections, tables = built.finish()
    return Parsed((ParsedDocument(key, title, text, sections, tables=tables),))


def _extract(suffix: str, data: bytes) -> Any:
    kreuzberg = require("kreuzberg", "office")
    config = kreuzberg.ExtractionConfig(
        use_cache=False,
        enable_quality_processing=False,
        disable_ocr=True,
        include_document_structure=suffix != ".pptx",
        # Slides have no numbers among the blocks.
        pages=kreuzberg.PageConfig(insert_page_markers=True, marker_format=f"\n\n{_SLIDE}\n\n")
        if suffix == ".pptx"
        else None,
    )
    mime = (_ZIPPED | _PLAIN)[suffix]
    try:
        return kreuzberg.extract_bytes_sync(data, mime, config)
    except kreuzberg.KreuzbergError as error:
        reason = str(error).partition("\n")[0]
        raise SourceError(f"not a readable {suffix}: damaged or encrypted ({reason})") from error


def _unpacked(suffix: str, data: bytes, limits: ParseLimits) -> bytes:
    """An archive to read; refused is what is none, or says itself that it unpacks to too much."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        limits.check_bytes(unpacked, "it unpacks to")
        return hide_entities(data) if suffix == ".docx" else data
    except (zipfile.BadZipFile, zlib.error, *_ODD_ARCHIVES) as error:
        raise SourceError(
            f"not a readable {suffix}: damaged, encrypted, or something else under that name"
        ) from error


def _title(metadata: Mapping[str, Any]) -> str:
    title = metadata.get("title") or metadata.get("subject") or ""
    return " ".join(without_controls(str(title)).split())


def _slides(content: str, limits: ParseLimits) -> "_Text":
    """The text of all slides, with their notes; a section a slide, headed by its first line."""
    before, *rest = _SLIDES.split(content)
    limits.check_pages(len(rest) // 2)
    built = _Text("")
    built.block(before)
    for number, body in zip(rest[::2], rest[1::2], strict=True):
        first, _, _ = body.strip().partition("\n")
        built.page = int(number)
        built.heading(1, first if len(first) <= _LONGEST_HEADING else "")
        built.block(body)
    return built


def _blocks(nodes: Iterable[Mapping[str, Any]], title: str) -> "_Text":
    """The text of a file's blocks in reading order."""
    built = _Text(title)
    for node in nodes:
        content = node["content"]
        if node.get("content_layer", "body") in ("header", "footer"):
            continue
        if content["node_type"] == "table":
            built.table(_table(content["grid"]["cells"]))
            continue
        text = show_entities(_block(content))
        if content["node_type"] in ("heading", "title"):
            built.heading(content.get("level", 1), " ".join(text.split()))
        built.block(text)
    return built


def _block(content: Mapping[str, Any]) -> str:
    kind = content["node_type"]
    if kind == "metadata_block":
        return "\n".join(f"{name}: {value}" for name, value in content["entries"])
    if kind == "definition_item":
        return f"{content.get('term', '')}\n{content.get('definition', '')}"
    if kind == "group":  # a heading's own block comes next
        return ""
    return str(content.get("text") or content.get("description") or "")


def _table(cells: Iterable[Mapping[str, Any]]) -> Grid:
    """The rows that have anything in them, without what only fills a row up."""
    rows: dict[int, list[str]] = {}
    heads = set()
    for cell in cells:
        rows.setdefault(cell["row"], []).append(show_entities(str(cell["content"])).strip())
        if cell.get("is_header"):
            heads.add(cell["row"])
    whole = {number: row for number, row in sorted(rows.items()) if any(row)}
    for row in whole.values():
        while not row[-1]:
            row.pop()
    head = sum(number in heads for number in whole)
    return Grid(list(whole.values()), head if head < len(whole) else 0)


class _Text:
    """The text so far, blocks apart by blank lines, and its sections."""

    def __init__(self, title: str) -> None:
        self.page: int | None = None
        self._pieces: list[str] = []
        self._length = 0
        self._outline = Outline(title)
        self._tables: list[Table] = []
        self._last = 0

    def heading(self, level: int, name: str) -> None:
        """Begin a heading's own section; its text is still to come."""
        self._outline.heading(self._length, level, name, self._since(), self.page)

    def block(self, text: str) -> None:
        """Add a block, if there is anything in it."""
        text = without_controls(text).strip()
        if text:
            piece = f"\n\n{text}" if self._pieces else text
            self._pieces.append(piece)
            self._length += len(piece)

    def table(self, grid: Grid) -> None:
        """Add a table, a line a row."""
        self.block(grid.text)
        if grid.text:
            self._tables.append(grid.at(self._length - len(grid.text)))

    def finish(self) -> tuple[str, tuple[Section, ...], tuple[Table, ...]]:
        """The whole text, its sections and its tables."""
        sections = self._outline.finish(self._length, self._since())
        return "".join(self._pieces), sections, tuple(self._tables)

    def _since(self) -> str:
        """The text since the last heading."""
        pieces = self._pieces[self._last :]
        self._last = len(self._pieces)
        return "".join(pieces)
