"""Sliding windows over a list, from its end to its front (Sun et al. 2023). Knows no model."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from resift.transport.endpoint import EndpointError

Ask = Callable[[Sequence[int]], tuple[list[int] | None, int]]
"""Orders the documents of a window: the positions in it, best first, or None; and tokens read."""


@dataclass(slots=True)
class Ordered:
    """An order of documents, best first, and how it came about.

    `refused` of `windows` kept the order before, because their answers were no order. `passes` went
    through the whole list; `tokens` were read.
    """

    order: list[int]
    windows: int = 0
    refused: int = 0
    passes: int = 0
    tokens: int = 0


def windows_of(count: int, size: int, step: int) -> Iterator[range]:
    """The windows of a list, the last documents first; each shares documents with the one after."""
    end = count
    while count > 1:
        start = max(end - size, 0)
        yield range(start, end)
        if start == 0:
            return
        end -= step


def slide(
    order: Sequence[int], size: int, step: int, passes: int, ask: Ask, until: float
) -> Ordered:
    """Order a list window by window, in as many passes.

    Good documents move to the front with the windows, so only a whole pass is an order: one that
    `until`, on the clock of ``time.monotonic``, or an error ends does not count. Raises the
    `EndpointError` of the first pass.
    """
    result = Ordered(list(order))
    for _ in range(passes):
        try:
            _pass(result, size, step, ask, until)
        except EndpointError:
            if not result.passes:
                raise
            break
    return result


def _pass(result: Ordered, size: int, step: int, ask: Ask, until: float) -> None:
    order, refused, windows = list(result.order), 0, 0
    for window in windows_of(len(order), size, step):
        if time.monotonic() >= until:
            raise EndpointError("time was up before the first documents were read", "late")
        documents = [order[position] for position in window]
        positions, tokens = ask(documents)
        result.tokens += tokens
        windows += 1
        if positions is None:
            refused += 1
        else:
            order[window.start : window.stop] = [documents[position] for position in positions]
    result.order = order
    result.windows += windows
    result.refused += refused
    result.passes += 1
