"""The supported file formats, and `parse`, which chooses a file's parser by its suffix.

To add a format, write ``parse_<format>.py`` with a function ``(key, data, options) -> ParsedFile``
and add a line to `_FORMATS`. If its files begin with characteristic bytes, add them to
`_SIGNATURES`. If it needs another package, name that in pyproject.toml and import it by `require`.
"""

import gzip
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from io import BytesIO

from resift.errors import MissingExtra, SourceError
from resift.index.normalisation import is_visible
from resift.index.parsing import chunking
from resift.index.parsing.code_languages import LANGUAGES, OTHER_CODE_SUFFIXES
from resift.index.parsing.documents import ParsedDocument, ParsedFile
from resift.index.parsing.options import DEFAULTS, Columns, ParseLimits, ParseOptions
from resift.index.parsing.parse_code import parse_code
from resift.index.parsing.parse_csv import parse_csv
from resift.index.parsing.parse_html import parse_html
from resift.index.parsing.parse_json import parse_json
from resift.index.parsing.parse_jsonl import parse_jsonl
from resift.index.parsing.parse_lines import LINE_SUFFIXES, parse_lines
from resift.index.parsing.parse_mail import parse_mail
from resift.index.parsing.parse_markup import parse_asciidoc, parse_org, parse_rst, parse_tex
from resift.index.parsing.parse_notebook import parse_notebook
from resift.index.parsing.parse_office import OFFICE_SUFFIXES, ZIPPED_SUFFIXES, parse_office
from resift.index.parsing.parse_parquet import parse_parquet
from resift.index.parsing.parse_pdf import parse_pdf
from resift.index.parsing.parse_subtitles import parse_subtitles
from resift.index.parsing.parse_text import parse_markdown, parse_plain
from resift.index.parsing.parse_xml import parse_xml


@dataclass(frozen=True, slots=True)
class _Format:
    """A file format. Increase `version` whenever the same bytes would give a different text.

    `has_columns` says whether its parser uses `Columns`. `limits` names the limits that its parser
    checks while it reads, in addition to time and memory.
    """

    name: str
    version: int
    suffixes: tuple[str, ...]
    parse: Callable[[str, bytes, ParseOptions], ParsedFile]
    has_columns: bool = False
    limits: tuple[str, ...] = ()


_HTML_VERSION = 5  # part of the version of text files, because they may be HTML pages
_FRONT_MATTER_VERSION = 2  # part of the version of every markup with front matter
_MARKUP_VERSION = 2 + _FRONT_MATTER_VERSION
_MARKDOWN_SUFFIXES = (".md", ".markdown", ".mdx", ".mkd", ".rmd", ".qmd")
_XML_SUFFIXES = tuple(
    ".xml .rss .atom .opml .dita .ditamap .docbook .dbk .tei .xlf .xliff .xsd .xsl .xslt .wsdl "
    ".csproj .resx".split()
)
_CODE_SUFFIXES = (*LANGUAGES, *OTHER_CODE_SUFFIXES)
_FORMATS = (
    _Format("text", 5 + _HTML_VERSION, (".txt", ".text"), parse_plain),
    _Format(
        "markdown", 6 + _HTML_VERSION + _FRONT_MATTER_VERSION, _MARKDOWN_SUFFIXES, parse_markdown
    ),
    _Format("rst", _MARKUP_VERSION, (".rst", ".rest"), parse_rst),
    _Format("asciidoc", _MARKUP_VERSION, (".adoc", ".asciidoc"), parse_asciidoc),
    _Format("org", _MARKUP_VERSION, (".org",), parse_org),
    _Format("tex", _MARKUP_VERSION, (".tex", ".ltx", ".sty"), parse_tex),
    _Format("code", 2, _CODE_SUFFIXES, parse_code),
    _Format("lines", 2, LINE_SUFFIXES, parse_lines),
    _Format("notebook", 2, (".ipynb",), parse_notebook),
    _Format("subtitles", 1, (".srt", ".vtt"), parse_subtitles),
    _Format("xml", 2 + _HTML_VERSION, _XML_SUFFIXES, parse_xml),
    _Format("mail", 1 + _HTML_VERSION, (".eml",), parse_mail),
    _Format("html", _HTML_VERSION, (".html", ".htm", ".xhtml"), parse_html),
    _Format("pdf", 3, (".pdf",), parse_pdf, limits=("max_pages",)),
    _Format("office", 3, OFFICE_SUFFIXES, parse_office, limits=("max_bytes", "max_pages")),
    _Format("json", 3, (".json", ".geojson"), parse_json, has_columns=True, limits=("max_bytes",)),
    _Format("jsonl", 4, (".jsonl", ".ndjson"), parse_jsonl, has_columns=True),
    _Format("csv", 3, (".csv", ".tsv"), parse_csv, has_columns=True),
    _Format("parquet", 3, (".parquet",), parse_parquet, has_columns=True),
)
_FORMAT_BY_SUFFIX = {suffix: format_ for format_ in _FORMATS for suffix in format_.suffixes}
SUFFIXES = frozenset(_FORMAT_BY_SUFFIX)
"""The suffixes of supported files, in lower case. Files of text may have ``.gz`` after it."""
# Files without a suffix whose names tell what they are, in lower case.
_FORMAT_BY_NAME = {
    **dict.fromkeys(
        "authors changelog changes contributing copying install licence license maintainers news "
        "notice readme security todo".split(),
        "text",
    ),
    **dict.fromkeys(
        "brewfile caddyfile containerfile dockerfile gemfile jenkinsfile justfile makefile "
        "gnumakefile procfile rakefile vagrantfile".split(),
        "code",
    ),
}
_GZIP = ".gz"
_BINARY = frozenset({"pdf", "office", "parquet"})

# Files that programs write for programs, under the suffix of a supported format.
_LOCK_FILES = frozenset(
    "package-lock.json npm-shrinkwrap.json packages.lock.json deno.lock pnpm-lock.yaml "
    "conda-lock.yml conda-lock.yaml pixi.lock".split()
)
_MINIFIED = re.compile(r"[.-]min\.(?:js|mjs|cjs|css)$")

# The first bytes of a file, the name of its format, and the suffixes that it may have.
_SIGNATURES: tuple[tuple[bytes, str, tuple[str, ...]], ...] = (
    (b"%PDF-", "a PDF", (".pdf",)),
    (b"PK\x03\x04", "a ZIP archive, as office files are", ZIPPED_SUFFIXES),
    (b"PK\x05\x06", "an empty ZIP archive", ZIPPED_SUFFIXES),
    (b"PAR1\x15", "a Parquet file", (".parquet",)),
    (b"{\\rtf", "a rich text file", (".rtf",)),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an encrypted or old office file", ()),
    (b"\x1f\x8b\x08", "a gzip file", ()),
    (b"BZh91AY&SY", "a bzip2 file", ()),
    (b"\xfd7zXZ\x00", "an xz file", ()),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", ()),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", ()),
    (b"Rar!\x1a\x07", "a RAR archive", ()),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", ()),
    (b"\xff\xd8\xff", "a JPEG image", ()),
    (b"GIF87a", "a GIF image", ()),
    (b"GIF89a", "a GIF image", ()),
    (b"SQLite format 3\x00", "an SQLite database", ()),
)
NO_TEXT = "no text in it"


def parse(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Parse one file in this process into documents with visible text.

    The same bytes always give the same documents. Raise `SourceError` with a reason of one line if
    nothing can be indexed. Limits on bytes and pages are checked here, on time and memory by
    `ParserPool`.
    """
    options.limits.check_bytes(len(data))
    if not data.strip():
        raise SourceError("empty file")
    format_ = _format_of(key)
    if format_ is None:
        raise SourceError(f"{unread_kind(key)}: not a kind of document that is read")
    is_packed = _is_packed(key)
    name = key[: -len(_GZIP)] if is_packed else key
    if is_packed:
        data = _unpack(data, options.limits)
    _check_signature(_suffix(name), data)
    try:
        parsed = format_.parse(name, data, options)
    except MissingExtra as error:
        raise SourceError(str(error)) from error
    documents = tuple(
        replace(document, id=key) if is_packed and document.row is None else document
        for document in filter(_has_text, parsed.documents)
    )
    if not documents and not parsed.problems:
        raise SourceError(NO_TEXT)
    return ParsedFile(documents, parsed.problems)


def is_supported(key: str) -> bool:
    """Whether a file of this name can be read."""
    return _format_of(key) is not None


def unread_kind(key: str) -> str | None:
    """Return the kind of a file that is not read, such as its suffix; None for a document."""
    name = _name(key).lower()
    if name in _LOCK_FILES:
        return "lock file"
    if _MINIFIED.search(name):
        return "minified"
    return (_suffix(key) or "no suffix") if _format_of(key) is None else None


def parsing_fingerprint(key: str, columns: Columns = DEFAULTS.columns) -> str:
    """Identify the code and options that turn a file of this name into chunks; empty if none do.

    A file must be read again if this differs from the fingerprint with which it was read.
    """
    format_ = _format_of(key)
    if format_ is None:
        return ""
    by_columns = f" {columns.fingerprint}" if format_.has_columns else ""
    return f"{format_.name} {format_.version}, chunk {chunking.VERSION}{by_columns}"


def may_exceed(key: str, size: int, before: ParseLimits, now: ParseLimits) -> bool:
    """Whether a file that was within the limits `before` may exceed the limits `now`.

    Only its size is known. If a limit on unpacked size, pages, time or memory is lower than before,
    the file must be read again to find out.
    """
    format_ = _format_of(key)
    unpacked = ("max_bytes",) if _is_packed(key) else ()
    names = ("max_seconds", "memory_mb", *unpacked, *(format_.limits if format_ else ()))
    return size > now.max_bytes or any(getattr(now, name) < getattr(before, name) for name in names)


def optional_parsers() -> str:
    """Name the installed optional parsers; they may read files that were skipped without them."""
    return "office" if find_spec("kreuzberg") else ""


def _check_signature(suffix: str, data: bytes) -> None:
    """Raise `SourceError` if a file's first bytes are those of another format."""
    for first_bytes, name, suffixes in _SIGNATURES:
        if data.startswith(first_bytes) and suffix not in suffixes:
            remedy = f": name it {suffixes[0]}" if len(suffixes) == 1 else ""
            raise SourceError(f"not a readable {suffix or 'text'}: it is {name}{remedy}")


def _has_text(document: ParsedDocument) -> bool:
    return any(is_visible(document.text[part.start : part.end]) for part in document.sections)


def _name(key: str) -> str:
    return key.rstrip("/").rpartition("/")[2]


def _suffix(key: str) -> str:
    # As `PurePosixPath(key).suffix`, which takes most of the time of comparing a large source.
    name = _name(key)
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""


def _is_packed(key: str) -> bool:
    return _suffix(key) == _GZIP


def _format_of(key: str) -> _Format | None:
    """Return the format of a file, by its name."""
    suffix = _suffix(key)
    if not suffix:
        name = _FORMAT_BY_NAME.get(_name(key).lower())
        return next((format_ for format_ in _FORMATS if format_.name == name), None)
    if not _is_packed(key):
        return _FORMAT_BY_SUFFIX.get(suffix)
    format_ = _FORMAT_BY_SUFFIX.get(_suffix(_name(key)[: -len(_GZIP)]))
    return format_ if format_ and format_.name not in _BINARY else None


def _unpack(data: bytes, limits: ParseLimits) -> bytes:
    """Unpack a gzip file; raise `SourceError` if it is damaged or unpacks to too much."""
    try:
        with gzip.GzipFile(fileobj=BytesIO(data)) as stream:
            unpacked = stream.read(limits.max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError("not a readable gzip file: damaged or cut off") from error
    if len(unpacked) > limits.max_bytes:
        raise SourceError(f"it unpacks to more than {limits.max_bytes:,} bytes (max_bytes)")
    if not unpacked.strip():
        raise SourceError("empty file")
    return unpacked
