"""The methods that rerankers behind a network share with `Reranker`."""

import asyncio
from collections.abc import Iterable
from typing import Self

from resift.rerank.base import BaseReranker
from resift.rerank.deadline import Deadline
from resift.rerank.families.service_calls import ServiceCalls
from resift.rerank.families.waiting import in_loop
from resift.rerank.many import check_many
from resift.rerank.options import RankOptions
from resift.types import DocumentLike, Ranking


class ServiceRanker(ServiceCalls, BaseReranker):
    """A reranker behind a network. Threads may share it; copying returns the same object.

    `exact`, `tolerance` and `long_documents` are for the fallback, and for a server of ours: other
    services read what they read. `rank` also raises `RerankerError`, if the service failed or was
    late, and there is no fallback, or it failed.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} at {self._scorer.runtime}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object = None) -> Self:
        return self

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def close(self) -> None:
        """Close idle connections, and the fallback if it was opened here.

        Later calls raise `RerankerClosed`. Closing twice does nothing.
        """
        self._is_closed = True
        self._release()
        if self._fallback is not None:
            self._fallback.close()

    def _rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        options: RankOptions,
        deadline: Deadline,
    ) -> Ranking:
        call = self._begin(query, documents, options, deadline)
        return self._finish(call, len(call.candidates))

    async def _arank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        options: RankOptions,
        deadline: Deadline,
    ) -> Ranking:
        call = self._begin(query, documents, options, deadline)
        try:
            await asyncio.wait([in_loop(call.done)], timeout=self._service_s(call))
            ranking = self._answer(call)
            if ranking is None:
                ranking = await self._afall_back(call)
        finally:
            call.give_up()
        return ranking

    def _rank_many(
        self,
        queries: Iterable[str],
        documents: Iterable[Iterable[DocumentLike]],
        options: RankOptions,
        deadline: Deadline,
    ) -> list[Ranking]:
        """The requests of all queries run at the same time."""
        texts, lists = check_many(queries, documents, lambda _: None)
        pairs = enumerate(zip(texts, lists, strict=True))
        calls = [
            self._begin(text, items, options, deadline, f"documents[{number}]: ")
            for number, (text, items) in pairs
        ]
        rankings = []
        unfinished = sum(len(call.candidates) for call in calls)
        try:
            for call in calls:
                rankings.append(self._finish(call, unfinished))
                unfinished -= len(call.candidates)
        finally:
            for call in calls:
                call.give_up()
        return rankings
