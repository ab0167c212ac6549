"""Tells of each batch that a model ran: its rows, tokens, positions with padding, and seconds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from resift.rerank.batching import padded_length


@dataclass(frozen=True, slots=True)
class BatchRun:
    """A batch that ran through a `stage` of the model, counted from 0, in so many `seconds`.

    Its `rows` are documents and windows of long documents, with `tokens` in all. It computed
    `positions`: all rows are padded to one length.
    """

    stage: int
    rows: int
    tokens: int
    positions: int
    seconds: float


Watch = Callable[[BatchRun], None]


class Watchers:
    """Those who are told of each batch. Threads may share it."""

    def __init__(self) -> None:
        self._watches: tuple[Watch, ...] = ()

    @contextmanager
    def watched(self, watch: Watch) -> Iterator[None]:
        """Call `watch` after each batch, until the end of the block.

        The thread that runs the model calls it: it has to be quick, and must not raise.
        """
        self._watches = (*self._watches, watch)
        try:
            yield
        finally:
            self._watches = tuple(other for other in self._watches if other is not watch)

    def tell(self, stage: int, lengths: Sequence[int], seconds: float) -> None:
        """Tell of a batch with rows of these lengths."""
        if not self._watches:
            return
        positions = len(lengths) * padded_length(max(lengths))
        batch = BatchRun(stage, len(lengths), sum(lengths), positions, seconds)
        for watch in self._watches:
            watch(batch)
