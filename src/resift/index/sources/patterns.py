"""Which keys of a source are wanted: patterns as in ``.gitignore``. Knows nothing of files."""

from dataclasses import dataclass, field
from typing import Any

from resift.errors import InputError, shown
from resift.extras import require


@dataclass(frozen=True, slots=True)
class Pattern:
    """Keys that one or several of git's patterns match; later ones win, ``!`` takes out again.

    ``*.md`` is any such file at any depth, ``/*.md`` and ``docs/*.md`` only those right there,
    ``docs/**/*.md`` all below, ``drafts/`` all in folders of that name. Raise `InputError` for a
    pattern that matches nothing at all.
    """

    lines: tuple[str, ...]
    _spec: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", checked_lines(self.lines))
        pathspec = require("pathspec", "index")
        for line in self.lines:
            if not _says_something(pathspec, line):
                raise InputError(f"{line!r}: expected a pattern as in .gitignore, like '*.md'")
        object.__setattr__(self, "_spec", pathspec.GitIgnoreSpec.from_lines(self.lines))

    def match(self, key: str) -> bool:
        """Whether a file of this key is meant; a key that ends with a slash is a folder's."""
        return bool(self._spec.match_file(key))


def checked_lines(lines: Any) -> tuple[str, ...]:
    """Patterns, as a tuple; raise `InputError` for what is no list of texts."""
    if not isinstance(lines, tuple | list) or not all(isinstance(line, str) for line in lines):
        raise InputError(f"{shown(lines)}: expected a list of patterns, like ['*.md']")
    return tuple(lines)


def _says_something(pathspec: Any, line: str) -> bool:
    try:
        patterns = pathspec.GitIgnoreSpec.from_lines([line]).patterns
    except ValueError:
        return False
    return bool(patterns) and patterns[0].include is not None


@dataclass(frozen=True, slots=True)
class Globs:
    """Which keys are documents of a source: those that `include` matches, and `exclude` does not.

    Both are patterns as in ``.gitignore``, for the key below the source. Without `include`
    everything is included.
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
        """Whether the file of this key is wanted."""
        if self.exclude and self._exclude.match(key):
            return False
        return not self.include or self._include.match(key)

    def may_match_below(self, folder: str) -> bool:
        """Whether a folder may hold wanted files: it is not excluded as a whole."""
        return not self.exclude or not self._exclude.match(f"{folder}/")


ALL = Globs()
