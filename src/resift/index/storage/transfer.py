"""Whether bytes still come: a store that drips is given up like one that says nothing.

A timeout for each read does not tell: a byte a second is always in time.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from resift.extras import require


class TooSlow(OSError):
    """Bytes come, but so few that nobody should wait for the rest; the text is for `faults`."""


@dataclass(frozen=True, slots=True)
class MinimumRate:
    """How few bytes may come in how many seconds."""

    window_s: float = 10.0
    least_bytes: int = 5_000


MINIMUM_RATE = MinimumRate()


class TransferRate:
    """Counts the bytes of one answer, from the first of them on."""

    def __init__(self) -> None:
        self._patience = MINIMUM_RATE
        self._since: float | None = None
        self._bytes = 0

    def note(self, count: int) -> None:
        """Add what has come; raise `TooSlow` if that was too little in all of a window."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        self._bytes += count
        if now - self._since < self._patience.window_s:
            return
        if self._bytes < self._patience.least_bytes:
            raise TooSlow(
                f"it drips: {self._bytes:,} bytes came in {now - self._since:.0f} s, and at least "
                f"{self._patience.least_bytes:,} should have"
            )
        self._since, self._bytes = now, 0


def fetch(
    store: Any,
    key: str,
    check: Callable[[Mapping[str, Any]], None],
    options: Mapping[str, Any] | None = None,
) -> tuple[bytes, Mapping[str, Any]]:
    """An object's bytes, or a part of them, and what the store says of it.

    `check` looks at the latter and may raise before anything is read. A store that drips is asked
    once more; raises `TooSlow` after that, and what obstore raises.
    """
    obstore = require("obstore", "index")

    def once() -> tuple[bytes, Mapping[str, Any]]:
        answer = obstore.get(store, key, options=options)
        check(answer.meta)
        return _all(answer), answer.meta

    try:
        return once()
    except TooSlow:
        return once()


def _all(answer: Any) -> bytes:
    pace = TransferRate()
    blocks = []
    for block in answer.stream(min_chunk_size=1):  # each as it comes
        pace.note(len(block))
        blocks.append(bytes(block))
    return b"".join(blocks)
