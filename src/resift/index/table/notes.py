"""What a commit says beside its rows: the problems of the objects that it wrote. Pure.

The rows of an object do not say what of it could not be read, and the manifest does so only once it
is published: a run that goes on with another one's commits has it from here.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType

Wrote = tuple[str, str]
"""An object's URI, and the attempt at it."""

Notes = Mapping[Wrote, tuple[str, ...]]
NONE: Notes = MappingProxyType({})
_NAME = "resift.problems"


def to_properties(notes: Notes) -> dict[str, str] | None:
    """A transaction's properties; None where there is nothing to note."""
    lines = [[*wrote, *problems] for wrote, problems in notes.items() if problems]
    return {_NAME: json.dumps(lines)} if lines else None


def from_properties(properties: Mapping[str, str] | None) -> Notes:
    """What `to_properties` was given; raise `ValueError` for what nobody has written so."""
    try:
        lines = json.loads((properties or {}).get(_NAME, "[]"))
        if not all(isinstance(word, str) for line in lines for word in line):
            raise ValueError("expected texts")
        return {(uri, attempt): tuple(problems) for uri, attempt, *problems in lines}
    except TypeError as error:
        raise ValueError(str(error)) from error
