"""Loads the second stage of searches when it is first needed."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from resift.background import Background, ClosedAfterUse, ready
from resift.rerank.ranker import Ranker
from resift.settings import Settings


class RerankerLoader:
    """The caller's reranker, which stays open, or the one in the settings. Threads may share it."""

    def __init__(
        self, given: Ranker | None, settings: Callable[[], Settings], loadings: Background
    ) -> None:
        """Load nothing yet; `loadings` has the threads that load."""
        self._given = given
        self._settings = settings
        self._loadings = loadings
        self._lock = threading.Lock()
        self._reranker = self._new_reranker()

    @contextmanager
    def reranker(self) -> "Iterator[Callable[[], Future[Ranker]]]":
        """A function that gets the caller's reranker, or starts to load the one in the settings.

        `forget` does not close it before the end of the block.
        """
        with self._lock:
            reranker = self._reranker
            reranker.enter()
        try:
            yield reranker.job
        finally:
            reranker.leave()

    def forget(self) -> None:
        """Release the model that was loaded; the next search loads it again.

        It is closed when its load has ended and the last search that uses it.
        """
        with self._lock:
            retired, self._reranker = self._reranker, self._new_reranker()
        retired.retire()

    def _new_reranker(self) -> ClosedAfterUse[Any]:
        def load_model() -> Ranker:
            # Here, because a search without reranking needs no model runtime.
            from resift.rerank.families.names import open_ranker

            return open_ranker(settings=self._settings())

        given = self._given
        if given is not None:
            return ClosedAfterUse(lambda: ready(given), lambda _: None)
        return ClosedAfterUse(lambda: self._loadings.run(load_model), lambda model: model.close())
