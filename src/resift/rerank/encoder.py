"""An encoder on its own: token states, and the one vector a text that an embedder makes of them.

The same session and the same schedule as reranking uses; texts in, arrays in input order out.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from resift.rerank.artifact import Pooling
from resift.rerank.batching import schedule
from resift.rerank.late_interaction import mean_states, unit
from resift.rerank.models import run
from resift.rerank.runtimes import Session
from resift.rerank.tokenization import TokenRow, Tokens, pad

Floats = NDArray[np.float32]


class Encoder:
    """Tokens and a session. Threads may share it."""

    def __init__(self, tokens: Tokens, session: Session) -> None:
        self._tokens = tokens
        self._session = session
        self.runtime = session.runtime

    def states(self, texts: Sequence[str]) -> Iterator[Floats]:
        """Token states of each text, ``(tokens, dim)``, special tokens included."""
        rows = self._rows(texts)
        states: list[Floats] = [np.empty((0, 0), np.float32)] * len(rows)
        for places, batch, _ in self._batches(rows):
            for place, own in zip(places, batch, strict=True):
                states[place] = own[: len(rows[place].ids)].copy()
        yield from states

    def means(self, texts: Sequence[str]) -> Floats:
        """The unit mean of each text's token states, ``(n, dim)``."""
        return self.vectors(texts, "mean")

    def vectors(self, texts: Sequence[str], pooling: Pooling) -> Floats:
        """A unit vector for each of one or more texts, ``(n, dim)``: of all states or the first."""
        rows = self._rows(texts)
        found: dict[int, Floats] = {}
        for places, states, mask in self._batches(rows):
            own = mean_states(states, mask) if pooling == "mean" else unit(states[:, 0])
            found.update(zip(places, own, strict=True))
        return np.stack([found[place] for place in range(len(rows))])

    def _rows(self, texts: Sequence[str]) -> list[TokenRow]:
        beginnings = self._tokens.read(texts, "beginning")
        return self._tokens.single(texts, [own for own in beginnings if own is not None])

    def _batches(
        self, rows: Sequence[TokenRow]
    ) -> Iterator[tuple[list[int], Floats, NDArray[np.int64]]]:
        """(places, states, mask) of each scheduled group."""
        for group in schedule([len(row.ids) for row in rows]):
            places = [int(row) for row in group.rows]
            feeds = pad([rows[place] for place in places])
            yield places, run(self._session, feeds, ["states"])["states"], feeds["attention_mask"]
