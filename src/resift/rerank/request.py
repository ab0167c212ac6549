"""One call on its way through the stages: what is known of each text, and what runs next.

Plain bookkeeping: the engine holds its lock while it calls anything here.
"""

import time
from collections.abc import Mapping, Sequence

import numpy as np

from resift.rerank.artifact import Exit
from resift.rerank.batching import WAVE, padded_length, waves
from resift.rerank.deadline import Deadline
from resift.rerank.early_exit import EarlyExit, survivors
from resift.rerank.models import TokenStates
from resift.rerank.precompute import EncodedDocument
from resift.rerank.state import CallState
from resift.rerank.tokenization import TokenRow


class Request:
    """Rows of one call, waiting for a stage, running, or done with it.

    The rows go in portions, each through all stages before the next begins, so that the states
    kept between stages stay within `portion_tokens`.
    """

    def __init__(
        self,
        prompt: TokenRow,
        places: Sequence[int],
        outcome: CallState,
        deadline: Deadline,
        exits: Sequence[Exit | None],
        early_exit: EarlyExit | None = None,
        portion_tokens: float | None = None,
        known: Mapping[int, EncodedDocument] | None = None,
        names: Mapping[int, bytes] | None = None,
    ) -> None:
        """`exits` has one entry for each stage but the last, None where nothing was measured.

        `known` is what is known of the texts, by place: rows whose halves `outcome` counts as kept
        have nothing to encode and go first. `names` are of texts whose halves are to be kept.
        Rows among `places` that `outcome` recalled ran in an earlier call: they take part in the
        early_exit by what each stage gave then, so that it goes as it goes without a cache.
        """
        self.prompt = prompt
        self.outcome = outcome
        self.deadline = deadline
        self.half: TokenStates | None = None
        self.known = known or {}
        self.names = dict(names or {})
        self.states: dict[int, TokenStates] = {}
        self._kept: dict[int, TokenStates] = {
            place: own.states
            for place, own in self.known.items()
            if outcome.precomputed[place] and own.states is not None
        }
        self._recalled = {n: outcome.recalled[n] for n in places if n in outcome.recalled}
        for place in self._recalled:
            outcome.logits[place], outcome.stages[place] = np.nan, 0
        self.stage = 0
        self.running = 0
        self.served = 0.0
        self.holds = 0
        self.portion_tokens = 0
        self.begun: float | None = None
        self.error: BaseException | None = None
        self.finished = False
        self.closed = False
        self._exits = exits
        self._race = early_exit
        self._passed: list[int] = []
        self._portions = _portions(places, self._lengths(places), portion_tokens)
        self.waiting: list[list[int]] = []
        self._next_portion()

    @property
    def waiting_tokens(self) -> int:
        """Of the rows that have not run at all or wait for a later stage."""
        left = [*self._portions, *self.waiting]
        return sum(len(self.outcome.rows[place].ids) for own in left for place in own)

    @property
    def step(self) -> tuple[int, bool, int]:
        """What the first wave waits for: its stage, whether its rows have states to begin with, and
        to what its query is padded.

        Rows of one step may run together.
        """
        has_states = bool(self.waiting) and self.waiting[0][0] in self.states
        return self.stage, has_states, padded_length(len(self.prompt.ids))

    def lengths(self) -> list[int]:
        """Of the first wave that waits, in tokens, longest first; empty where none waits."""
        return self._lengths(self.waiting[0]) if self.waiting else []

    def take(self, own: slice) -> list[int]:
        """Rows of the first wave start running."""
        if self.begun is None:
            self.begun = time.perf_counter()
        wave = self.waiting[0]
        taken = wave[own]
        del wave[own]
        if not wave:
            del self.waiting[0]
        self.running += len(taken)
        return taken

    def ran(self, place: int, logit: float, states: TokenStates | None, length: int) -> None:
        """A row has a logit of its stage; `length` is what it was padded to."""
        outcome = self.outcome
        if self.stage == 0 and place not in self._kept:  # others read states, not tokens
            outcome.positions += length
            outcome.tokens += len(outcome.rows[place].ids)
        outcome.logits[place] = logit
        outcome.stages[place] = self.stage + 1
        outcome.by_stage[place] = (*outcome.by_stage.get(place, ()), logit)
        if states is not None:
            self.states[place] = states
        self._passed.append(place)
        self.running -= 1

    def failed(self, place: int, reason: str) -> None:
        """A row got no logit from its stage; it goes no further."""
        self.outcome.fail(place, reason)
        self.running -= 1

    def advance(self) -> bool:
        """Go to the next stage or portion where this one has no row left; whether all is done."""
        while not self.waiting and not self.running:
            if self.stage < len(self._exits) and self._passed:
                self._next_stage()
            elif self._portions:
                self._next_portion()
            else:
                return True
        return False

    def leave_recalled(self) -> None:
        """The early exit was not run to its end: what is known of rows is their last stage's again."""
        for place, score in self._recalled.items():
            self.outcome.logits[place] = score.logits[-1]
            self.outcome.stages[place] = len(score.logits)
            self.outcome.pruned[place] = False

    def close(self) -> None:
        """Nothing more is taken from here or written to it."""
        self.closed = True
        self.waiting.clear()
        self._portions.clear()
        self.states.clear()

    def _next_stage(self) -> None:
        places, outcome = sorted(self._passed), self.outcome
        self._passed = []
        exit_ = self._exits[self.stage]
        if self._race is not None and exit_ is not None:
            final = outcome.stages > len(self._exits)
            logits = outcome.logits.astype(np.float64)
            going = survivors(self._race, exit_, places, logits, final, outcome.means)
            outcome.pruned[sorted(set(places) - set(going))] = True
            places = going
        self.stage += 1
        self._wait(places)

    def _next_portion(self) -> None:
        self.stage, self._passed = 0, []
        self.holds = 0
        portion = self._portions.pop(0) if self._portions else []
        self.states = {place: self._kept[place] for place in portion if place in self._kept}
        self.portion_tokens = sum(self._lengths(portion))
        self._wait(portion)

    def _wait(self, places: Sequence[int]) -> None:
        """Queue rows for the stage, in waves of rows that may run together."""
        size = WAVE if self.deadline.bounded else None
        for place in places:
            if place in self._recalled:
                self.outcome.logits[place] = self._recalled[place].logits[self.stage]
                self.outcome.stages[place] = self.stage + 1
                self._passed.append(place)
        places = [place for place in places if place not in self._recalled]
        ready = [place for place in places if place in self.states]
        fresh = [place for place in places if place not in self.states]
        self.waiting = [
            [own[row] for row in wave]
            for own in (ready, fresh)
            for wave in (waves(self._lengths(own), size) if own else [])
        ]

    def _lengths(self, places: Sequence[int]) -> list[int]:
        return [self._length(place) for place in places]

    def _length(self, place: int) -> int:
        recalled = self._recalled.get(place)
        return len(self.outcome.rows[place].ids) if recalled is None else recalled.tokens


def _portions(places: Sequence[int], lengths: Sequence[int], most: float | None) -> list[list[int]]:
    """Places in order, cut where their padded lengths add up to more than `most`."""
    portions: list[list[int]] = [[]]
    size = 0
    for place, length in zip(places, lengths, strict=True):
        size += padded_length(length)
        if most is not None and size > most and portions[-1]:
            portions.append([])
            size = padded_length(length)
        portions[-1].append(place)
    return portions
