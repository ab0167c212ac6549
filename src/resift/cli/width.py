"""Width of the output: the terminal's, but never too narrow for a table."""

import os
import re

PASSAGE_TABLE, FIGURE_TABLE = 60, 80
"""Least columns of a table of passages, and of a table of numbers."""

MOST = 1_000
"""Most columns and lines of a terminal."""

_SIZES = ("COLUMNS", "LINES")
_HELP = "TERMINAL_WIDTH"  # typer's name for the width of the help
_NUMBER = re.compile("0*([1-9][0-9]{0,17})")


def prepare() -> None:
    """Correct the terminal size in the environment for rich and typer; call before importing them.

    An invalid size (0, a word) is removed: then the terminal's size counts, or 80.
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
    """Columns of the terminal; 80 where there is none."""
    for descriptor in (0, 1, 2):
        try:
            return os.get_terminal_size(descriptor).columns or FIGURE_TABLE
        except (OSError, ValueError):
            continue
    return FIGURE_TABLE
