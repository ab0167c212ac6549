"""A way around one fault: kreuzberg 4 drops ``&amp; &lt; &gt;`` and the like from Word files.

So that "R&D" stays what it is, they are hidden behind characters of private use before it reads a
file, and put back into what it gives. To be removed once it decodes them itself.
"""

import io
import re
import zipfile

_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_MARKS = {char: chr(0xF8D0 + place) for place, char in enumerate(_NAMED.values())}
_BACK = {ord(mark): char for char, mark in _MARKS.items()}
_ENTITY = re.compile(rb"&(?:(amp|lt|gt|quot|apos)|#(\d{1,7})|#x([0-9a-fA-F]{1,6}));")


def hide_entities(data: bytes) -> bytes:
    """The same Word file with marks for entities; raise what `zipfile` raises if it is damaged."""
    hidden = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(hidden, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith(".xml"):
                content = _ENTITY.sub(_mark, content)
            new.writestr(entry.filename, content)
    return hidden.getvalue()


def show_entities(text: str) -> str:
    """The text with what the marks stand for."""
    return text.translate(_BACK)


def _mark(match: re.Match[bytes]) -> bytes:
    named, decimal, hexadecimal = match.groups()
    if named:
        char = _NAMED[named.decode()]
    else:
        code = int(decimal) if decimal else int(hexadecimal, 16)
        if code < 0x20 or 0xD800 <= code < 0xE000 or code > 0x10FFFF:
            return match.group()
        char = chr(code)
    return _MARKS.get(char, char).encode()
