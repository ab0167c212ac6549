"""The methods that rerankers behind a network share with `Reranker`."""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from resift.rerank.deadline import Deadline
from resift.rerank.early_exit import TOLERANCE
from resift.rerank.families.service_calls import ServiceCalls
from resift.rerank.families.waiting import in_loop
from resift.rerank.many import check_many
from resift.rerank.options import RankOptions, checked_budget
from resift.types import DocumentLike, LongDocuments, Ranking


class ServiceRanker(ServiceCalls):
    """A reranker behind a network. Threads may share it; copying returns the same object."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} at {self._scorer.runtime}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object = None) -> Self:
        return self

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections, and the fallback if it was opened here.

        Later calls raise `RerankerClosed`. Closing twice does nothing.
        """
        self._is_closed = True
        self._release()
        if self._fallback is not None:
            self._fallback.close()

    def rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        top_n: int | None = None,
        *,
        budget_ms: float | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
        long_documents: LongDocuments = "cut",
    ) -> Ranking:
        """Order documents by relevance, and return all or the best `top_n`.

        The arguments are those of `Reranker.rank`. `exact`, `tolerance` and `long_documents` are
        for the fallback, and for a server of ours: other services read what they read.

        Raises:
            QueryError: The query is empty or not text.
            InputError: An argument is out of range, or none of the items is a document.
            RerankerError: The service failed or was late, and there is no fallback, or it failed.
            RerankerClosed: After `close`.

        """
        options = RankOptions(
            top_n, fusion_weight, exact, tolerance, min_score, abstain_below, long_documents
        )
        deadline = Deadline(checked_budget(budget_ms))
        call = self._begin(query, documents, options, deadline)
        return self._finish(call, len(call.candidates))

    async def arank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        top_n: int | None = None,
        *,
        budget_ms: float | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
        long_documents: LongDocuments = "cut",
    ) -> Ranking:
        """`rank` without blocking the event loop; cancelling the task leaves its requests."""
        options = RankOptions(
            top_n, fusion_weight, exact, tolerance, min_score, abstain_below, long_documents
        )
        deadline = Deadline(checked_budget(budget_ms))
        call = self._begin(query, documents, options, deadline)
        try:
            await asyncio.wait([in_loop(call.done)], timeout=self._service_s(call))
            ranking = self._answer(call)
            if ranking is None:
                ranking = await self._afall_back(call)
        finally:
            call.give_up()
        self._hints.give(ranking.receipt, options)
        return ranking

    def rank_many(
        self,
        queries: Iterable[str],
        documents: Iterable[Iterable[DocumentLike]],
        top_n: int | None = None,
        *,
        budget_ms: float | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
        long_documents: LongDocuments = "cut",
    ) -> list[Ranking]:
        """A ranking for each query, in order; the requests of all queries run at the same time.

        ``documents[i]`` are the documents of ``queries[i]``. `budget_ms` is for all together.
        Raises the errors of `rank`, with the index in the message, and `InputError` unless there is
        one list per query.
        """
        options = RankOptions(
            top_n, fusion_weight, exact, tolerance, min_score, abstain_below, long_documents
        )
        deadline = Deadline(checked_budget(budget_ms))
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
