"""Sections of texts that are not changed: code, configuration, markup. Pure.

Parsers tell where headings and parts begin; this module makes the sections.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from resift.index.parsing.documents import HEADING_SEPARATOR, Outline, Section

SMALL = 600
"""Neighbouring parts with at most so many characters in total share a section: about a passage."""

_BRACKET = 12
"""The characters of a closing bracket, or of ``end``."""
_NAME_SEPARATOR = "; "
_MAX_NAMES = 10
"""The names in one heading; a heading is searched with every passage below it."""

Heading = tuple[int, int, str]
"""The position, the level (1 is the highest) and the name of a heading."""


def outline(
    text: str, headings: Iterable[Heading], title: str, start: int = 0
) -> tuple[Section, ...]:
    """Cut ``text[start:]`` at its headings; heading paths leave out one that repeats `title`."""
    made = Outline(title, start)
    last = start
    for at, level, name in headings:
        made.start_section(at, level, name, text[last:at])
        last = at
    return made.finish(len(text), text[last:])


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a text from `start` to the next part: a function, a class's header, a setting.

    `scope` has the names of what contains it, outermost first. `name` is empty for the text of the
    scope itself, whose heading is then `scope_heading`.
    """

    start: int
    scope: tuple[str, ...] = ()
    name: str = ""
    scope_heading: str = ""


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring parts that share a section."""

    start: int
    end: int
    part: Part
    names: tuple[str, ...]

    @property
    def section(self) -> Section:
        if not self.names:
            return Section(self.start, self.end, self.part.scope_heading, by_lines=True)
        more = len(self.names) - _MAX_NAMES
        names = [*self.names[:_MAX_NAMES], *(["…"] if more > 0 else [])]
        heading = HEADING_SEPARATOR.join([*self.part.scope, _NAME_SEPARATOR.join(names)])
        return Section(self.start, self.end, heading, by_lines=True)


def sections_of_parts(text: str, parts: Iterable[Part]) -> tuple[Section, ...]:
    """Make sections without sentences that cover the text; small neighbours of a scope share one.

    `parts` are in order. A short part without a name, such as a closing bracket, belongs to the
    part before it.
    """
    return tuple(group.section for group in _merge(text, _groups(text, parts)))


def _groups(text: str, parts: Iterable[Part]) -> Iterator[_Group]:
    """Yield the parts that have text, each with its end; the first begins with the text."""
    before = Part(0)
    for part in (*parts, None):
        end = part.start if part else len(text)
        if end > before.start and not text[before.start : end].isspace():
            names = (before.name,) if before.name else ()
            yield _Group(before.start, end, before, names)
        before = part or before


def _merge(text: str, groups: Iterable[_Group]) -> Iterator[_Group]:
    merged: _Group | None = None
    for group in groups:
        if merged is None:
            merged = group
            continue
        is_small = group.end - merged.start <= SMALL and group.part.scope == merged.part.scope
        if not group.names and len(text[group.start : group.end].strip()) <= _BRACKET:
            merged = replace(merged, end=group.end)
        elif is_small:
            names = tuple(dict.fromkeys((*merged.names, *group.names)))
            merged = replace(merged, end=group.end, names=names)
        else:
            yield merged
            merged = group
    if merged:
        yield merged
