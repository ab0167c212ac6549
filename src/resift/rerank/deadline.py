"""How long a caller waits: until it is done, until a moment, or until it goes away."""

import threading
import time
from collections.abc import Callable


class Deadline:
    """One call's. Waits in the caller's thread; is ended from any.

    `budget_ms` counts from the making of it; None is for ever.
    """

    def __init__(self, budget_ms: float | None = None) -> None:
        self.at = None if budget_ms is None else time.perf_counter() + budget_ms / 1000
        self._over = threading.Event()
        self._gone = False
        self._told: Callable[[], None] = _nobody

    @property
    def bounded(self) -> bool:
        """Whether there is a moment at which it ends."""
        return self.at is not None

    @property
    def left_s(self) -> float | None:
        """Seconds to that moment, 0 after it; None where there is none."""
        return None if self.at is None else max(self.at - time.perf_counter(), 0.0)

    @property
    def spent(self) -> bool:
        """Whether nobody waits any more: the moment has passed or the caller has gone away."""
        return self._gone or (self.at is not None and time.perf_counter() >= self.at)

    @property
    def gone(self) -> bool:
        """Whether the caller has gone away."""
        return self._gone

    @property
    def over(self) -> bool:
        """Whether there is nothing more to wait for: `done`, or gone away."""
        return self._over.is_set()

    def hasten(self, seconds: float) -> None:
        """End so much earlier, where there is a moment."""
        if self.at is not None:
            self.at -= seconds

    def tell(self, told: Callable[[], None]) -> None:
        """`told` is called, from whatever thread, when it is over: instead of `wait`."""
        self._told = told

    def give_up(self) -> None:
        """The caller goes away: what waits for it wakes up at once."""
        self._gone = True
        self.done()

    def wait(self) -> None:
        """Sleep until `done`, until the moment or until `give_up`."""
        self._over.wait(self.left_s)

    def done(self) -> None:
        """What was waited for is there."""
        self._over.set()
        self._told()


def _nobody() -> None:
    """Nobody is told."""
