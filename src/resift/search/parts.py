"""What a search needs to have open: a version, an embedder, a reranker. Made once, in threads.

Nothing here waits: each part is a job that is done or not yet, so that a caller with a budget can
leave, and the next one finds what was opened meanwhile.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from resift.index.background import Background, Shared, ready, then
from resift.index.embed import BUNDLED, WORDLLAMA, Embedder, open_embedder
from resift.index.sync import IndexHandle
from resift.index.table.open import Choice, check_embedder, choose_version, load, open_choice
from resift.index.table.snapshot import Snapshot
from resift.index.versions.record import Version
from resift.settings import Settings
from resift.types import Candidate, Ranking

_LOOKS = 32  # reads of the index at once; the rest of them wait
_OPENINGS = 8
_LOADINGS = 4


class Ranker(Protocol):
    """A second stage: what `search` asks of a reranker.

    `exact`, `fusion_weight`, `min_score` and `abstain_below` are handed to `rank` as well, only where a
    search sets them. What it may raise, and what becomes of that, is in `search.faults`.
    """

    def rank(
        self,
        query: str,
        documents: "list[Candidate]",
        *,
        top_n: int | None = None,
        budget_ms: float | None = None,
    ) -> Ranking:
        """Put `documents` in order for `query` and keep the first `top_n`."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What one search works with; `background` runs what reads the index.

    `embedder` is None where no vector is asked for. `reranker` is a `Ranker`, or what a first stage
    alone reads kept states for; None where there is neither.
    """

    snapshot: "Future[Snapshot]"
    embedder: "Future[Embedder] | None"
    reranker: "Future[Any] | None"
    background: Background


class Opened:
    """The parts of an `Index`, each opened once, in the background. Threads may share it."""

    def __init__(
        self,
        place: Callable[[], IndexHandle],
        settings: Callable[[], Settings],
        pinned: int | None,
        embedder: Embedder | None,
        reranker: Ranker | None,
    ) -> None:
        self.background = Background(_LOOKS, "resift-search")
        self._opening = Background(_OPENINGS, "resift-open")
        self._loading = Background(_LOADINGS, "resift-load", finite=True)
        self._place = place
        self._settings = settings
        self._pinned = pinned
        self._given_embedder = embedder
        self._given_reranker = reranker
        self._embedders: dict[str | None, Shared[Embedder]] = {}
        self._lock = threading.RLock()
        self._libraries: Shared[None] = Shared(lambda: self._loading.run(load))
        self._version: Shared[Choice] = Shared(self._begin_version)
        self._snapshot: Shared[Snapshot] = Shared(self._begin_snapshot)
        self._reranker: Shared[Ranker] = Shared(self._begin_reranker)

    def parts(self, dense: bool, rerank: bool) -> Parts:
        """Begin to open what a search needs, all of it at once."""
        with self._lock:
            return Parts(
                self.snapshot(),
                self.embedder() if dense else None,
                self.reranker() if rerank else None,
                self.background,
            )

    def load(self, dense: bool, rerank: bool) -> None:
        """Wait until models and libraries are there; nothing of the index is read."""
        jobs: list[Future[Any]] = [self._libraries.job()]
        jobs += [self.embedder_of(None)] if dense else []
        jobs += [self.reranker()] if rerank else []
        for job in jobs:
            job.result()

    def snapshot(self) -> "Future[Snapshot]":
        """The version that is searched, open; looked for anew where its notes may be old."""
        with self._lock:
            job = self._snapshot.job()
            if job.done() and not job.exception() and job.result().should_reload:
                self.forget()
            return self._snapshot.job()

    def embedder(self) -> "Future[Embedder]":
        """The one for queries; fails with `IndexMismatch` where the index has another's vectors."""
        if self._given_embedder is not None or self._settings().embedder:
            self.embedder_of(None)  # known before the version is: it begins to load at once
        return then(self._version.job(), lambda choice: self._embedder_for(choice.version))

    def embedder_of(self, version: Version | None) -> "Future[Embedder]":
        """An index is read with the embedder it was made by, unless another one was named."""
        if self._given_embedder is not None:
            return ready(self._given_embedder)
        name = self._settings().embedder
        # Not a URL or a folder: an index that somebody else has made does not choose where
        # this machine sends its queries, nor what it loads.
        if not name and version is not None and version.embedder in (BUNDLED, WORDLLAMA):
            name = version.embedder
        with self._lock:
            if name not in self._embedders:
                self._embedders[name] = Shared(
                    lambda: self._loading.run(lambda: open_embedder(name, self._settings()))
                )
            return self._embedders[name].job()

    def reranker(self) -> "Future[Ranker]":
        """The one that was given, or the one that the settings name."""
        if self._given_reranker is not None:
            return ready(self._given_reranker)
        return self._reranker.job()

    def forget(self) -> None:
        """The next search looks for the newest version; models stay."""
        with self._lock:
            self._version.forget()
            self._snapshot.forget()

    def _embedder_for(self, version: Version) -> "Future[Embedder]":
        def check(embedder: Embedder) -> "Future[Embedder]":
            check_embedder(self._place().location, version, embedder.fingerprint)
            return ready(embedder)

        return then(self.embedder_of(version), check)

    def _begin_version(self) -> "Future[Choice]":
        def find() -> Choice:
            place, settings = self._place(), self._settings()
            return choose_version(place.location, settings, place.versions, self._pinned)

        return then(self._libraries.job(), lambda _: self._opening.run(find))

    def _begin_snapshot(self) -> "Future[Snapshot]":
        def opened(choice: Choice) -> "Future[Snapshot]":
            settings = self._settings()
            location = self._place().location
            return self._opening.run(lambda: open_choice(location, settings, choice))

        return then(self._version.job(), opened)

    def _begin_reranker(self) -> "Future[Ranker]":
        def load_model() -> Ranker:
            # Here, so that a search without reranking loads no model for it.
            from resift.rerank.reranker import Reranker

            return Reranker(settings=self._settings())

        return self._loading.run(load_model)
