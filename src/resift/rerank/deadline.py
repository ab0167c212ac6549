"""The end of a call: its work is finished, its budget has passed, or its caller has gone."""

import threading
import time
from collections.abc import Callable


class Deadline:
    """The deadline of one call. The caller's thread waits for it; any thread may end it.

    `budget_ms` counts from the creation of the object; None is no limit. `at` is the end of the
    budget on the clock of ``time.perf_counter``. `cancelled` says whether the caller has gone.
    """

    def __init__(self, budget_ms: float | None = None) -> None:
        self.at = None if budget_ms is None else time.perf_counter() + budget_ms / 1000
        self._over = threading.Event()
        self.cancelled = False
        self._callback: Callable[[], None] | None = None

    def copy(self) -> "Deadline":
        """The deadline of another call, with the same end of the budget."""
        other = Deadline()
        other.at = self.at
        return other

    @property
    def is_bounded(self) -> bool:
        """Whether there is a budget."""
        return self.at is not None

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the budget ends, at least 0; None without a budget."""
        return None if self.at is None else max(self.at - time.perf_counter(), 0.0)

    @property
    def expired(self) -> bool:
        """Whether the budget has passed or the caller has gone."""
        return self.cancelled or (self.at is not None and time.perf_counter() >= self.at)

    @property
    def is_over(self) -> bool:
        """Whether the work is finished or the caller has gone."""
        return self._over.is_set()

    @property
    def reason(self) -> str:
        """Why an unfinished call ended, for its receipt."""
        return "the caller went away" if self.cancelled else "time was up"

    def shorten(self, seconds: float) -> None:
        """Move the end of the budget forward, if there is one."""
        if self.at is not None:
            self.at -= seconds

    def call_when_over(self, callback: Callable[[], None]) -> None:
        """Call `callback`, from any thread, when the deadline is over: an alternative to `wait`."""
        self._callback = callback

    def cancel(self) -> None:
        """End the call because its caller has gone: `wait` returns at once."""
        self.cancelled = True
        self.finish()

    def wait(self) -> None:
        """Sleep until `finish`, `cancel` or the end of the budget."""
        self._over.wait(self.remaining_s)

    def finish(self) -> None:
        """End the call because its work is finished."""
        self._over.set()
        if self._callback is not None:
            self._callback()
