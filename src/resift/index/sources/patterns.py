"""Patterns as in ``.gitignore`` that select keys of a source."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from resift.errors import InputError, shown
from resift.extras import require


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern of Git: matches the keys that one of `lines` matches, except by a later ``!`` line.

    ``*.md`` matches at any depth, ``/*.md`` and ``docs/*.md`` in one folder, ``docs/**/*.md`` in
    all folders below, ``drafts/`` everything in folders of that name. Raise `InputError` for a line
    that can match nothing.
    """

    lines: tuple[str, ...]
    _spec: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lines = self.lines
        if not isinstance(lines, tuple | list) or not all(isinstance(line, str) for line in lines):
            raise InputError(f"{shown(lines)}: expected a list of patterns, like ['*.md']")
        object.__setattr__(self, "lines", tuple(lines))
        object.__setattr__(self, "_spec", _compile(lines) if lines else None)

    def match(self, key: str) -> bool:
        """Whether a key matches; the key of a folder ends with a slash."""
        return self._spec is not None and bool(self._spec.match_file(key))


def _compile(lines: Sequence[str]) -> Any:
    """The lines as pathspec's object; commands without patterns do not need that package."""
    pathspec = require("pathspec", "index")
    for line in lines:
        if not _can_match(pathspec, line):
            raise InputError(f"{line!r}: expected a pattern as in .gitignore, like '*.md'")
    return pathspec.GitIgnoreSpec.from_lines(lines)


def _can_match(pathspec: Any, line: str) -> bool:
    try:
        patterns = pathspec.GitIgnoreSpec.from_lines([line]).patterns
    except ValueError:
        return False
    return bool(patterns) and patterns[0].include is not None


@dataclass(frozen=True, slots=True)
class Globs:
    """Selects the keys that `include` matches and `exclude` does not; without `include`, all keys.

    Both are patterns as in ``.gitignore``, for keys relative to the source.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    _include: Pattern = field(init=False, repr=False, compare=False)
    _exclude: Pattern = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("include", "exclude"):
            pattern = Pattern(getattr(self, name))
            object.__setattr__(self, name, pattern.lines)
            object.__setattr__(self, f"_{name}", pattern)

    def match(self, key: str) -> bool:
        """Whether the file with this key is selected."""
        if self.exclude and self._exclude.match(key):
            return False
        return not self.include or self._include.match(key)

    def names(self, name: str) -> bool:
        """Whether a pattern of `include` names a file or folder that is left out by default."""
        return any(name in line for line in self.include)

    def may_match_below(self, folder: str) -> bool:
        """Whether a folder may have selected files: it is not excluded as a whole."""
        return not self.exclude or not self._exclude.match(f"{folder}/")


ALL = Globs()
