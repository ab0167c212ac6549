"""Decodes text: by byte order mark, as UTF-8, by the declared encoding, or else by a guess."""

import codecs
import re
from dataclasses import dataclass

from resift.errors import SourceError
from resift.extras import require

# Control bytes that do not occur in text; tab, line feed, form feed, carriage return and escape
# (for ISO-2022-JP) do.
_CONTROL_BYTE = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
# Control bytes are rare in text; in binary files they are a tenth of all bytes.
_MAX_CONTROL_SHARE = 0.04
# DOS's end-of-file mark, and the filling of a disk block.
_PADDING = b"\x1a\x00"
_BOMS = (
    (codecs.BOM_UTF8, None),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# A text with this many valid non-ASCII characters for each broken byte is UTF-8.
_MIN_VALID_TO_BROKEN = 2
# Windows-1252 that happens to be valid UTF-8: the last letter of a word and a quote, dash or spaced
# guillemet after it. A text with more of these than `_MAX_ACCIDENTS` is UTF-8.
_ACCIDENT = re.compile(rb"(?<=[A-Za-z])(?:\xdf[\x85\x91-\x97\xbb]|[\xe0-\xef]\xa0[\xab\xbb])")
_MAX_ACCIDENTS = 64
# The non-ASCII characters of Western texts.
_WESTERN_CHARACTER = re.compile("[\u00a0-\u017f\u2010-\u2044\u20ac\u2122]")
_REPLACEMENT = "\ufffd"
_WESTERN = "cp1252"
# The candidates of a guess: encodings of scripts that hardly use ASCII letters.
_NOT_WESTERN = ["cp1251", "koi8_r", "cp932", "euc_jp", "cp949", "gb18030", "big5", "cp1253",
                "cp1255", "cp1256"]  # fmt: skip
# charset-normalizer confuses the following encodings in short texts, so letters are checked first.
# Japanese: no other language has kana.
_JAPANESE = ("euc_jp", "cp932")
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa]")
_MIN_KANA_SHARE = 0.2
_MIN_KANA = 2
# Cyrillic: every non-ASCII word is Cyrillic, with one capital at its start or only capitals.
_CYRILLIC = ("cp1251", "koi8_r")
_WORD = re.compile(r"[^\W\d_]+")
_CYRILLIC_WORD = re.compile("[А-ЯЁІЇЄҐ]?[а-яёіїєґ]+|[А-ЯЁІЇЄҐ]+")
_MIN_CYRILLIC_LETTERS = 4
# Declared encoding → the encoding in which such files are nearly always written.
_SUPERSETS = {
    "ascii": _WESTERN, "iso8859-1": _WESTERN, "shift_jis": "cp932", "euc_kr": "cp949",
    "gb2312": "gb18030", "gbk": "gb18030",
}  # fmt: skip
# Python codecs that are not encodings of files; browsers refuse them as well.
_NO_ENCODINGS = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "utf-7"})
# Declared, these are preferred to UTF-8.
_SEVEN_BITS = ("iso2022", "hz")
_ASCII_LETTER = re.compile(rb"[A-Za-z]")
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
# The least share of non-ASCII letters in other scripts: Western texts have few (6% in French).
_MIN_SHARE = 0.6
# Fewer non-ASCII bytes (a name, a price) are not enough to tell Greek from Korean.
_MIN_BYTES = 16
_SAMPLE = 1 << 15
# In UTF-16 every second byte of a Latin text is NUL.
_MIN_NUL_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Decoded:
    """A file's text with line feeds as line ends; `problems` name which bytes are broken."""

    text: str
    problems: tuple[str, ...] = ()


def decode(data: bytes, declared: str | None = None) -> Decoded:
    """Decode by byte order mark, else as UTF-8, else as `declared`, else by the letters.

    A `declared` encoding in seven bits (ISO-2022-JP) comes before UTF-8, as which it is valid, too.

    Only non-Latin scripts are guessed. In doubt the text is Windows-1252, because a wrong accent
    costs less than a page of French read as Chinese. Single control bytes become spaces. Broken
    bytes of UTF-8 become replacement characters and are reported as a problem. Raise `SourceError`
    for binary data: many control bytes, or bytes that fit no encoding.
    """
    encoding, body = _detect_unicode(data)
    if encoding is None:
        controls = len(_CONTROL_BYTE.findall(body[:_SAMPLE]))
        if (data and not body) or controls > _MAX_CONTROL_SHARE * min(len(body), _SAMPLE):
            raise SourceError("not text: it has control bytes, as binary files have")
    decoded = _decode_text(body, encoding, declared)
    return Decoded(replace_controls(decoded.text), decoded.problems)


def decode_rows(data: bytes) -> Decoded:
    """Decode a file of rows as `decode` does, but keep control characters.

    The row reader reports the line of a control character, and skips only that row.
    """
    encoding, body = _detect_unicode(data)
    return _decode_text(body, encoding, None)


def has_controls(text: str) -> bool:
    """Whether a text has control characters that do not occur in text, such as NUL."""
    return _CONTROL.search(text) is not None


def replace_controls(text: str) -> str:
    """Replace each such character by a space, so that the others keep their positions."""
    return _CONTROL.sub(" ", text)


def _detect_unicode(data: bytes) -> tuple[str | None, bytes]:
    """Detect UTF-8, 16 or 32 by a byte order mark or UTF-16's NULs; strip mark and padding.

    The encoding is None for UTF-8 and for anything else.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            data = data[len(bom) :]
            return encoding, data if encoding else data.rstrip(_PADDING)
    pairs = min(len(data), _SAMPLE) // 2
    even, odd = data[: 2 * pairs : 2].count(0), data[1 : 2 * pairs : 2].count(0)
    if not even and odd > _MIN_NUL_SHARE * pairs:
        return "utf-16-le", data
    if not odd and even > _MIN_NUL_SHARE * pairs:
        return "utf-16-be", data
    return None, data.rstrip(_PADDING)


def _decode_text(data: bytes, encoding: str | None, declared: str | None) -> Decoded:
    switched = _decode_seven_bits(data, _codec(declared)) if declared and not encoding else None
    if switched:
        return switched
    unicode = _decode_unicode(data, encoding or "utf-8")
    if unicode.is_certain:
        return Decoded(_normalise_line_ends(unicode.text), unicode.problems)
    if encoding:
        raise SourceError(f"not text: broken {encoding.upper()}")
    text = _decode_other(data, declared, unicode.is_likely)
    if text is not None:
        return Decoded(_normalise_line_ends(text))
    if unicode.is_likely or unicode.broken <= _MAX_CONTROL_SHARE * len(unicode.text):
        return Decoded(_normalise_line_ends(unicode.text), unicode.problems)
    raise SourceError("not text: neither UTF-8, UTF-16 nor any other known encoding")


def _decode_seven_bits(data: bytes, encoding: str) -> Decoded | None:
    """Decode an encoding that switches character sets by ASCII; None if nothing is switched.

    Its bytes are valid UTF-8, too, so it must be declared. Unknown characters, such as those of
    one vendor, become replacement characters.
    """
    if not encoding.startswith(_SEVEN_BITS) or not data.isascii():
        return None
    text = data.decode(encoding, "replace")
    if text.isascii():
        return None
    unknown = text.count(_REPLACEMENT)
    problem = f"{unknown:,} × no {encoding.upper()}, read as {_REPLACEMENT}"
    return Decoded(_normalise_line_ends(text), (problem,) if unknown else ())


def _normalise_line_ends(text: str) -> str:
    """Use line feeds as line ends; drop byte order marks between concatenated files."""
    text = text.replace("\n\ufeff", "\n") if "\ufeff" in text else text
    return text.replace("\r\n", "\n").replace("\r", "\n")


@dataclass(frozen=True, slots=True)
class _Unicode:
    """Bytes decoded as UTF-8, 16 or 32, with a replacement character for each broken one.

    `valid` counts the non-ASCII characters that are hardly ever valid by accident.
    """

    text: str
    valid: int
    broken: int
    problems: tuple[str, ...] = ()

    @property
    def is_certain(self) -> bool:
        return self.valid >= _MIN_VALID_TO_BROKEN * self.broken

    @property
    def is_likely(self) -> bool:
        """Whether it is not Western text in another encoding; it may be in another script."""
        western = len(_WESTERN_CHARACTER.findall(self.text)) if self.valid == self.broken else 0
        return self.valid > self.broken or (self.valid > 0 and western >= self.valid)


def _decode_unicode(data: bytes, encoding: str) -> _Unicode:
    is_utf8 = encoding == "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = _normalise_line_ends(data[: error.start].decode(encoding)).count("\n") + 1
    else:
        # If every non-ASCII character may be an accident, each counts as broken.
        beyond = _beyond_ascii(text) if is_utf8 else 0
        is_accident = 0 < beyond <= _MAX_ACCIDENTS and beyond == len(_ACCIDENT.findall(data))
        return _Unicode(text, 0, beyond if is_accident else 0)
    text = data.decode(encoding, "replace")
    replaced = text.count(_REPLACEMENT)
    broken = replaced - data.count(_REPLACEMENT.encode(encoding))
    counted = _beyond_ascii(text) - len(_ACCIDENT.findall(data)) if is_utf8 else len(text)
    problem = f"{broken:,} × no {encoding.upper()}, read as {_REPLACEMENT}, first in line {line:,}"
    return _Unicode(text, counted - replaced, broken, (problem,))


def _beyond_ascii(text: str) -> int:
    return 0 if text.isascii() else len(text) - len(text.encode("ascii", "ignore"))


def _decode_other(data: bytes, declared: str | None, is_likely_unicode: bool) -> str | None:
    """Decode in an encoding other than UTF-8; None if UTF-8 is likelier, or no encoding fits."""
    text = _try_decode(data, _codec(declared)) if declared else None
    if text is None:
        encoding = _guess(data)
        if encoding != _WESTERN:
            text = _try_decode(data, encoding)
    if text is None and not is_likely_unicode:
        text = _try_decode(data, _WESTERN)
    return text


def _try_decode(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def _codec(declared: str) -> str:
    """Return Python's name of a declared encoding; "ascii", which never fits, if it is impossible.

    Encodings that do not contain ASCII are impossible, because the declaration was read as ASCII.
    """
    try:
        name = codecs.lookup(declared).name
    except (LookupError, ValueError):
        return "ascii"
    if name in _NO_ENCODINGS or _try_decode(b"<a>", name) != "<a>":
        return "ascii"
    return _SUPERSETS.get(name, name)


def _guess(data: bytes) -> str:
    sample = _sample(data)
    for encoding in _JAPANESE:
        if _is_japanese(sample.decode(encoding, "replace")):
            return encoding
    beyond = len(_BEYOND_ASCII.findall(sample))
    if beyond < max(_MIN_BYTES, _MIN_SHARE * (beyond + len(_ASCII_LETTER.findall(sample)))):
        is_cyrillic = (name for name in _CYRILLIC if _is_cyrillic(sample.decode(name, "replace")))
        return next(is_cyrillic, _WESTERN)
    detector = require("charset_normalizer", "index")
    best = detector.from_bytes(sample, cp_isolation=_NOT_WESTERN).best()
    return best.encoding if best else _WESTERN


def _is_japanese(text: str) -> bool:
    min_kana = max(_MIN_KANA_SHARE * _beyond_ascii(text), _MIN_KANA)
    # A sample may end within a character.
    return text.count(_REPLACEMENT) < 2 and len(_KANA.findall(text)) > min_kana


def _is_cyrillic(text: str) -> bool:
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    has_long_word = any(len(word) >= _MIN_CYRILLIC_LETTERS for word in words)
    return has_long_word and all(map(_CYRILLIC_WORD.fullmatch, words))


def _sample(data: bytes) -> bytes:
    """Take about 32 kB from the first non-ASCII byte on, up to the end of a line if possible."""
    first = _BEYOND_ASCII.search(data)
    start = first.start() if first else 0
    end = start + _SAMPLE
    line_end = data.rfind(b"\n", start, end) if end < len(data) else -1
    return data[start : line_end if line_end > 0 else end]
