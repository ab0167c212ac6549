"""Finds the encoding that a text declares about itself, as editors and compilers read it. Pure."""

import re

# Where editors and compilers look for it: in a comment in the first two lines.
_MAX_LINES = 2
_MAX_LINE = 500
_COMMENT = re.compile(
    r"\s*(?:#|//|/\*|\*|;|--|%|\"(?!\")|'(?!')|!|\.\.|\{-|\{#|\(\*|<!--|<\?php|@?rem\b|@c\b|dnl\b)",
    re.IGNORECASE,
)
# PEP 263 and Ruby's "encoding:", vim's "fileencoding=" and "fenc=", TeXShop's "encoding = ".
_COMMENT_ENCODING = re.compile(
    r"(?:coding|\bfenc)[ \t]*[:=][ \t]*[\"']?([A-Za-z0-9][\w.:-]*)", re.IGNORECASE
)
# In text that has no comments only what an editor writes for itself is a declaration.
_EDITOR = re.compile(r"-\*-.*-\*-|\b(?:vim?|ex):")
_STYLESHEET = re.compile(r"@charset \"([^\"\n]{1,40})\";")
_LATEX = re.compile(
    r"^[^%\n]{0,200}\\usepackage[ \t]*\[([\w.-]{1,40})\][ \t]*\{inputenc\}", re.MULTILINE
)
_LATEX_NAMES = {"ansinew": "cp1252", "applemac": "mac_roman", "latin9": "iso8859-15",
                "latin10": "iso8859-16"}  # fmt: skip
_MAX_PREAMBLE = 20_000
# Emacs names the line ends, too: koi8-r-unix.
_LINE_ENDS = re.compile(r"-(?:unix|dos|mac)$", re.IGNORECASE)


def declared_encoding(data: bytes, *, has_comments: bool = True) -> str | None:
    """Return the encoding that a comment in the first two lines names; None if none does.

    Without `has_comments`, as in plain text, only lines for an editor (Emacs, vim) count. The name
    may be no encoding that Python knows.
    """
    for line in data[: _MAX_LINES * _MAX_LINE].decode("latin-1").splitlines()[:_MAX_LINES]:
        line = line[:_MAX_LINE]
        if not (_EDITOR.search(line) or (has_comments and _COMMENT.match(line))):
            continue
        match = _COMMENT_ENCODING.search(line)
        if match:
            return _LINE_ENDS.sub("", match[1])
    return None


def stylesheet_encoding(data: bytes) -> str | None:
    """Return the encoding of a style sheet's ``@charset``, which is its first bytes."""
    match = _STYLESHEET.match(data[:100].decode("latin-1"))
    return match[1] if match else None


def latex_encoding(data: bytes) -> str | None:
    r"""Return the encoding of ``\usepackage[…]{inputenc}`` in a LaTeX preamble."""
    match = _LATEX.search(data[:_MAX_PREAMBLE].decode("latin-1").replace("\r", "\n"))
    return _LATEX_NAMES.get(match[1], match[1]) if match else None
