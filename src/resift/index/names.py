"""Names and numbers that come out of storage, checked where they are read.

Whoever can write to an index's place can put anything into it: a name that leads out of the index
must not become a file on this machine. Everything here raises `ValueError` that says what is wrong.
"""

import json
import math
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

_LONGEST_NAME, _LONGEST_PART, _LONGEST_LINE = 1_024, 255, 65_536
_MOST = 2**63 - 1
_MOST_FILES = 1_000_000
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def path_inside(value: Any) -> str:
    """A relative path of plain parts, which cannot lead out of the folder that it is put into."""
    name = line(value)
    parts = name.split("/")
    if len(name) > _LONGEST_NAME or "\\" in name:
        raise ValueError(f"{_shown(name)}: expected a short path without backslashes")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{_shown(name)}: expected a path inside of the index")
    if any(len(part.encode()) > _LONGEST_PART for part in parts):
        raise ValueError(f"{_shown(name)}: expected parts of at most {_LONGEST_PART} bytes")
    return name


def single_name(value: Any) -> str:
    """The name of one file or folder."""
    name = path_inside(value)
    if "/" in name or name.startswith("."):
        raise ValueError(f"{_shown(name)}: expected one name, without a slash or a dot before it")
    return name


def line(value: Any) -> str:
    """A text without control characters and halves of surrogate pairs."""
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)}: expected a text")
    if len(value) > _LONGEST_LINE or _CONTROLS.search(value):
        raise ValueError(f"{_shown(value)}: expected one line without control characters")
    return value


def count(value: Any, least: int = 0, most: int = _MOST) -> int:
    """A whole number in a range."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{_shown(value)}: expected a whole number from {least} to {most}")
    return value


def share(value: Any) -> float:
    """A number from 0 to 1."""
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= 1:
        raise ValueError(f"{_shown(value)}: expected a number from 0 to 1")
    return float(value)


def moment(value: Any) -> str:
    """A time in ISO format, with its zone."""
    if datetime.fromisoformat(line(value)).tzinfo is None:
        raise ValueError(f"{_shown(value)}: expected a time with its zone")
    return str(value)


def mapping(value: Any) -> dict[str, Any]:
    """A JSON object; whoever uses its values checks them."""
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)}: expected an object")
    return value


def files(value: Any) -> tuple[tuple[str, int], ...]:
    """Pairs of a path inside and a size in bytes, each path once."""
    if not isinstance(value, list) or len(value) > _MOST_FILES:
        raise ValueError("files: expected a list of paths with their sizes")
    pairs = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"{_shown(pair)}: expected a path and a size")
        pairs.append((path_inside(pair[0]), count(pair[1])))
    if len({path for path, _ in pairs}) < len(pairs):
        raise ValueError("files: one of them is named twice")
    return tuple(pairs)


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object; nothing else, and no numbers that JSON has not."""
    try:
        value = json.loads(body, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    return value


def read_fields(record: dict[str, Any], kinds: dict[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """The fields of `record` that `kinds` names, each by its own check; others are passed over."""
    values = {}
    for name, kind in kinds.items():
        if name not in record:
            raise ValueError(f"it has no {name}")
        try:
            values[name] = kind(record[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return values


def _no_number(name: str) -> float:
    raise ValueError(f"{name}: no number in JSON")


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
