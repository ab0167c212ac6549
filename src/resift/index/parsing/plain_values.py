"""JSON, and its values as text: a line for each, with its path, in the order of the file. Pure."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from resift.errors import SourceError
from resift.index.parsing.charset import replace_controls

_MAX_PATH = 120
"""Characters of a path; of a longer one only the end is shown."""
_MAX_DEPTH = 200
_MAX_LISTED = 1_000
"""Values of a list on one line."""
TOO_DEEP = "its lists and objects are nested too deep"


def load_json(
    text: str,
    parse_int: Callable[[str], Any] = str,
    parse_float: Callable[[str], Any] = str,
) -> Any:
    """Load JSON, with numbers as they are written unless functions convert them.

    Raise `ValueError` for what is not JSON, and `SourceError` for too deep nesting.
    """
    try:
        return json.loads(text, parse_int=parse_int, parse_float=parse_float)
    except RecursionError as error:
        raise SourceError(TOO_DEEP) from error


def value_lines(value: Any, path: str = "", depth: int = 0) -> Iterator[str]:
    """Yield ``path: value`` of each value; a list of numbers or texts is one line.

    Raise `SourceError` for values that are nested too deep.
    """
    if depth > _MAX_DEPTH:
        raise SourceError(f"its lists and objects are nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from value_lines(inner, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        for index, inner in enumerate(value):
            yield from value_lines(inner, f"{path}[{index}]", depth + 1)
    elif isinstance(value, list):
        for start in range(0, len(value), _MAX_LISTED):
            texts = filter(None, map(_text, value[start : start + _MAX_LISTED]))
            yield from _line(path, ", ".join(texts))
    else:
        yield from _line(path, _text(value))


def _line(path: str, text: str) -> Iterator[str]:
    if text:
        shown = path if len(path) <= _MAX_PATH else f"…{path[1 - _MAX_PATH :]}"
        yield storable(f"{shown}: {text}" if shown else text)


def _text(value: Any) -> str:
    """Return a scalar as text; empty for null and for an empty text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).strip()


def storable(text: str) -> str:
    """Replace control characters by spaces, and lone surrogates, which escapes can spell."""
    return replace_controls(text).encode("utf-8", "replace").decode()
