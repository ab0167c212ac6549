"""Checks of tables that users may change: unit costs and prices. Names the key and the nearest."""

import math
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from resift.errors import InputError, shown
from resift.files import read_regular, reason

_MAX_BYTES = 1 << 20


def read_text(file: Path) -> str:
    """The text of a file. Raises `InputError` with the reason."""
    try:
        return read_regular(file, _MAX_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({reason(error)})") from error
    except ValueError as error:  # not UTF-8, or a NUL in the name
        raise InputError(f"{str(file)!r}: not a text file in UTF-8 ({error})") from error


def table(where: str, value: object) -> Mapping[str, Any]:
    """A table. Raises `InputError` for anything else."""
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: expected a table, got {shown(value)}")
    return value


def check_keys(where: str, keys: Collection[str], known: Collection[str]) -> None:
    """Raise `InputError` for a key that is unknown, with the nearest known key, or missing."""
    for key in sorted(set(keys) - set(known)):
        near = get_close_matches(key, known, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
        raise InputError(f"{where}: unknown key {shown(key)}; {hint}")
    missing = sorted(set(known) - set(keys))
    if missing:
        raise InputError(f"{where}: {', '.join(missing)} missing; add the line, or copy the file")


def amount(where: str, value: object, least: float = 0.0) -> float:
    """A finite number from `least`. Raises `InputError`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if abs(value) < 1e18 else math.inf
        if math.isfinite(number) and number >= least:
            return number
    raise InputError(f"{where} = {shown(value)}: expected a number from {least:g}")
