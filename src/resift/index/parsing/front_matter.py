"""Front matter of Markdown and other markup: YAML between ``---`` or TOML between ``+++``.

Its title becomes the document's title, and its other keys become metadata, as JSON types. YAML is
read by the core schema of version 1.2: ``no`` and ``12:30`` are texts, and so are dates.
"""

import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from typing import Any

from resift.extras import require
from resift.index.parsing.plain_values import storable
from resift.index.parsing.row_reader import metadata_problem

_KEY = r"(?:[\w.-]+|\"[^\"\n]+\"|'[^'\n]+')"
# Comments, blank lines, and lines that continue a value: indented, a list, closing brackets.
_MORE = r"(?:[ \t]*(?:#.*)?|[ \t]+[^\s#].*|-[ \t].*|-|[\]})].*)\n"
# No line may match these in two ways, because backtracking on a long line is quadratic.
_YAML = re.compile(
    rf"---[ \t]*\n((?:(?:[ \t]*(?:#.*)?\n)*{_KEY}:(?:[ \t].*)?\n(?:{_KEY}:(?:[ \t].*)?\n|{_MORE})*?"
    r")?)(?:---|\.\.\.)[ \t]*(?:\n|\Z)"
)
_TOML = re.compile(
    rf"\+\+\+[ \t]*\n((?:{_KEY}[ \t]*=.*\n|\[.*\][ \t]*\n|{_MORE})*?)\+\+\+[ \t]*(?:\n|\Z)"
)
_MAX_SIZE = 1 << 16
"""Characters of front matter that is read; longer front matter is text."""
_MAX_BRACKETS = 1_000
"""Brackets of YAML that is read: libyaml recurses for each on the stack of the process."""
_MAX_VALUES = 10_000
"""Values of all keys; aliases of YAML can refer to so many that no memory holds them."""
_MAX_DEPTH = 32
# Lists within lists on one line, for which it recurses too; indented ones are limited by the size.
_DEEP_LINE = re.compile(r"^ *(?:[-?:][ \t]+){100}", re.MULTILINE)
_INTEGER = re.compile(r"[-+]?\d{1,18}\Z", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\d{0,40}\.\d+|\d{1,40}\.?)(?:[eE][-+]?\d{1,4})?\Z", re.ASCII)
_DIGITS = re.compile(r"[-+]?\d+\Z", re.ASCII)
_CONSTANTS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """What stands before a text: `end` is the position of the text, 0 without front matter.

    `problems` name the keys that cannot be metadata.
    """

    end: int = 0
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


NO_FRONT_MATTER = FrontMatter()


def read_front_matter(text: str) -> FrontMatter:
    """Read the front matter at the beginning of a text; broken front matter is text."""
    for pattern, read in ((_YAML, _read_yaml), (_TOML, _read_toml)):
        match = pattern.match(text)
        if match and len(match[1]) <= _MAX_SIZE:
            try:
                values = read(match[1])
            except (ValueError, RecursionError):
                return NO_FRONT_MATTER
            return _front_matter(match.end(), values)
    return NO_FRONT_MATTER


def _front_matter(end: int, values: Mapping[str, Any]) -> FrontMatter:
    title = values.get("title")
    is_title = isinstance(title, str | int | float) and not isinstance(title, bool)
    problems = {
        name: problem
        for name, value in values.items()
        if (problem := metadata_problem(name, value)) is not None
    }
    metadata = {
        name: value
        for name, value in values.items()
        if name not in problems and value is not None and not (is_title and name == "title")
    }
    return FrontMatter(
        end,
        " ".join(str(title).split()) if is_title else "",
        metadata,
        tuple(f"front matter: {problem}" for problem in problems.values()),
    )


def _read_toml(block: str) -> dict[str, Any]:
    return {storable(name): _toml_value(value) for name, value in tomllib.loads(block).items()}


def _toml_value(value: Any) -> Any:
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, dict):
        return {storable(name): _toml_value(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_toml_value(inner) for inner in value]
    return storable(value) if isinstance(value, str) else value


def _read_yaml(block: str) -> dict[str, Any]:
    """Read a mapping; raise `ValueError` for anything else, and for YAML that is not valid."""
    if block.count("[") + block.count("{") > _MAX_BRACKETS or _DEEP_LINE.search(block):
        raise ValueError("nested too deep")
    yaml = require("yaml", "index")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is many times as fast
    try:
        root = yaml.compose(block, loader)
    except yaml.YAMLError as error:
        raise ValueError("not YAML") from error
    if root is None:
        return {}
    values = _Converter().value(root, 0)
    if not isinstance(values, dict):
        raise ValueError("no mapping")
    return values


class _Converter:
    """Converts nodes of YAML to JSON types; constructs nothing else, whatever their tags are."""

    def __init__(self) -> None:
        self._left = _MAX_VALUES

    def value(self, node: Any, depth: int) -> Any:
        """Convert a node; raise `ValueError` for too many or too deep values, as in a cycle."""
        self._left -= 1
        if self._left < 0 or depth > _MAX_DEPTH:
            raise ValueError("too many values, or nested too deep")
        if node.id == "mapping":
            return dict(self._items(node, depth))
        if node.id == "sequence":
            return [self.value(inner, depth + 1) for inner in node.value]
        return _scalar(node)

    def _items(self, node: Any, depth: int) -> Iterator[tuple[str, Any]]:
        for key, value in node.value:
            if key.id != "scalar":
                raise ValueError("a key that is no text")
            yield storable(key.value), self.value(value, depth + 1)


def _scalar(node: Any) -> Any:
    text = storable(node.value)
    if node.style:  # quoted or folded
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.match(text):
        return int(text)
    if _DIGITS.match(text) or not _FLOAT.match(text):  # more digits than a number can hold
        return text
    number = float(text)
    return number if math.isfinite(number) else text
