"""How long a caller waits: until it is done, until a moment, or until it goes away."""

import threading
import time


class Patience:
    """One call's. Waits in the caller's thread; is ended from any.

    `budget_ms` counts from the making of it; None is for ever.
    """

    def __init__(self, budget_ms: float | None = None) -> None:
        self.at = None if budget_ms is None else time.perf_counter() + budget_ms / 1000
        self._over = threading.Event()
        self._gone = False

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

    def give_up(self) -> None:
        """The caller goes away: what waits for it wakes up at once."""
        self._gone = True
        self._over.set()

    def wait(self) -> None:
        """Sleep until `done`, until the moment or until `give_up`."""
        self._over.wait(self.left_s)

    def done(self) -> None:
        """What was waited for is there."""
        self._over.set()
