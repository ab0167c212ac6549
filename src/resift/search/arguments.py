"""What a caller hands to an `Index`, checked before anything is opened, read or written.

Each check gives the value as the rooms below take it, or raises `InputError` in one line.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from resift.errors import InputError, shown
from resift.index.source_options import SourceOptions
from resift.index.sync import SyncConsent
from resift.index.table.where import Where, parse_where
from resift.rerank.options import checked_flag
from resift.rerank.values import number, whole
from resift.types import Hit

_PARTS = {
    "embedder": ("embed", "Settings(embedder=…)"),
    "reranker": ("rank", "Reranker(…)"),
    "precomputer": ("precompute", "Reranker(…)"),
}
"""What each part of an index has, and what takes the name of one."""


def checked_version(name: str, given: object) -> int:
    """The number of a version."""
    value = whole(given)
    if value is None or value < 1:
        raise InputError(f"{name}={shown(given)}: expected the number of a version, from 1")
    return value


def check_part(name: str, given: object, kind: str | None = None) -> None:
    """An embedder or a reranker, anybody's; None is the one that the settings name."""
    method, named = _PARTS[kind or name]
    if given is None:
        return
    if isinstance(given, type) or not hasattr(given, method):
        raise InputError(
            f"{name}={shown(given)}: expected an object with a method {method}, or None; "
            f"a name goes into {named}"
        )


def check_sync(source_options: object, progress: object = None) -> None:
    """How a source is read, and who is told."""
    if source_options is not None and not isinstance(source_options, SourceOptions):
        raise InputError(
            f"source_options={shown(source_options)}: expected a SourceOptions, or None as it was read"
        )
    if progress is not None and not callable(progress):
        raise InputError(f"progress={shown(progress)}: expected a function of a Progress, or None")


def checked_allowed(unsafe: object, deletes: object) -> SyncConsent:
    """What a sync does not stop at."""
    return SyncConsent(checked_flag("allow_unsafe", unsafe), checked_flag("allow_deletes", deletes))


def checked_keep(keep: object, older_than_days: object) -> tuple[int, float]:
    """How many versions stay, and for how long."""
    count, days = whole(keep), number(older_than_days)
    if count is None or count < 1:
        raise InputError(f"keep={shown(keep)}: expected 1 or more, a whole number")
    if days is None or days < 0:
        raise InputError(f"older_than_days={shown(older_than_days)}: expected 0 or more, in days")
    return count, days


def checked_citations(citations: object) -> list[Any]:
    """A list of hits, or of ids."""
    expected = "expected a list of hits, or of their ids"
    if isinstance(citations, str | bytes | Hit | Mapping) or not isinstance(citations, Iterable):
        raise InputError(f"citations={shown(citations)}: {expected}")
    try:
        return list(citations)
    except TypeError:  # an array without a dimension says only here that it is no list
        raise InputError(f"citations={shown(citations)}: {expected}") from None


def condition(where: object) -> Where | None:
    """A filter, read."""
    if where is None:
        return None
    if not isinstance(where, str):
        raise InputError(f"where={shown(where)}: expected text, or None")
    return parse_where(where)
