"""Before a ranking: documents cut to a number of tokens, or refused if they would be cut.

Works in the background, a few documents at a time, so that a caller that goes away stops it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from resift.background import Background
from resift.rerank.candidates import check_query
from resift.rerank.deadline import Deadline
from resift.rerank.reranker import Reranker
from resift.serve.problems import TooLong

AT_ONCE = 32
"""Documents of one step: some 0.1 s of work, if all are long."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of the documents of one call, which are strings; others stay as they are.

    Nothing is read after the deadline, because nothing will be scored then.
    """

    reranker: Reranker
    background: Background
    deadline: Deadline

    async def cut(self, documents: Sequence[Any], max_tokens: int) -> list[Any]:
        """The beginnings of documents, of at most so many tokens."""
        cut: list[Any] = []
        async for part in self._steps(documents, partial(self.reranker.cut, max_tokens=max_tokens)):
            cut += part
        return [*cut, *documents[len(cut) :]]

    async def check(self, query: str, documents: Sequence[Any]) -> None:
        """Raise `TooLong` for the first document that the model would not read whole."""
        count = partial(self.reranker.dropped, check_query(query))
        read = 0
        async for part in self._steps(documents, count):
            for index, dropped in enumerate(part, read):
                if dropped:
                    raise TooLong(index, dropped, self.reranker.max_tokens)
            read += len(part)

    async def _steps(
        self, documents: Sequence[Any], work: Callable[[Sequence[Any]], list[Any]]
    ) -> AsyncIterator[list[Any]]:
        for begin in range(0, len(documents), AT_ONCE):
            if self.deadline.expired:
                return
            part = documents[begin : begin + AT_ONCE]
            yield await asyncio.wrap_future(self.background.run(partial(work, part)))
