"""How long a caller waits: until the work is done, until a moment, or until it goes away."""

import threading
import time
from collections.abc import Callable


class Deadline:
    """The deadline of one call. It waits in the caller's thread and can be ended from any.

    `budget_ms` counts from here; None is no limit. `gone` is whether the caller has gone away.
    """

    def __init__(self, budget_ms: float | None = None) -> None:
        self.at = None if budget_ms is None else time.perf_counter() + budget_ms / 1000
        self._over = threading.Event()
        self.gone = False
        self._callback: Callable[[], None] | None = None

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
        """Whether the moment has passed or the caller has gone away."""
        return self.gone or (self.at is not None and time.perf_counter() >= self.at)

    @property
    def over(self) -> bool:
        """Whether the work is done or the caller has gone away."""
        return self._over.is_set()

    @property
    def reason(self) -> str:
        """Why a call that was not finished has ended, for its receipt."""
        return "the caller went away" if self.gone else "time was up"

    def shorten(self, seconds: float) -> None:
        """End so much earlier, where there is a moment."""
        if self.at is not None:
            self.at -= seconds

    def call_when_over(self, callback: Callable[[], None]) -> None:
        """Call back, from any thread, instead of `wait`."""
        self._callback = callback

    def give_up(self) -> None:
        """The caller goes away: whatever waits for it wakes up at once."""
        self.gone = True
        self.done()

    def wait(self) -> None:
        """Sleep until `done`, until the moment or until `give_up`."""
        self._over.wait(self.left_s)

    def done(self) -> None:
        """The work is done."""
        self._over.set()
        if self._callback is not None:
            self._callback()
