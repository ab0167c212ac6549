"""The options of reading a source: its files, the columns of its tables, and limits.

An index stores the options of each source, so a later sync without options uses them again.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from resift.errors import InputError, shown
from resift.index.parsing.options import Columns, ParseLimits
from resift.index.sources.patterns import ALL, Globs, Pattern


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """The options of reading a source: its files, the columns of its tables, and limits.

    `columns_by_pattern` has ``(pattern, columns)`` for the files that a pattern matches, as in
    ``.gitignore``. The last pattern that matches wins; `columns` applies if none does. With
    `follow_links` links in a folder are followed, also to targets outside of it.
    """

    globs: Globs = ALL
    columns: Columns = field(default_factory=Columns)
    limits: ParseLimits = field(default_factory=ParseLimits)
    columns_by_pattern: tuple[tuple[str, Columns], ...] = ()
    follow_links: bool = False
    _patterns: tuple[Pattern, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, kind in (("globs", Globs), ("columns", Columns), ("limits", ParseLimits)):
            if not isinstance(getattr(self, name), kind):
                raise InputError(
                    f"{name}={shown(getattr(self, name))}: expected {kind.__name__}(…)"
                )
        if not isinstance(self.follow_links, bool):
            raise InputError(f"follow_links={shown(self.follow_links)}: expected True or False")
        object.__setattr__(self, "columns_by_pattern", _check_rules(self.columns_by_pattern))
        patterns = tuple(Pattern((pattern,)) for pattern, _ in self.columns_by_pattern)
        object.__setattr__(self, "_patterns", patterns)

    def columns_for(self, key: str) -> Columns:
        """Return the columns of a file."""
        ordered = zip(reversed(self._patterns), reversed(self.columns_by_pattern), strict=True)
        return next((rule[1] for pattern, rule in ordered if pattern.match(key)), self.columns)

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON types, for `from_json`."""
        return {
            "include": list(self.globs.include),
            "exclude": list(self.globs.exclude),
            "columns": asdict(self.columns),
            "limits": asdict(self.limits),
            "columns_by_pattern": [
                [name, asdict(columns)] for name, columns in self.columns_by_pattern
            ],
            "follow_links": self.follow_links,
        }

    @classmethod
    def from_json(cls, value: Any) -> "SourceOptions":
        """Read the result of `to_json`; raise `ValueError` for anything else."""
        try:
            globs = Globs(_texts(value["include"]), _texts(value["exclude"]))
            by_pattern = [(_is(p, str), _columns(c)) for p, c in value["columns_by_pattern"]]
            limits = {name: _is(number, int, float) for name, number in value["limits"].items()}
            return cls(
                globs,
                _columns(value["columns"]),
                ParseLimits(**limits),
                tuple(by_pattern),
                _is(value["follow_links"], bool),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not the options of a sync ({error})") from error


def _check_rules(rules: Any) -> tuple[tuple[str, Columns], ...]:
    """Return pairs of a pattern and columns; raise `InputError` for anything else."""
    expected = 'expected pairs like [("*.csv", Columns(text="body"))]'
    if not isinstance(rules, tuple | list):
        raise InputError(f"columns_by_pattern={shown(rules)}: {expected}")
    for rule in rules:
        is_pair = isinstance(rule, tuple | list) and len(rule) == 2
        if not (is_pair and isinstance(rule[0], str) and isinstance(rule[1], Columns)):
            raise InputError(f"columns_by_pattern: {shown(rule)}: {expected}")
    return tuple((pattern, columns) for pattern, columns in rules)


DEFAULT_OPTIONS = SourceOptions()


def stored_options(source_options: Mapping[str, Any], source_uri: str) -> SourceOptions:
    """Read the stored options of a source, or the columns and limits of a source that contains it.

    Raise `ValueError` if they are malformed.
    """
    if source_uri in source_options:
        return SourceOptions.from_json(source_options[source_uri])
    containing = [uri for uri in source_options if source_uri.startswith(uri.rstrip("/") + "/")]
    if not containing:
        return DEFAULT_OPTIONS
    # The patterns of the containing source apply to keys below it, not below this source.
    nearest = SourceOptions.from_json(source_options[max(containing, key=len)])
    return replace(nearest, globs=ALL, columns_by_pattern=())


def _columns(value: Any) -> Columns:
    return Columns(**{name: _is(column, str, type(None)) for name, column in value.items()})


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_is(text, str) for text in _is(value, list))


def _is(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise TypeError(f"expected {kinds[0].__name__}, got {type(value).__name__}")
    return value
