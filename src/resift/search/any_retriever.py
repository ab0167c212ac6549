"""`TwoStage`, the public class: searches by any retriever, and reranks its candidates."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from resift.background import Background
from resift.rerank.candidates import check_query
from resift.rerank.early_exit import TOLERANCE
from resift.rerank.ranker import Ranker
from resift.search.call import SearchCall
from resift.search.clock import Clock
from resift.search.options import Collapse, SearchOptions, check_component
from resift.search.reranker_loader import RerankerLoader
from resift.search.retriever import ClosableRetriever, Retriever
from resift.search.retriever_stage import name_of, stage_of
from resift.search.two_stage import asearch, search
from resift.settings import Settings, checked_settings
from resift.types import DEPTH, LongDocuments, Ranking

_SEARCHES = 32  # retrievers and rerankers at once
_LOADINGS = 4


class TwoStage:
    """A search in two stages: a retriever of any kind, then a reranker. Threads may share it.

    ``TwoStage(lambda query, k: my_client.search(query, k))`` is enough. It degrades as
    `Index.search` does: a reranker that fails or is late leaves the order of the retriever.

    ``with TwoStage(…) as stages`` closes it.
    """

    def __init__(
        self,
        retriever: Retriever,
        reranker: Ranker | None = None,
        *,
        settings: Settings | None = None,
    ) -> None:
        """Open and load nothing yet.

        `retriever` is the first stage (`resift.search.retriever.Retriever`), `reranker` the second
        one; None is the one in the settings, which the first search loads. Raises `InputError` and
        `SettingsError` for invalid arguments.
        """
        check_component("reranker", reranker, "rank", "Reranker(…)")
        self._arguments = (retriever, reranker, settings)
        chosen = None if settings is None else checked_settings(settings)
        self._background = Background(_SEARCHES, "resift-search")
        self._async_searches = Background(_SEARCHES, "resift-asearch")
        loadings = Background(_LOADINGS, "resift-load", finite=True)
        self._stage = stage_of(retriever, self._background)
        self._reranker = RerankerLoader(reranker, lambda: chosen or Settings.load(), loadings)

    def __repr__(self) -> str:
        return f"<TwoStage {self.name}>"

    def __reduce__(self) -> tuple[object, ...]:
        """A pickle holds the arguments, if they can be pickled."""
        return _open_again, self._arguments

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The retriever's name, or that of its function or class."""
        return name_of(self._stage.retriever)

    def search(
        self,
        query: str,
        top_n: int = 10,
        depth: int = DEPTH,
        budget_ms: float | None = None,
        rerank: bool = True,
        *,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
        long_documents: LongDocuments = "cut",
        collapse: Collapse | None = None,
    ) -> Ranking:
        """Find the `top_n` documents that answer `query` best, among `depth` candidates.

        The retriever is called with the query and `depth`, which is at least `top_n`. Of more
        documents the first ones are ranked, and of two with one id the first; `Receipt.notes` tells
        it. What is not a document stays, with a `status`. `collapse` and the other arguments are as
        in `Index.search`.

        `budget_ms` limits the whole call, including loading the reranker. A retriever that is late
        has no candidates, and continues in the background; a reranker that is late or fails leaves
        the order of the retriever. The receipt is then `partial` and tells why. Its `version` is
        None, and its `requests` and `bytes` are 0: a retriever tells neither.

        Raises the retriever's error, `InputError` for invalid arguments and for a retriever that
        returns no list of documents, `QueryError` for a query that is empty or that the reranker
        cannot read, and `RerankerClosed` if the reranker that was passed in is closed.
        """
        clock = Clock(budget_ms)
        options = SearchOptions(
            top_n, depth, "hybrid", rerank, None, None,
            exact, tolerance, fusion_weight, min_score, abstain_below, long_documents, collapse,
        )  # fmt: skip
        query = check_query(query)
        with self._reranker.reranker() as reranker:
            return search(self._call(query, options, clock, reranker))

    async def asearch(
        self,
        query: str,
        top_n: int = 10,
        depth: int = DEPTH,
        budget_ms: float | None = None,
        rerank: bool = True,
        *,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
        long_documents: LongDocuments = "cut",
        collapse: Collapse | None = None,
        on_first_stage: Callable[[Ranking], Awaitable[None]] | None = None,
    ) -> Ranking:
        """`search` without blocking the event loop; raises the same errors.

        The retriever's `aretrieve` is awaited, and cancelled when time is up or the task is; a
        retriever without one runs in a thread, at most 32 at once, to its end. `on_first_stage` is
        awaited with the order of the first stage before reranking begins.
        """
        clock = Clock(budget_ms)
        options = SearchOptions(
            top_n, depth, "hybrid", rerank, None, None,
            exact, tolerance, fusion_weight, min_score, abstain_below, long_documents, collapse,
        )  # fmt: skip
        query = check_query(query)
        try:
            with self._reranker.reranker() as reranker:
                call = self._call(query, options, clock, reranker)
                return await asearch(call, self._async_searches, on_first_stage)
        except asyncio.CancelledError:
            clock.cancel()
            raise

    def load(self) -> None:
        """Load the reranker, so that the first search does not wait. Raises `ModelError`."""
        with self._reranker.reranker() as reranker:
            reranker().result()

    def close(self) -> None:
        """Close the reranker that this object has loaded, and what the retriever has opened.

        The reranker is closed when the last running search ends. One that was passed in stays open,
        and so does a client that was given to the retriever.
        """
        self._reranker.forget()
        retriever = self._stage.retriever
        if isinstance(retriever, ClosableRetriever):
            retriever.close()

    def _call(
        self,
        query: str,
        options: SearchOptions,
        clock: Clock,
        reranker: "Callable[[], Future[Ranker]]",
    ) -> SearchCall:
        loading = reranker() if options.rerank else None
        return SearchCall(query, options, self._stage, loading, self._background, clock)


def _open_again(
    retriever: Retriever, reranker: Ranker | None, settings: Settings | None
) -> TwoStage:
    return TwoStage(retriever, reranker, settings=settings)
