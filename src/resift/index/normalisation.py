"""Normalises text for both retrievers: no invisible characters, one form of equivalent ones.

Stored passages keep their characters, so the offsets of a citation refer to the original text.
After a change here, raise `parsing.chunking.VERSION`, so that indexed documents are read again, and
`analysis.spec.RULES`, because queries would have other terms than the indexed documents.
"""

import re
import unicodedata

# Soft hyphen, joiners, direction marks, BOM, word joiner, variation selectors: readers do not see
# them, but a tokenizer splits words at them.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\ufe00-\ufe0f\ufeff"
)
_INVISIBLES = re.compile(f"[{_INVISIBLE}]+")
_VISIBLE = re.compile(rf"[^\s\x00-\x1f\x7f-\xa0{_INVISIBLE}]")
# Thai, Lao, Burmese and Khmer have no spaces between words: U+200B marks the end of a word there.
_WORD_END = re.compile("(?<=[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])\u200b")
_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
# Ligatures, presentation forms of Arabic letters, halfwidth and fullwidth forms.
_COMPATIBILITY = re.compile("[\ufb00-\ufb4f\ufb50-\ufdff\ufe70-\ufefc\uff01-\uffdc]+")
# Controls that are letters of Windows-1252, in text that was decoded as Latin-1 by mistake.
_CONTROLS = {
    code: bytes([code]).decode("cp1252", "replace").replace("\ufffd", " ")
    for code in range(0x80, 0xA0)
}


def searchable(text: str) -> str:
    """Normalise the text of a document or a query for search: NFC, no invisible characters."""
    if text.isascii():
        return text
    text = _INVISIBLES.sub("", _WORD_END.sub(" ", text))
    text = _SPACE.sub(" ", text.translate(_CONTROLS))
    text = _COMPATIBILITY.sub(lambda match: unicodedata.normalize("NFKC", match.group()), text)
    return unicodedata.normalize("NFC", text)


def is_visible(text: str) -> bool:
    """Whether a text has any visible character."""
    return _VISIBLE.search(text) is not None
