"""A circuit breaker: after repeated failures a service is not asked for some seconds.

It spares a broken service the requests, and callers the wait. Knows no service.
"""

import threading
import time
from collections.abc import Callable

MAX_FAILURES = 3
"""So many failures in a row open the circuit."""

FIRST_PAUSE_S, LAST_PAUSE_S = 5.0, 60.0
"""The pause doubles with each failure after it."""


class Breaker:
    """Counts failures in a row. Threads may share it.

    After a pause one call may try; the others wait for its result, but no longer than another
    pause.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._until = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._reason = ""

    def refusal(self) -> str | None:
        """Why the service is not asked now; None if it may be asked."""
        with self._lock:
            remaining_s = self._until - self._clock()
            if remaining_s > 0:
                return (
                    f"not asked for {max(remaining_s, 1):.0f} s, after {self._failures} failures "
                    f"in a row, the last: {self._reason}"
                )
            if self._failures >= MAX_FAILURES:  # this call tries
                self._until = self._clock() + self._pause_s
            return None

    def succeed(self) -> None:
        """Note an answer: the circuit is closed."""
        with self._lock:
            self._failures, self._until, self._pause_s = 0, 0.0, FIRST_PAUSE_S

    def fail(self, reason: str, *, is_final: bool = False, wait_s: float | None = None) -> bool:
        """Note a failure; return whether it is the first one since an answer, or opens the circuit.

        One that `is_final`, such as a wrong key, opens the circuit at once, for the longest pause;
        `wait_s` is the pause that the service asks for.
        """
        with self._lock:
            self._failures = max(self._failures + 1, MAX_FAILURES if is_final else 0)
            self._reason = reason
            if self._failures >= MAX_FAILURES:
                pause_s = LAST_PAUSE_S if is_final else max(self._pause_s, wait_s or 0.0)
                self._until = self._clock() + min(pause_s, LAST_PAUSE_S)
                self._pause_s = min(2 * self._pause_s, LAST_PAUSE_S)
            return self._failures == 1 or self._failures >= MAX_FAILURES
