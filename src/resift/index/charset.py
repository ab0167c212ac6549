"""Bytes to text: by BOM, UTF-8, what the file declares, and only then by guessing.

Knows nothing of formats: who declares an encoding, and where, is the format's business.
"""

import codecs
import re

from resift.errors import SourceError
from resift.extras import require

# Tab, line feed, form feed, escape and carriage return are text; other control bytes are not.
# ISO-2022-JP needs escape.
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WESTERN = "cp1252"
# What is guessed between: encodings of scripts that hardly use ASCII letters.
_OTHERS = ("cp1251", "koi8_r", "cp932", "euc_jp", "cp949", "gb18030", "big5", "cp1253", "cp1255",
           "cp1256")  # fmt: skip
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


def decode(data: bytes, declared: str | None = None) -> str:
    """Bytes as text with line feeds: by BOM, else UTF-8, else `declared`, else by its letters.

    Other scripts than Latin are guessed; whatever leaves doubt is Windows-1252, for a wrong accent
    costs less than a page of Chinese made of French. Raise `SourceError` for what is binary:
    control bytes, or bytes that no reading allows.
    """
    text = _decode(data, declared)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decode(data: bytes, declared: str | None) -> str:
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError as error:
                raise SourceError(f"not text: broken {encoding.upper()}") from error
    if _CONTROL.search(data):
        raise SourceError("not text: it has control bytes, as binary files have")
    text = _read(data, "utf-8")
    if text is None and declared:
        text = _read(data, _known(declared))
    if text is None:
        text = _read(data, _guess(data))
    if text is None:
        text = _read(data, _WESTERN)
    if text is None:
        raise SourceError("not text: neither UTF-8, UTF-16 nor any other known encoding")
    return text


def _read(data: bytes, encoding: str) -> str | None:
    """The text, or None if the bytes are not of that encoding, or it is none of text."""
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def _known(declared: str) -> str:
    """Python's name for a declared encoding, or one that fits no bytes beyond ASCII."""
    try:
        name = codecs.lookup(declared).name
    except LookupError:
        return "ascii"
    return "ascii" if name in _NO_ENCODINGS else _SUPERSETS.get(name, name)


def _guess(data: bytes) -> str:
    sample = _sample(data)
    beyond = len(_BEYOND_ASCII.findall(sample))
    share = beyond / (beyond + len(_ASCII_LETTER.findall(sample)))
    if beyond < _ENOUGH or share < _SHARE:
        return _WESTERN
    detector = require("charset_normalizer", "index")
    best = detector.from_bytes(sample, cp_isolation=list(_OTHERS)).best()
    return best.encoding if best else _WESTERN


def _sample(data: bytes) -> bytes:
    """About 32 kB, cut at a line's end, from the first byte that is not ASCII."""
    first = _BEYOND_ASCII.search(data)
    start = data.rfind(b"\n", 0, first.start()) + 1 if first else 0
    if len(data) - start <= _SAMPLE:
        return data[start:]
    end = data.rfind(b"\n", start, start + _SAMPLE)
    return data[start : end if end > start else start + _SAMPLE]
