"""Text as both arms search it: characters that nobody sees removed, those of one meaning made one.

The only place that does so. Documents and their passages keep the characters that they have, so
that a citation's offsets are those of the text; what is searched is never cited. With a change
here `parsing.chunking.VERSION` is raised: what is indexed is read again.
"""

import re
import unicodedata

# Soft hyphen, joiners, marks of direction, BOM, word joiner, variation selectors: no reader sees
# them, and a tokenizer cuts words there.
_HIDDEN = (
    "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\ufe00-\ufe0f\ufeff"
)
_UNSEEN = re.compile(f"[{_HIDDEN}]+")
_SEEN = re.compile(rf"[^\s\x00-\x1f\x7f-\xa0{_HIDDEN}]")
# Thai, Lao, Burmese and Khmer are written without spaces: there it says where a word ends.
_WORD_END = re.compile("(?<=[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])\u200b")
_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
# Ligatures of typesetters, shapes of Arabic letters, full and half widths.
_SHAPES = re.compile("[\ufb00-\ufb4f\ufb50-\ufdff\ufe70-\ufefc\uff01-\uffdc]+")
# Controls that are letters of Windows-1252, read as Latin-1 by whoever wrote the text.
_CONTROLS = {
    code: bytes([code]).decode("cp1252", "replace").replace("\ufffd", " ")
    for code in range(0x80, 0xA0)
}


def searchable(text: str) -> str:
    """The text as it is searched, and as a query is: NFC, without what nobody sees."""
    if text.isascii():
        return text
    text = _UNSEEN.sub("", _WORD_END.sub(" ", text))
    text = _SPACE.sub(" ", text.translate(_CONTROLS))
    text = _SHAPES.sub(lambda match: unicodedata.normalize("NFKC", match.group()), text)
    return unicodedata.normalize("NFC", text)


def is_visible(text: str) -> bool:
    """Whether there is anything in it that a reader sees."""
    return _SEEN.search(text) is not None
