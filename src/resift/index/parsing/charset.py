"""Bytes to text: by BOM, UTF-8, what the file declares, and only then by guessing.

Knows nothing of formats: who declares an encoding, and where, is the format's business.
"""

import codecs
import re
from dataclasses import dataclass

from resift.errors import SourceError
from resift.extras import require

# Tab, line feed, form feed, escape and carriage return are text; other control bytes are not.
# ISO-2022-JP needs escape.
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_CONTROL_CHARACTER = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
# In text a control byte is an accident; binary files have one byte in ten of them.
_BINARY_SHARE = 0.04
# What DOS ends a text with, and what a disk fills a block up with.
_PADDING = b"\x1a\x00"
_BOMS = (
    (codecs.BOM_UTF8, None),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# So many whole characters of UTF-8 for one byte that is none are no chance, whatever the script.
_WHOLE_TO_BROKEN = 2
# What Windows-1252 has by chance: a last letter and the quote, dash or spaced guillemet after it.
_CHANCE = re.compile(rb"(?<=[A-Za-z])(?:\xdf[\x85\x91-\x97\xbb]|[\xe0-\xef]\xa0[\xab\xbb])")
# So few characters beyond ASCII may all be such; more are not looked at.
_MOST_CHANCES = 64
# What Western texts have beyond ASCII.
_WESTERN_SIGN = re.compile("[\u00a0-\u017f\u2010-\u2044\u20ac\u2122]")
_REPLACED = "\ufffd"
_WESTERN = "cp1252"
# What is guessed between: encodings of scripts that hardly use ASCII letters.
_OTHERS = ("cp1251", "koi8_r", "cp932", "euc_jp", "cp949", "gb18030", "big5", "cp1253", "cp1255",
           "cp1256")  # fmt: skip
# Where these read a text as kana, it is Japanese: no other language has any.
_JAPANESE = ("euc_jp", "cp932")
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa]")
_KANA_SHARE = 0.2
_LEAST_KANA = 2
# Where these read each word that is not ASCII as a Cyrillic one, with capitals only where words
# begin or all over, it is Cyrillic: Western words have letters of ASCII in them.
_CYRILLIC = ("cp1251", "koi8_r")
_WORD = re.compile(r"[^\W\d_]+")
_CYRILLIC_WORD = re.compile("[А-ЯЁІЇЄҐ]?[а-яёіїєґ]+|[А-ЯЁІЇЄҐ]+")
_LONG_WORD = 4
# What a page that declares the one on the left is nearly always written in.
_SUPERSETS = {
    "ascii": _WESTERN, "iso8859-1": _WESTERN, "shift_jis": "cp932", "euc_kr": "cp949",
    "gb2312": "gb18030", "gbk": "gb18030",
}  # fmt: skip
# Python's codecs that are no encodings of files, and what browsers refuse as well.
_NO_ENCODINGS = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "utf-7"})
_ASCII_LETTER = re.compile(rb"[A-Za-z]")
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
# Western text has few letters beyond ASCII (French some 6%), Russian or Chinese nearly all.
_SHARE = 0.6
# Fewer than this say too little to tell Greek from Korean: a name, a price.
_ENOUGH = 16
_SAMPLE = 1 << 15
# Of UTF-16 without a BOM, half of the bytes of a text in Latin letters are NUL.
_WIDE_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Decoded:
    """A file's text with line feeds, and what of its bytes was lost: one line, or nothing."""

    text: str
    problem: str = ""

    @property
    def problems(self) -> tuple[str, ...]:
        """The same as a file's problems."""
        return (self.problem,) if self.problem else ()


def decode(data: bytes, declared: str | None = None) -> Decoded:
    """Bytes as text: by BOM, else UTF-8, else `declared`, else by its letters.

    Other scripts than Latin are guessed; whatever leaves doubt is Windows-1252, for a wrong accent
    costs less than a page of Chinese made of French. A control byte here and there becomes a
    space. A broken byte of what is UTF-8 otherwise becomes the replacement character, and is told.
    Raise `SourceError` for what is binary: many control bytes, or bytes that no reading allows.
    """
    encoding, body = _marked(data)
    if encoding is None:
        controls = len(_CONTROL.findall(body[:_SAMPLE]))
        if (data and not body) or controls > _BINARY_SHARE * min(len(body), _SAMPLE):
            raise SourceError("not text: it has control bytes, as binary files have")
    decoded = _decoded(body, encoding, declared)
    return Decoded(without_controls(decoded.text), decoded.problem)


def decode_rows(data: bytes) -> Decoded:
    """A file of rows, decoded as by `decode`; control characters stay in its lines.

    So a line with a NUL in it can be named: it costs itself and not its file.
    """
    encoding, data = _marked(data)
    return _decoded(data, encoding, None)


def has_controls(text: str) -> bool:
    """Whether it has characters that no text has: NUL, backspace, substitute and their like."""
    return _CONTROL_CHARACTER.search(text) is not None


def without_controls(text: str) -> str:
    """The text with spaces for such characters: every other one stays at its place."""
    return _CONTROL_CHARACTER.sub(" ", text)


def _lines(text: str) -> str:
    """Line feeds for line ends; where files were put one behind the other, without their BOMs."""
    text = text.replace("\n\ufeff", "\n") if "\ufeff" in text else text
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _marked(data: bytes) -> tuple[str | None, bytes]:
    """The encoding that a BOM or wide characters show, and the bytes without padding."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            data = data[len(bom) :]
            return encoding, data if encoding else data.rstrip(_PADDING)
    wide = _wide(data[:_SAMPLE])
    return wide, data if wide else data.rstrip(_PADDING)


def _wide(sample: bytes) -> str | None:
    """UTF-16 without a BOM, by its zeros: nearly every second byte, and none between."""
    pairs = len(sample) // 2
    low, high = sample[: 2 * pairs : 2], sample[1 : 2 * pairs : 2]
    if pairs and high.count(0) > 2 * _WIDE_SHARE * pairs and not low.count(0):
        return "utf-16-le"
    if pairs and low.count(0) > 2 * _WIDE_SHARE * pairs and not high.count(0):
        return "utf-16-be"
    return None


def _decoded(data: bytes, encoding: str | None, declared: str | None) -> Decoded:
    unicode = _unicode(data, encoding or "utf-8")
    if unicode.is_certain:
        return Decoded(_lines(unicode.text), unicode.problem)
    if encoding:
        raise SourceError(f"not text: broken {encoding.upper()}")
    other = _other(data, declared, unicode.is_likely)
    if other is not None:
        return Decoded(_lines(other))
    if unicode.is_likely or unicode.broken <= _BINARY_SHARE * len(unicode.text):
        return Decoded(_lines(unicode.text), unicode.problem)
    raise SourceError("not text: neither UTF-8, UTF-16 nor any other known encoding")


@dataclass(frozen=True, slots=True)
class _Unicode:
    """Bytes read as an encoding of Unicode's, with a replacement character for what is none.

    `whole` counts the characters that other encodings hardly ever write by chance.
    """

    text: str
    whole: int
    broken: int
    problem: str = ""

    @property
    def is_certain(self) -> bool:
        return self.whole >= _WHOLE_TO_BROKEN * self.broken

    @property
    def is_likely(self) -> bool:
        """Whether no Western text has it by chance; texts of other scripts may."""
        signs = len(_WESTERN_SIGN.findall(self.text)) if self.whole == self.broken else 0
        return self.whole > self.broken or (self.whole > 0 and signs >= self.whole)


def _unicode(data: bytes, encoding: str) -> _Unicode:
    is_utf8 = encoding == "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = _lines(data[: error.start].decode(encoding)).count("\n") + 1
    else:  # one whose only signs are there by chance is none
        return _Unicode(text, 0, _chances(data, text) if is_utf8 else 0)
    text = data.decode(encoding, "replace")
    replaced = text.count(_REPLACED)
    broken = replaced - data.count(_REPLACED.encode(encoding))
    signs = _beyond_ascii(text) - len(_CHANCE.findall(data)) if is_utf8 else len(text)
    problem = f"{broken:,} × no {encoding.upper()}, read as {_REPLACED}, first in line {line:,}"
    return _Unicode(text, signs - replaced, broken, problem)


def _chances(data: bytes, text: str) -> int:
    """How many signs beyond ASCII a text has, if each of them may be there by chance."""
    if not 0 < len(data) - len(text) <= 2 * _MOST_CHANCES:
        return 0
    signs = _beyond_ascii(text)
    return signs if signs == len(_CHANCE.findall(data)) else 0


def _beyond_ascii(text: str) -> int:
    return len(text) - len(text.encode("ascii", "ignore"))


def _other(data: bytes, declared: str | None, is_likely_unicode: bool) -> str | None:
    """The text in another encoding than UTF-8; None where that is likelier, or nothing fits."""
    named = _read(data, _known(declared)) if declared else None
    if named is not None:
        return named
    guessed = _guess(data)
    text = _read(data, guessed) if guessed != _WESTERN else None
    return text if text is not None or is_likely_unicode else _read(data, _WESTERN)


def _read(data: bytes, encoding: str) -> str | None:
    """The text, or None if the bytes are not of that encoding, or it is none of text."""
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def _known(declared: str) -> str:
    """Python's name for a declared encoding, or one that fits no bytes beyond ASCII.

    The declaration was read as ASCII: what does not contain ASCII cannot be true.
    """
    try:
        name = codecs.lookup(declared).name
    except (LookupError, ValueError):
        return "ascii"
    if name in _NO_ENCODINGS or _read(b"<a>", name) != "<a>":
        return "ascii"
    return _SUPERSETS.get(name, name)


def _guess(data: bytes) -> str:
    sample = _sample(data)
    japanese = next((name for name in _JAPANESE if _is_japanese(sample, name)), None)
    if japanese:
        return japanese
    beyond = len(_BEYOND_ASCII.findall(sample))
    letters = beyond + len(_ASCII_LETTER.findall(sample))
    if beyond < _ENOUGH or beyond < _SHARE * letters:
        return next((name for name in _CYRILLIC if _is_cyrillic(sample, name)), _WESTERN)
    detector = require("charset_normalizer", "index")
    best = detector.from_bytes(sample, cp_isolation=list(_OTHERS)).best()
    return best.encoding if best else _WESTERN


def _is_japanese(sample: bytes, encoding: str) -> bool:
    text = sample.decode(encoding, "replace")
    enough = max(_KANA_SHARE * _beyond_ascii(text), _LEAST_KANA)
    # A sample may end within a sign.
    return text.count(_REPLACED) < 2 and len(_KANA.findall(text)) > enough


def _is_cyrillic(sample: bytes, encoding: str) -> bool:
    words = [
        word for word in _WORD.findall(sample.decode(encoding, "replace")) if not word.isascii()
    ]
    is_long = any(len(word) >= _LONG_WORD for word in words)
    return is_long and all(map(_CYRILLIC_WORD.fullmatch, words))


def _sample(data: bytes) -> bytes:
    """About 32 kB from the first byte that is not ASCII on, which is in it; cut at line ends."""
    first = _BEYOND_ASCII.search(data)
    if not first:
        return data[:_SAMPLE]
    start = data.rfind(b"\n", 0, first.start()) + 1
    if first.start() - start >= _SAMPLE // 2:  # a long line of ASCII before it
        start = first.start()
    if len(data) - start <= _SAMPLE:
        return data[start:]
    end = data.rfind(b"\n", start, start + _SAMPLE)
    return data[start : end if end > first.start() else start + _SAMPLE]
