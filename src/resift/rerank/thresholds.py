"""What is left out of a ranking for its score, and whether anything answers: pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resift.errors import InputError
from resift.rerank.ordering import Numbers
from resift.rerank.values import number, shown
from resift.types import Status

UNREADABLE: tuple[Status, ...] = ("empty", "not_text")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores, in 0..1, that a caller asks of a hit (`min_score`) and of the best one (`abstain_below`).

    None asks nothing. Raises `InputError` for what no score can be.
    """

    min_score: float | None = None
    abstain_below: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("min_score", self.min_score), ("abstain_below", self.abstain_below)):
            if value is None:
                continue
            plain = number(value)
            if plain is None or not 0 <= plain <= 1:
                raise InputError(f"{name}={shown(value)}: expected a number from 0 to 1, or None")
            object.__setattr__(self, name, plain)

    @property
    def asked(self) -> bool:
        """Whether scores decide anything."""
        return self.min_score is not None or self.abstain_below is not None

    def kept(
        self, places: NDArray[np.intp], scores: Numbers, statuses: Sequence[Status]
    ) -> NDArray[np.intp]:
        """Those of `places`, in rank order, that stay; `scores` and `statuses` are by place.

        From the first that is below on, nothing that was scored stays: what an early exit let go could
        not have overtaken it. Unreadable ones go as well; against those that nobody came to score
        nothing is known, so they stay.
        """
        if self.min_score is None:
            return places
        own = scores[places]
        below = np.logical_or.accumulate(own < self.min_score)  # NaN is below nothing
        unreadable = np.array([statuses[place] in UNREADABLE for place in places], bool)
        return places[np.where(np.isnan(own), ~unreadable, ~below)]

    def abstains(self, best: float, partial: bool) -> bool:
        """Whether nothing answers; `best` is the first one's score, NaN where none has any.

        Where the window was read in part only, nobody knows.
        """
        if self.abstain_below is None or partial:
            return False
        return not best >= self.abstain_below


ANYTHING = Thresholds()
