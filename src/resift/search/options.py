"""Checks of the arguments of an `Index`, before anything is opened, read or written.

Each check returns the value in a plain type or raises `InputError`.
"""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, SupportsIndex

from resift.errors import InputError, shown
from resift.index.claims import Cited
from resift.index.source_options import SourceOptions
from resift.index.table.where import Where, parse_where
from resift.index.versions.record import MAX_SHARDS
from resift.rerank.early_exit import TOLERANCE
from resift.rerank.options import RankOptions, checked_flag
from resift.rerank.values import number, truth, whole
from resift.types import DEPTH, Candidate, Hit, LongDocuments

Mode = Literal["hybrid", "dense", "lexical"]
MODES: tuple[Mode, ...] = ("hybrid", "dense", "lexical")
Collapse = Literal["document"]

_A_VERSION = "the whole number of a version, from 1"


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search: `depth` candidates are retrieved and reranked, `top_n` hits are returned.

    `depth` is at least `top_n`. After `max_requests` to the object store, a search reads only the
    texts of the first `top_n` candidates and starts nothing else. `where` is a filter in the
    language of `resift.index.table.where`; `condition` is its parsed form. `exact`, `tolerance`,
    `fusion_weight`, `min_score`, `abstain_below` and `long_documents` are as in `Reranker.rank`.
    With `collapse`, hits are the best passages of `top_n` documents.
    Raises `InputError` for invalid values.
    """

    top_n: int = 10
    depth: int = DEPTH
    mode: Mode = "hybrid"
    rerank: bool = True
    where: str | None = None
    max_requests: int | None = None
    exact: bool = False
    tolerance: float = TOLERANCE
    fusion_weight: float | None = None
    min_score: float | None = None
    abstain_below: float | None = None
    long_documents: LongDocuments = "cut"
    collapse: Collapse | None = None
    condition: Where | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rank = RankOptions(
            None,
            self.fusion_weight,
            self.exact,
            self.tolerance,
            self.min_score,
            self.abstain_below,
            self.long_documents,
        )
        checked = {
            "depth": checked_count("depth", self.depth),
            "top_n": checked_count("top_n", self.top_n),
            "mode": checked_mode(self.mode),
            "rerank": checked_flag("rerank", self.rerank),
            "max_requests": None
            if self.max_requests is None
            else checked_count("max_requests", self.max_requests, "a whole number from 1, or None"),
            "exact": rank.exact,
            "tolerance": rank.tolerance,
            "fusion_weight": rank.fusion_weight,
            "min_score": rank.min_score,
            "abstain_below": rank.abstain_below,
            "long_documents": rank.long_documents,
            "collapse": _checked_collapse(self.collapse),
            "condition": _parse(self.where),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        names = list(self.rerank_arguments)
        if names and not self.rerank:
            verb = "need" if len(names) > 1 else "needs"
            raise InputError(f"rerank=False: {' and '.join(names)} {verb} the reranker")

    @property
    def candidate_count(self) -> int:
        """How many candidates are retrieved."""
        return max(self.depth, self.top_n)

    @property
    def rerank_arguments(self) -> dict[str, Any]:
        """The optional arguments of `Ranker.rank` that are set.

        So a reranker without these parameters works as long as they are not used.
        """
        arguments = {
            "exact": self.exact or None,
            "tolerance": None if self.tolerance == TOLERANCE else self.tolerance,
            "fusion_weight": self.fusion_weight,
            "min_score": self.min_score,
            "abstain_below": self.abstain_below,
            "long_documents": None if self.long_documents == "cut" else self.long_documents,
        }
        return {name: value for name, value in arguments.items() if value is not None}


def checked_mode(mode: object) -> Mode:
    """The name of a first stage. Raises `InputError`."""
    for name in MODES:
        if isinstance(mode, str) and mode == name:
            return name
    raise InputError(f"mode={shown(mode)}: expected one of {', '.join(MODES)}")


def _checked_collapse(collapse: object) -> Collapse | None:
    if collapse is None:
        return None
    if isinstance(collapse, str) and collapse == "document":
        return "document"
    raise InputError(f"collapse={shown(collapse)}: expected document, or None")


def checked_count(name: str, value: object, expected: str = "", *, least: int = 1) -> int:
    """A whole number of any library, from `least`."""
    count = whole(value)
    if count is None or count < least:
        expected = expected or f"a whole number from {least}"
        raise InputError(f"{name}={shown(value)}: expected {expected}")
    return count


def check_component(name: str, component: object, method: str, setting: str) -> None:
    """Raise `InputError` unless `component` is None or an object with `method`.

    `setting` is the argument for names, which the message gives to a text.
    """
    if component is not None and (isinstance(component, type) or not hasattr(component, method)):
        raise InputError(
            f"{name}={shown(component)}: expected an object with a method {method}, or None; "
            f"a name goes into {setting}"
        )


def check_embedder(embedder: object) -> None:
    """Raise `InputError` unless it is an embedder, its name, or None."""
    if not isinstance(embedder, str):
        check_component("embedder", embedder, "embed", "embedder='…'")
    elif not embedder.strip():
        raise InputError(
            f"embedder={shown(embedder)}: expected a name such as intfloat/e5-small-v2, or None"
        )


def check_sync(source_options: object, progress: object = None) -> None:
    """Raise `InputError` unless each is None, or a `SourceOptions` and a function."""
    if source_options is not None and not isinstance(source_options, SourceOptions):
        raise InputError(
            f"source_options={shown(source_options)}: expected a SourceOptions, or None for the "
            "options of the last sync"
        )
    if progress is not None and not callable(progress):
        raise InputError(f"progress={shown(progress)}: expected a function of a Progress, or None")


def check_follow(
    source_options: object, progress: object, stop: object, on_failure: object
) -> None:
    """Raise `InputError` unless each is None or what `Index.follow` takes."""
    check_sync(None if _is_function(source_options) else source_options, progress)
    is_event = _is_function(getattr(stop, "is_set", None)) and not isinstance(stop, type)
    if stop is not None and not (is_event and _is_function(getattr(stop, "wait", None))):
        raise InputError(f"stop={shown(stop)}: expected a threading.Event, or None")
    if on_failure is not None and not callable(on_failure):
        raise InputError(
            f"on_failure={shown(on_failure)}: expected a function of a SyncFailure, or None for "
            "the log"
        )


def _is_function(value: object) -> bool:
    return callable(value) and not isinstance(value, type)


def checked_version(name: str, value: object) -> int:
    """The number of a version, an integer of any library: 1.0 names none, and neither does "1"."""
    if isinstance(value, SupportsIndex) and truth(value) is None:
        try:
            return checked_count(name, operator.index(value), _A_VERSION)
        except TypeError:  # from an array that is not one integer
            pass
    raise InputError(f"{name}={shown(value)}: expected {_A_VERSION}")


def checked_shards(value: object) -> int | None:
    """A number of shards, or None."""
    if value is None:
        return None
    expected = f"a whole number from 1 to {MAX_SHARDS:,}, or None"
    shards = checked_count("shards", value, expected)
    if shards > MAX_SHARDS:
        raise InputError(f"shards={shards}: expected {expected}")
    return shards


def checked_passage(passage: object) -> str | Hit | Candidate:
    """An id, a hit or a candidate."""
    if isinstance(passage, str | Hit | Candidate):
        return passage
    raise InputError(f"passage={shown(passage)}: expected a hit, a candidate, or the id of one")


def checked_days(name: str, value: object) -> float:
    """A time in days, from 0."""
    days = number(value)
    if days is None or days < 0:
        raise InputError(f"{name}={shown(value)}: expected 0 or more, in days")
    return days


def checked_citations(citations: object) -> list[Any]:
    """A list of hits, of sources of a context, or of ids."""
    is_single = isinstance(citations, str | bytes | Cited | Mapping)
    if not is_single and isinstance(citations, Iterable):
        try:
            return list(citations)
        except TypeError:  # from an array without dimensions
            pass
    raise InputError(f"citations={shown(citations)}: expected a list of hits, or of their ids")


def _parse(where: object) -> Where | None:
    if where is None:
        return None
    if not isinstance(where, str):
        raise InputError(f"where={shown(where)}: expected text, or None")
    return parse_where(where)
