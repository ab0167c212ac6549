"""Admission: which calls may wait for the models, by their tokens and the measured speed.

Every admitted call gets the whole service. A call that could not be answered in time is refused at
once, so that overload costs nothing.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from resift.errors import Overloaded
from resift.types import Receipt

MAX_QUEUE_TOKENS = 500_000
"""The default bound on waiting tokens: some 15 seconds of work for two cores."""

BYTES_PER_TOKEN = 4
LONGEST = 512
"""Tokens that a model with a short input reads of a document at most."""

CALL_TOKENS = 50
"""What a call costs beside its texts."""

BUDGET_SHARE = 0.75
"""A call is admitted if the work before it, and its own, take this share of its budget. Calls are
served side by side, so that each ends when about all that are open could: with the whole budget as
the bound, under overload, all of them would miss their last documents."""

_FIRST_TOKENS, _FIRST_SECONDS = 10_000.0, 1.0
_FADE = 0.98


@dataclass(slots=True)
class Admitted:
    """An open call; `share` (0..1) of its work is done at its end."""

    share: float = 1.0

    def note(self, *receipts: Receipt) -> None:
        """Take the share from the receipts of what the call ranked."""
        depth = sum(receipt.depth for receipt in receipts)
        late = sum(receipt.late for receipt in receipts)
        self.share = 1.0 if not depth else 1.0 - late / depth


class Admission:
    """A queue bounded in tokens; for one event loop.

    Tokens are estimated from the length of the texts, and the speed is measured in the same
    estimated tokens. So the time to wait is right also where the estimate is not.
    """

    def __init__(self, max_tokens: int = MAX_QUEUE_TOKENS) -> None:
        self.max_tokens = max_tokens
        self.waiting_tokens = 0
        self.open_calls = 0
        self.refused = 0
        self._tokens, self._seconds = _FIRST_TOKENS, _FIRST_SECONDS
        self._measured_until = 0.0

    @contextmanager
    def admit(self, tokens: int, budget_ms: float | None = None) -> Iterator[Admitted]:
        """Count a call of so many tokens as waiting, until the end of the block.

        The block says what share of the work was done, if not all was: else calls that run out of
        time would make the speed look higher than it is, and more of them would be admitted.
        Raises `Overloaded` if the queue would exceed its bound, or if the call could not be done
        within its budget behind the others. A single call is always admitted.
        """
        self._check(tokens, budget_ms)
        if not self.open_calls:
            self._measured_until = time.perf_counter()
        self.waiting_tokens += tokens
        self.open_calls += 1
        admitted = Admitted()
        try:
            yield admitted
        except BaseException:
            self._leave(tokens)
            raise
        self._leave(tokens)
        now = time.perf_counter()
        self._tokens = _FADE * self._tokens + tokens * admitted.share
        self._seconds = _FADE * self._seconds + now - self._measured_until
        self._measured_until = now

    def seconds(self, tokens: float) -> float:
        """How long so many tokens take, as measured while calls were open."""
        return tokens * self._seconds / self._tokens

    def _leave(self, tokens: int) -> None:
        self.waiting_tokens -= tokens
        self.open_calls -= 1

    def _check(self, tokens: int, budget_ms: float | None) -> None:
        if not self.open_calls:
            return
        total = self.waiting_tokens + tokens
        excess_s = self.seconds(total - self.max_tokens)
        if budget_ms is not None:
            excess_s = max(excess_s, self.seconds(total) - budget_ms / 1000 * BUDGET_SHARE)
        if excess_s > 0:
            self.refused += 1
            raise Overloaded(self.waiting_tokens, excess_s)


def estimated_tokens(query: str, texts: Iterable[object]) -> int:
    """About how many tokens a model reads for these pairs."""
    query_tokens = len(query.encode(errors="replace")) // BYTES_PER_TOKEN
    tokens = CALL_TOKENS
    for text in texts:
        size = len(text.encode(errors="replace")) if isinstance(text, str) else 0
        tokens += query_tokens + min(size // BYTES_PER_TOKEN, LONGEST)
    return tokens
