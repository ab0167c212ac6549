"""What a caller hands to an `Index`, checked once, before anything is opened, read or written.

Each check returns the value in plain Python, or raises `InputError` in one line.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from resift.errors import InputError, shown
from resift.index.source_options import SourceOptions
from resift.index.table.where import Where, parse_where
from resift.rerank.early_exit import TOLERANCE
from resift.rerank.options import RankOptions, checked_flag
from resift.rerank.values import number, whole
from resift.types import DEPTH, Hit

Mode = Literal["hybrid", "dense", "lexical"]
MODES: tuple[Mode, ...] = ("hybrid", "dense", "lexical")


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search: `depth` candidates are retrieved and reranked, `top_n` hits come back.

    `depth` is raised to `top_n` where that is more. Once `max_requests` were made to the object
    store, only the texts of the first `top_n` candidates are read and nothing else is started.
    `where` is a filter in the language of `resift.index.table.where`; `condition` its parsed form.
    `exact`, `tolerance`, `fusion_weight`, `min_score` and `abstain_below` are as in
    `Reranker.rank`. Raises `InputError` for a value that no search can use.
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
    condition: Where | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rank = RankOptions(
            None,
            self.fusion_weight,
            self.exact,
            self.tolerance,
            self.min_score,
            self.abstain_below,
        )
        checked = {
            "depth": checked_count("depth", self.depth),
            "top_n": checked_count("top_n", self.top_n),
            "mode": checked_mode(self.mode),
            "rerank": checked_flag("rerank", self.rerank),
            "max_requests": _checked_requests(self.max_requests),
            "exact": rank.exact,
            "tolerance": rank.tolerance,
            "fusion_weight": rank.fusion_weight,
            "min_score": rank.min_score,
            "abstain_below": rank.abstain_below,
            "condition": _parsed(self.where),
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
        """What `Ranker.rank` gets beyond the usual: only what is set.

        So a reranker that does not know these arguments works as long as nobody uses them.
        """
        arguments = {
            "exact": self.exact or None,
            "tolerance": None if self.tolerance == TOLERANCE else self.tolerance,
            "fusion_weight": self.fusion_weight,
            "min_score": self.min_score,
            "abstain_below": self.abstain_below,
        }
        return {name: value for name, value in arguments.items() if value is not None}


def checked_mode(mode: object) -> Mode:
    """The name of a first stage."""
    for known in MODES:
        if isinstance(mode, str) and mode == known:
            return known
    raise InputError(f"mode={shown(mode)}: expected one of {', '.join(MODES)}")


def checked_count(name: str, given: object, expected: str = "a whole number from 1") -> int:
    """A whole number of any library, from 1."""
    count = whole(given)
    if count is None or count < 1:
        raise InputError(f"{name}={shown(given)}: expected {expected}")
    return count


def check_component(name: str, given: object, method: str, setting: str) -> None:
    """Raise `InputError` unless `given` is None or an object with `method`.

    `setting` is where a name belongs instead.
    """
    if given is not None and (isinstance(given, type) or not hasattr(given, method)):
        raise InputError(
            f"{name}={shown(given)}: expected an object with a method {method}, or None; "
            f"a name goes into {setting}"
        )


def check_sync(source_options: object, progress: object = None) -> None:
    """Raise `InputError` unless these are None, or a `SourceOptions` and a function."""
    if source_options is not None and not isinstance(source_options, SourceOptions):
        raise InputError(
            f"source_options={shown(source_options)}: expected a SourceOptions, or None for the "
            "options of the last sync"
        )
    if progress is not None and not callable(progress):
        raise InputError(f"progress={shown(progress)}: expected a function of a Progress, or None")


def checked_days(name: str, given: object) -> float:
    """A time in days, from 0."""
    days = number(given)
    if days is None or days < 0:
        raise InputError(f"{name}={shown(given)}: expected 0 or more, in days")
    return days


def checked_citations(citations: object) -> list[Any]:
    """A list of hits or of their ids."""
    if not isinstance(citations, str | bytes | Hit | Mapping) and isinstance(citations, Iterable):
        try:
            return list(citations)
        except TypeError:  # raised by an array without a dimension
            pass
    raise InputError(f"citations={shown(citations)}: expected a list of hits, or of their ids")


def _checked_requests(value: object) -> int | None:
    if value is None:
        return None
    return checked_count("max_requests", value, "a whole number from 1, or None")


def _parsed(where: object) -> Where | None:
    if where is None:
        return None
    if not isinstance(where, str):
        raise InputError(f"where={shown(where)}: expected text, or None")
    return parse_where(where)
