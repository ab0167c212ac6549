"""HTML and SVG from Python values. Text that is not `Markup` is escaped."""

import re
from collections.abc import Iterable
from html import escape

_INVALID = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters
    "\u202a-\u202e\u2066-\u2069"  # change the direction of the text around them
    "\ud800-\udfff\ufffe\uffff]"  # surrogates and noncharacters
)


class Markup(str):
    """HTML text. Adding or formatting it gives plain text, which is escaped again."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """One element. An attribute that is None is left out.

    ``class_`` is the attribute class, and ``aria_label`` is aria-label.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Markup:
    """Concatenate parts; plain text is escaped."""
    return Markup("".join(part if isinstance(part, Markup) else _escaped(part) for part in parts))


def shortened(text: str, characters: int) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text[: 4 * characters].split())
    return line if len(line) <= characters else line[: characters - 1].rstrip() + "…"


def _escaped(text: str) -> str:
    return escape(_INVALID.sub("\ufffd", text))


def _attribute(value: str | float) -> str:
    return _escaped(value) if isinstance(value, str) else f"{round(value, 1):g}"
