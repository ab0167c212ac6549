"""Office files and e-books, by kreuzberg, with a section for each heading or slide.

kreuzberg extracts blocks. This module joins them, so that sections begin at headings, and rows of
tables become lines.
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
from resift.index.parsing.charset import replace_controls
from resift.index.parsing.documents import Grid, ParsedFile, TextBuilder
from resift.index.parsing.options import DEFAULTS, ParseLimits, ParseOptions

_OPEN_XML = "application/vnd.openxmlformats-officedocument"
_ZIPPED = {
    ".docx": f"{_OPEN_XML}.wordprocessingml.document",
    ".pptx": f"{_OPEN_XML}.presentationml.presentation",
    ".xlsx": f"{_OPEN_XML}.spreadsheetml.sheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".epub": "application/epub+zip",
}
_MIME_TYPES = {**_ZIPPED, ".rtf": "application/rtf"}
ZIPPED_SUFFIXES = tuple(_ZIPPED)
OFFICE_SUFFIXES = tuple(_MIME_TYPES)

# The errors of zipfile, also for a password, an unknown method, and impossible lengths.
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, ValueError, EOFError, OSError
)  # fmt: skip

_SLIDE = "@@slide-{page_num}@@"
_SLIDES = re.compile(r"^@@slide-(\d+)@@$", re.MULTILINE)
_MAX_HEADING = 120

# kreuzberg 4 drops entities such as ``&amp;`` from Word files: "R&D" becomes "RD". So they are
# replaced by private-use characters before it reads a file, and restored in its results.
_NAMED_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_MARK_BY_CHAR = {char: chr(0xF8D0 + i) for i, char in enumerate(_NAMED_ENTITIES.values())}
_CHAR_BY_MARK = {ord(mark): char for char, mark in _MARK_BY_CHAR.items()}
_ENTITY = re.compile(rb"&(?:(amp|lt|gt|quot|apos)|#(\d{1,7})|#x([0-9a-fA-F]{1,6}));")


def parse_office(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read one file; its title is in its properties, or is the file's name.

    Headers and footers of pages are left out. `page` is the number of a slide; other files have no
    pages.
    """
    suffix = PurePosixPath(key).suffix.lower()
    if suffix in _ZIPPED:
        data = _check_archive(suffix, data, options.limits)
    elif suffix == ".rtf" and not data.lstrip().startswith(b"{\\rtf"):
        raise SourceError(f"not a readable {suffix}: damaged, or something else under that name")
    result = _extract(suffix, data)
    title = _title(result.metadata) or PurePosixPath(key).stem
    if suffix == ".pptx":
        builder = _slides(result.content, options.limits)
    else:
        builder = _blocks(result.document["nodes"] if result.document else (), title)
    return ParsedFile((builder.build(key, title),))


def _check_archive(suffix: str, data: bytes, limits: ParseLimits) -> bytes:
    """Return an archive to read; raise `SourceError` if it is damaged or unpacks to too much."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        limits.check_bytes(unpacked, "it unpacks to")
        return _hide_entities(data) if suffix == ".docx" else data
    except _ZIP_ERRORS as error:
        raise SourceError(
            f"not a readable {suffix}: damaged, encrypted, or something else under that name"
        ) from error


def _extract(suffix: str, data: bytes) -> Any:
    kreuzberg = require("kreuzberg", "office")
    is_deck = suffix == ".pptx"
    config = kreuzberg.ExtractionConfig(
        use_cache=False,
        enable_quality_processing=False,
        disable_ocr=True,
        include_document_structure=not is_deck,
        # The document structure does not contain the numbers of slides.
        pages=kreuzberg.PageConfig(insert_page_markers=True, marker_format=f"\n\n{_SLIDE}\n\n")
        if is_deck
        else None,
    )
    try:
        return kreuzberg.extract_bytes_sync(data, _MIME_TYPES[suffix], config)
    except kreuzberg.KreuzbergError as error:
        reason = str(error).partition("\n")[0]
        raise SourceError(f"not a readable {suffix}: damaged or encrypted ({reason})") from error


def _title(metadata: Mapping[str, Any]) -> str:
    title = metadata.get("title") or ""
    return _restore_entities(" ".join(replace_controls(str(title)).split()))


def _slides(content: str, limits: ParseLimits) -> TextBuilder:
    """Add all slides with their notes; each is a section, and its first line the heading."""
    before, *rest = _SLIDES.split(content)
    limits.check_pages(len(rest) // 2)
    builder = TextBuilder("")
    _add_block(builder, before)
    for number, body in zip(rest[::2], rest[1::2], strict=True):
        first, _, _ = body.strip().partition("\n")
        builder.page = int(number)
        builder.start_section(1, first if len(first) <= _MAX_HEADING else "")
        _add_block(builder, body)
    return builder


def _blocks(nodes: Iterable[Mapping[str, Any]], title: str) -> TextBuilder:
    """Add the blocks of a file in reading order."""
    builder = TextBuilder(title)
    for node in nodes:
        content = node["content"]
        if node.get("content_layer", "body") in ("header", "footer"):
            continue
        if content["node_type"] == "table":
            builder.add_table(_grid(content["grid"]["cells"]))
            continue
        text = _restore_entities(_block_text(content))
        if content["node_type"] in ("heading", "title"):
            builder.start_section(content.get("level", 1), " ".join(text.split()))
        _add_block(builder, text)
    return builder


def _add_block(builder: TextBuilder, text: str) -> None:
    builder.add_block(replace_controls(text).strip())


def _block_text(content: Mapping[str, Any]) -> str:
    kind = content["node_type"]
    if kind == "metadata_block":
        return "\n".join(f"{name}: {value}" for name, value in content["entries"])
    if kind == "definition_item":
        return f"{content.get('term', '')}\n{content.get('definition', '')}"
    if kind == "group":  # the next block is its heading
        return ""
    return str(content.get("text") or content.get("description") or "")


def _grid(cells: Iterable[Mapping[str, Any]]) -> Grid:
    """Make a table of the rows that have text, without empty cells at their ends."""
    rows: dict[int, list[str]] = {}
    head_rows = set()
    for cell in cells:
        text = replace_controls(_restore_entities(str(cell["content"]))).strip()
        rows.setdefault(cell["row"], []).append(text)
        if cell.get("is_header"):
            head_rows.add(cell["row"])
    filled = {number: row for number, row in sorted(rows.items()) if any(row)}
    for row in filled.values():
        while not row[-1]:
            row.pop()
    head = sum(number in head_rows for number in filled)
    return Grid(list(filled.values()), head if head < len(filled) else 0)


def _hide_entities(data: bytes) -> bytes:
    """Replace the entities in a Word file by marks; raise `_ZIP_ERRORS` if it is damaged."""
    hidden = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as old, zipfile.ZipFile(hidden, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith(".xml"):
                content = _ENTITY.sub(_entity_to_mark, content)
            new.writestr(entry.filename, content)
    return hidden.getvalue()


def _entity_to_mark(match: re.Match[bytes]) -> bytes:
    named, decimal, hexadecimal = match.groups()
    if named:
        char = _NAMED_ENTITIES[named.decode()]
    else:
        code = int(decimal) if decimal else int(hexadecimal, 16)
        if code < 0x20 or 0xD800 <= code < 0xE000 or code > 0x10FFFF:
            return match.group()
        char = chr(code)
    return _MARK_BY_CHAR.get(char, char).encode()


def _restore_entities(text: str) -> str:
    """Replace the marks by the characters of their entities."""
    return text.translate(_CHAR_BY_MARK)
