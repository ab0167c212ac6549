"""Index: what users hold. A place for passages, kept in step with documents, and searched."""

import threading
from functools import cached_property

from resift.errors import InputError
from resift.index.embed import Embedder, open_embedder
from resift.index.keep import Keeper
from resift.index.snapshot import Snapshot
from resift.index.source import open_source
from resift.index.store import Store, open_snapshot
from resift.index.sync import ProgressCallback, SyncReport, sync
from resift.search.two_stage import MODES, Mode, Ranker, SearchPlan, search
from resift.settings import Settings
from resift.types import Ranking


class Index:
    """Documents in a folder or ``s3://`` index, searchable. Threads may share one.

    A search reads the version that was published when this object first searched, or last
    synced: a new object sees what another process has published since.
    """

    def __init__(
        self,
        uri: str,
        *,
        settings: Settings | None = None,
        embedder: Embedder | None = None,
        reranker: Ranker | None = None,
    ) -> None:
        """Name an index; nothing is read or loaded before it is needed."""
        self.uri = uri
        self._given_settings = settings
        self._given_embedder = embedder
        self._given_reranker = reranker
        self._snapshot: Snapshot | None = None
        self._lock = threading.RLock()

    def sync(
        self,
        source_uri: str,
        progress: ProgressCallback | None = None,
        *,
        keep_states: bool = False,
    ) -> SyncReport:
        """Make the index hold what lies below `source_uri`, and publish that.

        With `keep_states` the reranker's half of every passage is computed now and kept beside it
        (`Reranker.keep`): a search then runs the query's half and the meeting of the two only, to
        the same result. What it costs in bytes is in the report. Documents that were indexed
        without are read again.

        Raise `SourceError` or `StoreError` where one of the two cannot be reached. A file that
        cannot be read is in the report, and costs nothing but itself.
        """
        source = open_source(source_uri, self._settings.storage)
        embedder = self._embedder
        store = Store.open(self.uri, self._settings.storage, embedder.fingerprint, embedder.dim)
        reranker = self._reranker
        keeper = reranker if isinstance(reranker, Keeper) else None
        if keep_states and keeper is None:
            raise InputError("keep_states: this reranker cannot keep what it reads")
        report = sync(source, store, embedder, progress, keeper, keep_states)
        with self._lock:
            self._snapshot = None
        return report

    def search(
        self,
        query: str,
        top_n: int = 10,
        depth: int = 100,
        mode: Mode = "hybrid",
        rerank: bool = True,
        budget_ms: float | None = None,
    ) -> Ranking:
        """Find the `top_n` passages that answer `query` best, among `depth` candidates.

        Raise `InputError` for what no search can use and `IndexNotFound` where nothing was
        published yet.
        """
        _check_query(query)
        plan = SearchPlan(top_n=top_n, depth=depth, mode=mode, budget_ms=budget_ms)
        _check_plan(plan)
        snapshot = self._open()
        reranker = self._reranker if rerank else None
        return search(query, snapshot, self._embedder, reranker, plan)

    def _open(self) -> Snapshot:
        with self._lock:
            if self._snapshot is None:
                fingerprint = self._embedder.fingerprint
                self._snapshot = open_snapshot(self.uri, self._settings.storage, fingerprint)
            return self._snapshot

    @cached_property
    def _settings(self) -> Settings:
        return self._given_settings or Settings.load()

    @property
    def _embedder(self) -> Embedder:
        with self._lock:
            if self._given_embedder is None:
                self._given_embedder = open_embedder(self._settings.embedder, self._settings)
            return self._given_embedder

    @property
    def _reranker(self) -> Ranker:
        with self._lock:
            if self._given_reranker is None:
                # Here, so that a search without reranking loads no model for it.
                from resift.rerank.reranker import Reranker

                self._given_reranker = Reranker(settings=self._settings)
            return self._given_reranker


def _check_query(query: str) -> None:
    if not isinstance(query, str) or not query.strip():
        raise InputError("query: expected some words, got none")


def _check_plan(plan: SearchPlan) -> None:
    for name, value in (("top_n", plan.top_n), ("depth", plan.depth)):
        if value < 1:
            raise InputError(f"{name}={value}: expected 1 or more")
    if plan.mode not in MODES:
        raise InputError(f"mode={plan.mode!r}: expected one of {', '.join(MODES)}")
    if plan.budget_ms is not None and not plan.budget_ms > 0:
        raise InputError(f"budget_ms={plan.budget_ms}: expected more than 0, or None")
