"""How wide the output is: as wide as the terminal, but wide enough for a table.

In a narrower terminal a row of a table goes on in the terminal's next line: figures stay whole, and
a passage stays more than a column of single letters.
"""

import os
import re

PASSAGE_TABLE, FIGURE_TABLE = 60, 80
"""The least columns of a table that breaks its lines, and of one whose figures cannot be broken."""

MOST = 1_000
"""Columns and lines of any terminal; rows that are filled up to more cost memory only."""

_SIZES = ("COLUMNS", "LINES")
_HELP = "TERMINAL_WIDTH"  # typer's name for the width of the help
_NUMBER = re.compile("0*([1-9][0-9]{0,17})")


def prepare() -> None:
    """Make the size that the environment names one that rich and typer can print to.

    No size (0, a word) is none: the terminal's own counts, or 80. Call it before either is loaded.
    """
    for variable in (*_SIZES, _HELP):
        number = _NUMBER.fullmatch(os.environ.get(variable, ""))
        if number is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = str(min(int(number[1]), MOST))
    wide = int(os.environ.get(_HELP) or os.environ.get(_SIZES[0]) or _columns())
    if wide < PASSAGE_TABLE:
        os.environ[_HELP] = str(PASSAGE_TABLE)


def _columns() -> int:
    """Of the terminal, as rich asks for them; 80 where there is none."""
    for descriptor in (0, 1, 2):
        try:
            return os.get_terminal_size(descriptor).columns or FIGURE_TABLE
        except (OSError, ValueError):
            continue
    return FIGURE_TABLE
