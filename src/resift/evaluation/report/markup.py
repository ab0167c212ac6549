"""HTML and SVG from Python values. What is no `Markup` is escaped, always. Pure."""

import re
from collections.abc import Iterable
from html import escape

_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters
    "\u202a-\u202e\u2066-\u2069"  # would turn the text around them about
    "\ud800-\udfff\ufffe\uffff]"  # halves of characters and none: no file holds them
)


class Markup(str):
    """A text that is HTML already. Adding or formatting gives a plain one, to be escaped again."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """One element; None leaves an attribute out.

    ``class_`` is the attribute class, and ``aria_label`` is aria-label.
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{told}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Markup:
    """One after the other, escaped where they are not markup."""
    return Markup("".join(own if isinstance(own, Markup) else _text(own) for own in parts))


def shortened(text: str, characters: int) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text[: 4 * characters].split())
    return line if len(line) <= characters else line[: characters - 1].rstrip() + "…"


def _text(text: str) -> str:
    return escape(_UNSEEN.sub("\ufffd", text))


def _value(value: str | float) -> str:
    return _text(value) if isinstance(value, str) else f"{round(value, 1):g}"
