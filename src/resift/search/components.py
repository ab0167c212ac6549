"""The components of a search: a version, an embedder, a reranker. Each is opened once.

Components are futures. A search whose budget ends stops waiting, and the component opens in the
background for the next search.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from resift.background import Background, Shared, ready, then
from resift.index.analysis.spec import ANY_ANALYSER, AnalyserChoice
from resift.index.embed import Embedder, is_unpinned, open_embedder, recorded_embedder
from resift.index.shards.layout import check_shard_count
from resift.index.storage.location import locate
from resift.index.table.open import (
    Choice,
    check_embedder,
    choose_version,
    import_lance,
    open_choice,
)
from resift.index.table.sharded import OpenVersion
from resift.index.versions.published import Versions
from resift.index.versions.record import Version
from resift.rerank.ranker import Ranker
from resift.search.options import Mode
from resift.search.reranker_loader import RerankerLoader
from resift.settings import Settings

_READS = 32  # concurrent reads of the index
_OPENINGS = 8
_LOADINGS = 4


@dataclass(frozen=True, slots=True)
class Components:
    """The components of one search; `background` runs its reads of the index.

    `embedder` is None if no vector is needed. `reranker` is a `Ranker`; for `Index.retrieve` it is
    the `Precomputer` whose states are read. None without either.
    """

    snapshot: "Future[OpenVersion]"
    embedder: "Future[Embedder] | None"
    reranker: "Future[Any] | None"
    background: Background


class ComponentLoader:
    """The components of an `Index`, opened in the background. Threads may share it."""

    def __init__(
        self,
        uri: str,
        version: int | None,
        settings: Settings | None,
        embedder: Embedder | str | None,
        reranker: Ranker | None,
        analyser: AnalyserChoice = ANY_ANALYSER,
        shards: int | None = None,
    ) -> None:
        self._uri = uri
        self._version_number = version
        self._given_settings = settings
        self._given_embedder = None if isinstance(embedder, str) else embedder
        self._given_embedder_name = embedder if isinstance(embedder, str) else None
        self._given_reranker = reranker
        self.analyser = analyser
        self.shards = shards
        self.background = Background(_READS, "resift-search")
        self._openings = Background(_OPENINGS, "resift-open")
        self._loadings = Background(_LOADINGS, "resift-load", finite=True)
        self._lock = threading.RLock()
        self._libraries: Shared[None] = Shared(lambda: self._loadings.run(import_lance))
        self._embedders: dict[str | None, Shared[Embedder]] = {}
        self._reranker = RerankerLoader(reranker, lambda: self.settings, self._loadings)
        self.forget_version()

    def elsewhere(self, threads: int) -> "Callable[[], ComponentLoader]":
        """What makes this loader again in another process, where models use so many threads.

        It can be pickled if the embedder and the reranker that the caller gave can. The settings go
        with it: another machine has other variables.
        """
        settings = replace(self.settings, threads=self.settings.threads or threads)
        embedder = self._given_embedder or self._given_embedder_name
        given = (self._uri, None, settings, embedder, self._given_reranker, self.analyser)
        return partial(ComponentLoader, *given)

    @cached_property
    def settings(self) -> Settings:
        """The caller's settings, or those of the environment."""
        return self._given_settings or Settings.load()

    @cached_property
    def versions(self) -> Versions:
        """The published versions of the index."""
        return Versions(locate(self._uri, self.settings.storage))

    @contextmanager
    def components(self, mode: Mode, rerank: bool) -> Iterator[Components]:
        """Start to open all components of a search, which stay open until the end of the block."""
        with self.reranker() as reranker:
            with self._lock:
                components = Components(
                    self.snapshot(),
                    self._query_embedder() if mode != "lexical" else None,
                    reranker() if rerank else None,
                    self.background,
                )
            yield components

    def load(self, mode: Mode, rerank: bool) -> None:
        """Load libraries and models, and wait for them; reads nothing of the index."""
        jobs: list[Future[Any]] = [self._libraries.job()]
        jobs += [self.embedder(None)] if mode != "lexical" else []
        with self.reranker() as reranker:
            jobs += [reranker()] if rerank else []
            for job in jobs:
                job.result()

    def snapshot(self) -> "Future[OpenVersion]":
        """The open version; looked up again if its notes may be out of date."""
        with self._lock:
            job = self._snapshot.job()
            if job.done() and not job.exception() and job.result().should_reload:
                self.forget_version()
            return self._snapshot.job()

    def embedder(self, version: Version | None) -> "Future[Embedder]":
        """The caller's embedder, the one in the settings, or the one that made `version`.

        A hub model without a revision is at the commit that made `version`, whatever commit its
        default branch has now.
        """
        if self._given_embedder is not None:
            return ready(self._given_embedder)
        name = self._embedder_name
        recorded = None if version is None else recorded_embedder(version.embedder, name)
        if recorded is None:
            return self._opened_embedder(name)

        def at_commit(embedder: Embedder) -> "Future[Embedder]":
            return ready(embedder) if embedder.name == recorded else self._opened_embedder(recorded)

        with self._lock:  # the name alone is mostly the same model, and may be loaded already
            is_loaded = name in self._embedders and recorded not in self._embedders
            if name is not None and is_loaded:
                return then(self._embedders[name].job(), at_commit)
        return self._opened_embedder(recorded)

    @property
    def _embedder_name(self) -> str | None:
        """The name that the caller or the settings give."""
        return self._given_embedder_name or self.settings.embedder

    def _opened_embedder(self, name: str | None) -> "Future[Embedder]":
        """The embedder of a name, which is opened once."""

        def load() -> Embedder:
            from resift.rerank.catalogue import named_by

            is_recorded = name is not None and name != self._embedder_name
            with named_by(f"the index {self._uri}" if is_recorded else None):
                return open_embedder(name, self.settings)

        with self._lock:
            if name not in self._embedders:
                self._embedders[name] = Shared(lambda: self._loadings.run(load))
            return self._embedders[name].job()

    def reranker(self) -> "AbstractContextManager[Callable[[], Future[Ranker]]]":
        """`RerankerLoader.reranker`."""
        return self._reranker.reranker()

    def forget_version(self) -> None:
        """Let the next search look for the newest version; models stay loaded."""
        with self._lock:
            self._version: Shared[Choice] = Shared(self._choose_version)
            version = self._version
            self._snapshot: Shared[OpenVersion] = Shared(lambda: self._open_snapshot(version))

    def renew(self) -> OpenVersion:
        """Open the newest version unless it is open; the open one is read until then."""
        opened = self.opened
        if opened is None:
            return self.snapshot().result()
        newest = self.versions.newest()
        if self._version_number is not None or newest is None or newest.number <= opened.number:
            return self.snapshot().result()
        version: Shared[Choice] = Shared(self._choose_version)
        snapshot: Shared[OpenVersion] = Shared(lambda: self._open_snapshot(version))
        renewed = snapshot.job().result()
        with self._lock:
            self._version, self._snapshot = version, snapshot
        return renewed

    @property
    def opened(self) -> Version | None:
        """The version that is open; None while none is."""
        with self._lock:
            job = self._snapshot.opened
        return None if job is None else job.version

    def forget_models(self) -> None:
        """Release the models that this object loaded; the next search loads them again.

        The reranker is closed when its load has ended and the last search that uses it.
        """
        with self._lock:
            self._embedders = {}
        self._reranker.forget()

    def _query_embedder(self) -> "Future[Embedder]":
        """The embedder; its future raises `IndexMismatch` if another embedder made the index."""

        def check(version: Version, embedder: Embedder) -> "Future[Embedder]":
            check_embedder(self.versions.location, version, embedder.fingerprint)
            return ready(embedder)

        def open_matching(choice: Choice) -> "Future[Embedder]":
            version = choice.version
            return then(self.embedder(version), lambda embedder: check(version, embedder))

        name = self._embedder_name
        if self._given_embedder is not None or (name and not is_unpinned(name)):
            self.embedder(None)  # starts to load without waiting for the version
        return then(self._version.job(), open_matching)

    def _choose_version(self) -> "Future[Choice]":
        def choose() -> Choice:
            versions, number = self.versions, self._version_number
            choice = choose_version(versions.location, self.settings, versions, number)
            self.analyser.spec(choice.version.analyser, self._uri)  # raises for another one
            check_shard_count(self._uri, len(choice.version.shards) or 1, self.shards)
            return choice

        return then(self._libraries.job(), lambda _: self._openings.run(choose))

    def _open_snapshot(self, version: Shared[Choice]) -> "Future[OpenVersion]":
        def open_snapshot(choice: Choice) -> "Future[OpenVersion]":
            location, settings = self.versions.location, self.settings
            return self._openings.run(lambda: open_choice(location, settings, choice))

        return then(version.job(), open_snapshot)
