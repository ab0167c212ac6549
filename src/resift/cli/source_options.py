"""Options of the command line → changes to the remembered `SourceOptions`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from resift.errors import InputError
from resift.index.parsing.options import MAX_LIMIT, MIN_SECONDS, Columns
from resift.index.source_options import DEFAULT_OPTIONS, SourceOptions
from resift.index.sources.patterns import Globs

_MIN_MB, _MAX_MB = 1e-6, MAX_LIMIT // 10**6


@dataclass(frozen=True, slots=True)
class OptionChanges:
    """Source options of the command line; None leaves the remembered option unchanged.

    A column is ``COLUMN``, or ``PATTERN=COLUMN`` for the files that match a pattern.
    """

    include: Sequence[str] | None = None
    exclude: Sequence[str] | None = None
    text_column: Sequence[str] | None = None
    title_column: Sequence[str] | None = None
    id_column: Sequence[str] | None = None
    max_mb: float | None = None
    max_seconds: float | None = None
    follow_links: bool | None = None

    def apply(self, before: SourceOptions) -> SourceOptions:
        """Return `before` with these changes; raises `InputError` for an invalid value."""
        globs = Globs(
            before.globs.include if self.include is None else tuple(self.include),
            before.globs.exclude if self.exclude is None else tuple(self.exclude),
        )
        limits = before.limits
        if self.max_mb is not None:
            limits = replace(limits, max_bytes=_bytes(self.max_mb))
        if self.max_seconds is not None:
            limits = replace(limits, max_seconds=_seconds(self.max_seconds))
        follow = before.follow_links if self.follow_links is None else self.follow_links
        columns, by_pattern = self._columns(before)
        return SourceOptions(globs, columns, limits, tuple(by_pattern.items()), follow)

    def _columns(self, before: SourceOptions) -> tuple[Columns, dict[str, Columns]]:
        columns, by_pattern = before.columns, dict(before.columns_by_pattern)
        for pattern, field, name in sorted(self._column_rules(), key=lambda rule: bool(rule[0])):
            if pattern:
                earlier = by_pattern.pop(pattern, columns)  # the last option wins
                by_pattern[pattern] = replace(earlier, **{field: name})
            else:
                columns = replace(columns, **{field: name})
        return columns, by_pattern

    def _column_rules(self) -> Iterator[tuple[str, str, str]]:
        """Yield (pattern or "", field, column name) of each column option."""
        options = {"text": self.text_column, "title": self.title_column, "id": self.id_column}
        for field, values in options.items():
            for value in values or ():
                pattern, _, name = value.rpartition("=")
                if not name or value.startswith("="):
                    raise InputError(f"{value!r}: expected COLUMN or PATTERN=COLUMN")
                yield pattern, field, name


def differences(before: SourceOptions, after: SourceOptions) -> list[str]:
    """Describe each option that differs."""
    old, new = _options(before), _options(after)
    names = dict.fromkeys([*old, *new])
    return [
        f"{name} {old.get(name, 'none')} → {new.get(name, 'none')}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def describe(source_options: SourceOptions) -> str:
    """List the options that differ from the defaults."""
    defaults = _options(DEFAULT_OPTIONS)
    return ", ".join(
        f"{name} {value}"
        for name, value in _options(source_options).items()
        if defaults.get(name) != value
    )


def _options(source_options: SourceOptions) -> dict[str, str]:
    options = {
        "include": " ".join(source_options.globs.include),
        "exclude": " ".join(source_options.globs.exclude),
        **_columns_as_options(source_options.columns, ""),
        "max-mb": f"{source_options.limits.max_bytes / 1e6:g}",
        "max-seconds": f"{source_options.limits.max_seconds:g}",
        "follow-links": "yes" if source_options.follow_links else "",
    }
    for pattern, columns in source_options.columns_by_pattern:
        options |= _columns_as_options(columns, f" of {pattern}")
    return {name: value for name, value in options.items() if value}


def _columns_as_options(columns: Columns, where: str) -> dict[str, str]:
    named = {"text": columns.text, "title": columns.title, "id": columns.id or ""}
    return {f"{field}-column{where}": name for field, name in named.items()}


def _bytes(megabytes: float) -> int:
    if not _MIN_MB <= megabytes <= _MAX_MB:
        raise InputError(
            f"--max-mb {megabytes:g}: expected a number of megabytes from {_MIN_MB:f} (one byte) "
            f"to {_MAX_MB:,}"
        )
    return round(megabytes * 1e6)


def _seconds(seconds: float) -> float:
    if not MIN_SECONDS <= seconds <= MAX_LIMIT:
        raise InputError(
            f"--max-seconds {seconds:g}: expected a number of seconds from {MIN_SECONDS} to "
            f"{MAX_LIMIT:,}"
        )
    return seconds
