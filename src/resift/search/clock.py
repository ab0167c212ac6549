"""Where the time of a search goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Milliseconds by stage, and what is left of a budget; None is none."""

    def __init__(self, budget_ms: float | None) -> None:
        self._started = time.perf_counter()
        self._budget_ms = budget_ms
        self.timings_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        started = time.perf_counter()
        yield
        self.timings_ms[name] = (time.perf_counter() - started) * 1000

    def left_ms(self) -> float | None:
        """What is left of the budget; None where there is none."""
        if self._budget_ms is None:
            return None
        return self._budget_ms - self.elapsed_ms()

    def elapsed_ms(self) -> float:
        """Since the search began."""
        return (time.perf_counter() - self._started) * 1000
