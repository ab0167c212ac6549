"""Signs and texts in the encoding of the terminal, so that their widths are what is counted."""

from resift.cli.output import console

_ASCII = str.maketrans(
    {"✓": "*", "…": "...", "—": "-", "–": "-", "·": "|", "→": ">", "“": '"', "”": '"'}
)
"""Signs that resift prints itself, and what stands for them in a terminal without Unicode."""


def encodable(text: str) -> str:
    """The text as the terminal's encoding has it: in UTF-8 the same.

    In another encoding, signs that it lacks become ASCII, and other characters escape sequences of
    Python.
    """
    encoding = console.encoding
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    return text
