"""What a file is by its first bytes, where these say so, against what its name says."""

from resift.errors import SourceError

_OPEN_XML = (".docx", ".pptx", ".xlsx", ".odt", ".epub")
# First bytes → what such a file is, and the names under which it is read.
_KINDS: tuple[tuple[bytes, str, tuple[str, ...]], ...] = (
    (b"%PDF-", "a PDF", (".pdf",)),
    (b"PK\x03\x04", "a ZIP archive, as office files are", _OPEN_XML),
    (b"PK\x05\x06", "an empty ZIP archive", _OPEN_XML),
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


def check_kind(suffix: str, data: bytes) -> None:
    """Raise `SourceError` where the first bytes say that a file is no `suffix`."""
    for first, what, suffixes in _KINDS:
        if data.startswith(first) and suffix not in suffixes:
            remedy = f": name it {suffixes[0]}" if len(suffixes) == 1 else ""
            raise SourceError(f"not a readable {suffix}: it is {what}{remedy}")
