"""Index: what users hold. A place for passages, kept in step with documents, and searched."""

import threading
import time
from functools import cached_property

from resift.errors import InputError
from resift.index.citation import Verdict, verify
from resift.index.embed import BUNDLED, WORDLLAMA, Embedder, open_embedder
from resift.index.keep import Keeper
from resift.index.location import locate
from resift.index.plan import Plan, plan
from resift.index.publish import clean, roll_back
from resift.index.reader import find_version, open_version
from resift.index.snapshot import Snapshot
from resift.index.source import open_source
from resift.index.store import Store
from resift.index.sync import AS_IT_IS, Models, Place, ProgressCallback, Reading, SyncReport, sync
from resift.index.versions import Version, Versions
from resift.index.where import parse_where
from resift.rerank.outcome import is_text
from resift.rerank.thresholds import Thresholds
from resift.search.clock import Clock
from resift.search.retrieval import MODES, Mode, Retrieved, SearchPlan, retrieve
from resift.search.two_stage import Ranker, search
from resift.settings import Settings
from resift.types import Ranking

_DAY = 86_400.0
_KEEP_DAYS = 7.0


class Index:
    """Documents in a folder or ``s3://`` index, searchable. Threads may share one.

    A search reads the version that was the newest when this object first searched, last synced or
    was last refreshed; `version` pins another one.
    """

    def __init__(
        self,
        uri: str,
        *,
        version: int | None = None,
        settings: Settings | None = None,
        embedder: Embedder | None = None,
        reranker: Ranker | None = None,
    ) -> None:
        """Name an index; nothing is read or loaded before it is needed."""
        self.uri = uri
        self._pinned = version
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
        reading: Reading = AS_IT_IS,
        keep_states: bool = False,
        allow_unsafe: bool = False,
    ) -> SyncReport:
        """Make the index hold what lies below `source_uri`, and publish that as a new version.

        Any number of processes may do so at once. Versions that were replaced a week ago are
        cleaned up. With `keep_states` the reranker's half of every passage is computed now and kept
        beside it (`Reranker.keep`): a search then runs the query's half and the meeting of the two
        only, to the same result. What it costs in bytes is in the report. Documents that were
        indexed without are read again.

        Raise `SourceError` or `StoreError` where one of the two cannot be reached, `UnsafeStore`
        where the index's store loses writes, unless `allow_unsafe`. A file that cannot be read is
        in the report, and costs nothing but itself.
        """
        self._refuse_pinned()
        source = open_source(source_uri, self._settings.storage)
        self._take_embedder()
        models = self._models(keep_states)
        report = sync(source, self._place, models, reading, progress, allow_unsafe=allow_unsafe)
        self.refresh()
        listed = self._place.versions.listed()
        # A day's worth at a time: it looks at every version that there is.
        if len(listed) > 1 and listed[1][1] < time.time() - (_KEEP_DAYS + 1) * _DAY:
            self.clean()
        return report

    def plan(
        self, source_uri: str, *, reading: Reading = AS_IT_IS, keep_states: bool = False
    ) -> Plan:
        """What `sync` would do: documents, passages, seconds, requests. Writes nothing."""
        source = open_source(source_uri, self._settings.storage)
        self._take_embedder()
        return plan(source, self._place, self._models(keep_states), reading)

    def search(
        self,
        query: str,
        top_n: int = 10,
        depth: int = 100,
        mode: Mode = "hybrid",
        rerank: bool = True,
        budget_ms: float | None = None,
        *,
        where: str | None = None,
        max_requests: int | None = None,
        min_score: float | None = None,
        abstain: float | None = None,
    ) -> Ranking:
        """Find the `top_n` passages that answer `query` best, among `depth` candidates.

        `where` keeps to passages that it is true of (`resift.index.where` has the language). With
        `max_requests`, once so many were made to the object store only what was found by then is
        answered with, and the receipt says so. `min_score` and `abstain` are as in `Reranker.rank`;
        where the window was not read as a whole, `Ranking.abstained` is False.

        Raise `InputError` for what no search can use and `IndexNotFound` where nothing was
        published yet, or not that version.
        """
        _check_query(query)
        condition = None if where is None else parse_where(where).sql()
        thresholds = Thresholds(min_score, abstain)
        if thresholds.asked and not rerank:
            raise InputError("rerank=False: min_score and abstain need the reranker's scores")
        asked = SearchPlan(top_n, depth, mode, budget_ms, max_requests, condition, thresholds)
        _check_plan(asked)
        snapshot = self._open()
        reranker = self._reranker if rerank else None
        return search(query, snapshot, self._embedder, reranker, asked)

    def retrieve(
        self,
        query: str,
        depth: int = 100,
        mode: Mode = "hybrid",
        *,
        where: str | None = None,
        reranker: Keeper | None = None,
    ) -> Retrieved:
        """The `depth` candidates that `search` would rerank, with their texts and scores.

        For a second stage of one's own, and to measure the first. With `reranker`, what is kept for
        it comes along. Raises as `search` does.
        """
        _check_query(query)
        condition = None if where is None else parse_where(where).sql()
        asked = SearchPlan(depth, depth, mode, where=condition)
        _check_plan(asked)
        return retrieve(query, self._open(), self._embedder, reranker, asked, Clock(None))

    def verify_citation(self, passage_id: str) -> Verdict:
        """Read the source of a passage again: does it still say so?

        `passage_id` is a hit's id. Raise `InputError` if this version has no such passage, and
        `SourceError` if its source cannot be asked.
        """
        passage = self._open().view().find(passage_id)
        if passage is None:
            raise InputError(
                f"{passage_id}: no such passage in this version: use the one that it was found in"
            )
        return verify(passage, self._settings.storage)

    def refresh(self) -> None:
        """Let the next search look for the newest version."""
        with self._lock:
            self._snapshot = None

    def versions(self) -> list[Version]:
        """The versions that can be searched, newest last."""
        return self._place.versions.readable()

    def roll_back(self, number: int) -> Version:
        """Publish version `number` once more, as the newest; the next `sync` goes on from there."""
        self._refuse_pinned()
        self._take_embedder_of(self._place.versions.get(number))
        store = Store.open(self._place.location, self._settings.storage, self._embedder)
        version = roll_back(store, self._place.versions, number)
        self.refresh()
        return version

    def clean(self, *, keep: int = 1, older_than_days: float = _KEEP_DAYS) -> tuple[list[int], int]:
        """Delete versions that were replaced so long ago, but the last `keep`.

        Give their numbers and the bytes that were freed. Readers that opened one of them since it
        was replaced, or keep a copy, are not disturbed.
        """
        for name, value, least in (("keep", keep, 1), ("older_than_days", older_than_days, 0)):
            if not value >= least:
                raise InputError(f"{name}={value}: expected {least} or more")
        self._take_embedder_of(find_version(self._place.location, self._place.versions, None))
        store = Store.open(self._place.location, self._settings.storage, self._embedder)
        return clean(store, self._place.versions, keep, older_than_days * _DAY)

    def _open(self) -> Snapshot:
        with self._lock:
            if self._snapshot is None:
                place = self._place
                version = find_version(place.location, place.versions, self._pinned)
                self._take_embedder_of(version)
                self._snapshot = open_version(
                    place.location, self._settings, version, self._embedder.fingerprint
                )
            return self._snapshot

    def _take_embedder(self) -> None:
        newest = self._place.versions.newest()
        if newest:
            self._take_embedder_of(newest)

    def _take_embedder_of(self, version: Version) -> None:
        """An index is read with the embedder it was made by, unless another one was named."""
        if self._given_embedder or self._settings.embedder:
            return
        # Not a URL or a folder: an index that somebody else has made does not choose where
        # this machine sends its queries, nor what it loads.
        if version.embedder in (BUNDLED, WORDLLAMA):
            self._given_embedder = open_embedder(version.embedder, self._settings)

    def _models(self, keep_states: bool) -> Models:
        def keeper() -> Keeper | None:
            reranker = self._reranker
            if keep_states and not getattr(reranker, "keeps_states", True):
                raise InputError(
                    "keep_states: this reranker reads query and document together, so that there "
                    "is nothing of a document to keep; leave keep_states out"
                )
            if isinstance(reranker, Keeper):
                return reranker
            if keep_states:
                raise InputError("keep_states: this reranker cannot keep what it reads")
            return None

        return Models(self._embedder, keeper, keep_states)

    def _refuse_pinned(self) -> None:
        if self._pinned is not None:
            raise InputError(f"version={self._pinned}: a version never changes: leave it out")

    @cached_property
    def _place(self) -> Place:
        location = locate(self.uri)
        return Place(location, self._settings.storage, Versions(location, self._settings.storage))

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
    if not is_text(query):
        raise InputError("query: has lone surrogates, so it is no text; decode its bytes again")


def _check_plan(plan: SearchPlan) -> None:
    for name, value in (("depth", plan.depth), ("top_n", plan.top_n)):
        if value < 1:
            raise InputError(f"{name}={value}: expected 1 or more")
    if plan.mode not in MODES:
        raise InputError(f"mode={plan.mode!r}: expected one of {', '.join(MODES)}")
    if plan.budget_ms is not None and not plan.budget_ms > 0:
        raise InputError(f"budget_ms={plan.budget_ms}: expected more than 0, or None")
    if plan.max_requests is not None and plan.max_requests < 1:
        raise InputError(f"max_requests={plan.max_requests}: expected 1 or more, or None")
