"""What a search is asked for, checked before anything is opened."""

from dataclasses import dataclass
from typing import Literal

from resift.errors import InputError, shown
from resift.index.table.where import Where
from resift.rerank.options import ANYTHING, MOST_WEIGHT, Thresholds, checked_flag
from resift.rerank.values import number, whole
from resift.types import DEPTH

Mode = Literal["hybrid", "dense", "lexical"]
MODES: tuple[Mode, ...] = ("hybrid", "dense", "lexical")


@dataclass(frozen=True, slots=True)
class Reranking:
    """How the reranker reads; what is left as it is here is not handed to it.

    So rerankers that know nothing of it keep working.
    """

    exact: bool = False
    fusion_weight: float | None = None
    thresholds: Thresholds = ANYTHING

    def __post_init__(self) -> None:
        exact = checked_flag("exact", self.exact)
        weight = number(self.fusion_weight)
        if self.fusion_weight is not None and (weight is None or not 0 <= weight <= MOST_WEIGHT):
            raise InputError(
                f"fusion_weight={shown(self.fusion_weight)}: expected a number from 0 to "
                f"{MOST_WEIGHT:,}, or None"
            )
        object.__setattr__(self, "exact", exact)
        object.__setattr__(self, "fusion_weight", weight)

    @property
    def arguments(self) -> dict[str, float]:
        """What `Ranker.rank` is handed beside the usual."""
        asked = {
            "exact": self.exact or None,
            "fusion_weight": self.fusion_weight,
            "min_score": self.thresholds.min_score,
            "abstain_below": self.thresholds.abstain_below,
        }
        return {name: value for name, value in asked.items() if value is not None}


DEFAULT = Reranking()


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How to search: `depth` candidates go to the reranker, `top_n` come back.

    Where `top_n` is more than `depth`, that many are read: who asks for 50 gets 50 that were
    compared. `max_requests` to the object store: once they are made only the first `top_n` passages
    are read yet, and nothing else is begun. `where` is the filter, from `index.table.where`.
    Raises `InputError` for what no search can use.
    """

    top_n: int = 10
    depth: int = DEPTH
    mode: Mode = "hybrid"
    max_requests: int | None = None
    where: Where | None = None
    reranking: Reranking = DEFAULT

    def __post_init__(self) -> None:
        for name, value in (("depth", self.depth), ("top_n", self.top_n)):
            object.__setattr__(self, name, _count(name, value, "a whole number from 1"))
        check_mode(self.mode)
        if self.max_requests is not None:
            most = _count("max_requests", self.max_requests, "a whole number from 1, or None")
            object.__setattr__(self, "max_requests", most)

    @property
    def window(self) -> int:
        """How many candidates are taken."""
        return max(self.depth, self.top_n)


def check_mode(mode: object) -> None:
    """Raise `InputError` for what is no mode."""
    if not (isinstance(mode, str) and mode in MODES):
        raise InputError(f"mode={shown(mode)}: expected one of {', '.join(MODES)}")


def _count(name: str, value: object, expected: str) -> int:
    """A whole number from 1, of any library."""
    count = whole(value)
    if count is None or count < 1:
        raise InputError(f"{name}={shown(value)}: expected {expected}")
    return count
