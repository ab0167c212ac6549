"""PDF: extracts the text layer, with a section for each page. Does not run OCR on scanned pages."""

import re
import threading
from contextlib import closing
from pathlib import PurePosixPath
from typing import Any

from resift.errors import SourceError
from resift.extras import require
from resift.index.parsing.documents import ParsedFile, TextBuilder
from resift.index.parsing.options import DEFAULTS, ParseOptions

# PDFium has global state, so only one thread may use it at a time.
_PDFIUM = threading.Lock()
# PDFium's mark of a word that was hyphenated at the end of a line.
_HYPHEN = re.compile("(?:\ufffe|\x02)\\s*")
# Ligatures and soft hyphens.
_LIGATURES = str.maketrans(
    {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl",
     "\ufb05": "st", "\ufb06": "st", "\u00ad": ""}
)  # fmt: skip
# The end mark of a PDF, which is within its last bytes.
_END, _TAIL = b"%%EOF", 2_048
# The number of problems that are listed; more are only counted.
_MAX_PROBLEMS = 20
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0e-\x1f]")


def parse_pdf(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read the text of all pages; raise `SourceError` if there is none.

    Unreadable pages and a missing end of the file are reported as problems; the rest is read.
    """
    problems: list[str] = []
    pdfium = require("pypdfium2", "index")
    with _PDFIUM:
        try:
            with closing(pdfium.PdfDocument(data)) as pdf:
                options.limits.check_pages(len(pdf))
                title = _clean(pdf.get_metadata_value("Title")) or PurePosixPath(key).stem
                pages = [_clean(_page_text(pdf, number, problems)) for number in range(len(pdf))]
        except pdfium.PdfiumError as error:
            if "password" in str(error).lower():
                raise SourceError("an encrypted PDF: remove its password first") from error
            raise SourceError(
                "not a readable PDF: damaged, or something else under that name"
            ) from error
    builder = TextBuilder(title)
    for number, page in enumerate(pages, start=1):
        if page:
            builder.page = number
            builder.start_section(1, "")
            builder.add_block(page)
    if len(problems) > _MAX_PROBLEMS:
        more = f"and {len(problems) - _MAX_PROBLEMS:,} more pages that cannot be read"
        problems[_MAX_PROBLEMS:] = [more]
    if _END not in data[-_TAIL:]:
        problems.append("the file is cut off: pages of it may be missing")
    if builder.is_empty:
        reason = f" ({problems[0]})" if problems else ": scanned? Run OCR on it first"
        raise SourceError(f"a PDF without a text layer in its {len(pages)} pages{reason}")
    return ParsedFile((builder.build(key, title),), tuple(problems))


def _page_text(pdf: Any, number: int, problems: list[str]) -> str:
    pdfium = require("pypdfium2", "index")
    try:
        with closing(pdf[number]) as page, closing(page.get_textpage()) as text:
            words = str(text.get_text_bounded())
            images = page.get_objects([pdfium.raw.FPDF_PAGEOBJ_IMAGE])
            if not words.strip() and next(images, None) is not None:
                problems.append(f"page {number + 1}: an image without text: run OCR on it first")
            return words
    except pdfium.PdfiumError:
        problems.append(f"page {number + 1}: damaged, left out")
        return ""


def _clean(text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNPRINTABLE.sub("", _HYPHEN.sub("", lines)).translate(_LIGATURES).strip()
