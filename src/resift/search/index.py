"""Index: what users hold. A place for passages, kept in step with documents, and searched."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import Any, Self, TypeVar

from resift.errors import InputError, VersionGone
from resift.index.background import ready
from resift.index.citation import Verdict
from resift.index.embed import Embedder
from resift.index.plan import SyncPlan, plan
from resift.index.precompute import Precomputer
from resift.index.publish import clean, rollback
from resift.index.report import SyncReport
from resift.index.run import ProgressCallback
from resift.index.source_options import SourceOptions
from resift.index.sources.source import open_source
from resift.index.storage.location import locate
from resift.index.sync import IndexHandle, Models, last_source_options, sync
from resift.index.table.snapshot import Snapshot
from resift.index.table.store import Store
from resift.index.versions.published import Versions
from resift.index.versions.record import Version
from resift.rerank.candidates import check_query
from resift.rerank.options import Thresholds, checked_flag
from resift.search.arguments import (
    check_part,
    check_sync,
    checked_allowed,
    checked_citations,
    checked_keep,
    checked_version,
    condition,
)
from resift.search.citations import Prover
from resift.search.clock import Clock
from resift.search.parts import Opened, Parts, Ranker
from resift.search.plan import Mode, Reranking, SearchPlan, check_mode
from resift.search.retrieval import Retrieved, retrieve
from resift.search.two_stage import search
from resift.settings import Settings, checked_settings
from resift.types import DEPTH, Hit, Ranking

_DAY = 86_400.0
_KEEP_DAYS = 7.0

T = TypeVar("T")


class Index:
    """Documents in a folder or ``s3://`` index, searchable. Threads may share one.

    A search reads the version that was the newest when this object first searched, last synced or
    was last refreshed; `version` pins another one.
    """

    def __init__(
        self,
        uri: str | os.PathLike[str],
        *,
        version: int | None = None,
        settings: Settings | None = None,
        embedder: Embedder | None = None,
        reranker: Ranker | None = None,
    ) -> None:
        """Name an index; nothing is read or loaded before it is needed.

        Raises `InputError` and `SettingsError` for what these cannot be.
        """
        locate(uri)
        self.uri = os.fspath(uri)
        version = None if version is None else checked_version("version", version)
        settings = None if settings is None else checked_settings(settings)
        check_part("embedder", embedder)
        check_part("reranker", reranker)
        self._pinned = version
        self._given = (settings, embedder, reranker)
        self._opened = Opened(
            lambda: self._place, lambda: self._settings, version, embedder, reranker
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled it is its name and settings: where it arrives, it opens what it needs anew."""
        return _again, (self.uri, self._pinned, *self._given)

    def sync(
        self,
        source_uri: str,
        progress: ProgressCallback | None = None,
        *,
        source_options: SourceOptions | None = None,
        token_states: bool = False,
        allow_unsafe: bool = False,
        allow_deletes: bool = False,
    ) -> SyncReport:
        """Make the index hold what lies below `source_uri`, and publish that as a new version.

        `source_options` says how the source is read, and is remembered with the index: None is as it was
        read last.

        Any number of processes may do so at once. Versions that were replaced a week ago are
        cleaned up. With `token_states` the reranker's half of every passage is computed now and kept
        beside it (`Reranker.precompute`): a search then runs the query's half and the meeting of the two
        only, to the same result. What it costs in bytes is in the report. Documents that were
        indexed without are read again.

        Raise `SourceError` or `StoreError` where one of the two cannot be reached, `UnsafeStore`
        where the index's store loses writes, unless `allow_unsafe`, and `MassDeletion` where all or
        most of what is indexed of the source would leave the index, unless `allow_deletes`. A file
        that cannot be read is in the report, and costs nothing but itself.
        """
        self._refuse_pinned()
        check_sync(source_options, progress)
        allowed = checked_allowed(allow_unsafe, allow_deletes)
        token_states = checked_flag("token_states", token_states)
        source = open_source(source_uri, self._settings.storage)
        models = self._models(token_states)
        report = sync(source, self._place, models, source_options, progress, allowed=allowed)
        self.refresh()
        listed = self._place.versions.listed()
        # A day's worth at a time: it looks at every version that there is.
        if len(listed) > 1 and listed[1][1] < time.time() - (_KEEP_DAYS + 1) * _DAY:
            self.clean()
        return report

    def source_options(self, source_uri: str) -> SourceOptions:
        """How a source was read last, or as what is read that was not: see `SourceOptions`."""
        uri = open_source(source_uri, self._settings.storage).uri
        return last_source_options(self._place, self._place.versions.newest(), uri)

    def plan(
        self,
        source_uri: str,
        *,
        source_options: SourceOptions | None = None,
        token_states: bool = False,
        allow_deletes: bool = False,
    ) -> SyncPlan:
        """What `sync` would do: documents, passages, seconds, requests. Writes nothing."""
        check_sync(source_options)
        token_states = checked_flag("token_states", token_states)
        source = open_source(source_uri, self._settings.storage)
        allowed = checked_allowed(False, allow_deletes)
        return plan(
            source, self._place, self._models(token_states), source_options, allowed=allowed
        )

    def search(
        self,
        query: str,
        top_n: int = 10,
        depth: int = DEPTH,
        mode: Mode = "hybrid",
        rerank: bool = True,
        budget_ms: float | None = None,
        *,
        where: str | None = None,
        max_requests: int | None = None,
        exact: bool = False,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
    ) -> Ranking:
        """Find the `top_n` passages that answer `query` best, among `depth` candidates.

        `depth` is raised to `top_n` where that is more. `where` keeps to passages that it is true
        of (`resift.index.table.where` has the language). With `max_requests`, once so many were made to
        the object store only what was found by then is answered with. `exact`, `fusion_weight`,
        `min_score` and `abstain_below` are as in `Reranker.rank`; where the window was not read as a
        whole, `Ranking.abstained` is False.

        `budget_ms` counts from this call on, opening the index and loading models too (`load` does
        that beforehand): what is not there in time is left out, and goes on in the background for
        the next call. None and infinity are no limit, 0 takes what is known at once. A server for
        vectors, an arm of the first stage or a reranker that fails is left out as well. The receipt
        is `partial` then, and says why.

        Raise `InputError` for what no search can use (`QueryError` for the query), `IndexNotFound`
        where nothing was published yet, or not that version, and what both arms failed with.
        """
        clock = Clock(budget_ms)
        check_query(query)
        rerank = checked_flag("rerank", rerank)
        reranking = Reranking(exact, fusion_weight, Thresholds(min_score, abstain_below))
        asked = SearchPlan(top_n, depth, mode, max_requests, condition(where), reranking)
        if reranking.arguments and not rerank:
            asked_for = " and ".join(reranking.arguments)
            need = "need" if len(reranking.arguments) > 1 else "needs"
            raise InputError(f"rerank=False: {asked_for} {need} the reranker")
        ranking, note = self._read(lambda: search(query, self._parts(mode, rerank), asked, clock))
        if note is None:
            return ranking
        receipt = replace(ranking.receipt, notes=(*ranking.receipt.notes, note))
        return replace(ranking, receipt=receipt)

    def retrieve(
        self,
        query: str,
        depth: int = DEPTH,
        mode: Mode = "hybrid",
        *,
        where: str | None = None,
        reranker: Precomputer | None = None,
    ) -> Retrieved:
        """The `depth` candidates that `search` would rerank, with their texts and scores.

        For a second stage of one's own, and to measure the first. With `reranker`, what is kept for
        it comes along. Raises as `search` does.
        """
        clock = Clock()
        check_query(query)
        asked = SearchPlan(depth, depth, mode, where=condition(where))
        check_part("reranker", reranker, "precomputer")
        precomputer = ready(reranker) if reranker is not None else None

        def read() -> Retrieved:
            parts = replace(self._parts(mode, False), reranker=precomputer)
            return retrieve(query, parts, asked, clock)

        retrieved, note = self._read(read)
        return retrieved if note is None else replace(retrieved, notes=(*retrieved.notes, note))

    def load(self, mode: Mode = "hybrid", rerank: bool = True) -> None:
        """Load the models that a search needs, so that the first one does not wait for them.

        Reads nothing of the index. Raises `ModelError` for what cannot be loaded.
        """
        check_mode(mode)
        rerank = checked_flag("rerank", rerank)
        self._opened.load(dense=mode != "lexical", rerank=rerank)

    def close(self) -> None:
        """Let go of the version that is open, and of what is still on its way; it opens again."""
        self._opened.forget()

    def verify_citation(self, citation: Hit | Mapping[str, Any] | str) -> Verdict:
        """Read the source of a hit again: does it still say so?

        A hit, or the same as JSON, is proved by its own text, place and ETag, whatever version of
        the index it is from. A hit's id stands for the passage that has it in this version.
        """
        return self.verify_citations([citation])[0]

    def verify_citations(self, citations: Iterable[Hit | Mapping[str, Any] | str]) -> list[Verdict]:
        """A verdict for each, in order; one that is none is ``malformed`` and ends nothing."""
        storage, versions = self._settings.storage, self._place.versions
        prover = Prover(storage, versions, lambda work: self._read(lambda: work(self._now()))[0])
        return [prover.prove(citation) for citation in checked_citations(citations)]

    def _now(self) -> Snapshot:
        return self._opened.snapshot().result()

    def refresh(self) -> None:
        """Let the next search look for the newest version."""
        self._opened.forget()

    def versions(self) -> list[Version]:
        """The versions that can be searched, newest last; `IndexNotFound` where there is none."""
        versions = self._place.versions.readable()
        if not versions:  # or none but damaged ones, which this names
            self._place.versions.find()
        return versions

    def rollback(self, number: int) -> Version:
        """Publish version `number` once more, as the newest; the next `sync` goes on from there."""
        self._refuse_pinned()
        number = checked_version("number", number)
        embedder = self._embedder(self._place.versions.get(number))
        store = Store.open(self._place.location, embedder)
        version = rollback(store, self._place.versions, number)
        self.refresh()
        return version

    def clean(self, *, keep: int = 1, older_than_days: float = _KEEP_DAYS) -> tuple[list[int], int]:
        """Delete versions that were replaced so long ago, but the last `keep`.

        Give their numbers and the bytes that were freed. Readers that opened one of them since it
        was replaced, or keep a copy, are not disturbed.
        """
        keep, older_than_days = checked_keep(keep, older_than_days)
        newest = self._place.versions.find()
        store = Store.open(self._place.location, self._embedder(newest))
        return clean(store, self._place.versions, keep, older_than_days * _DAY)

    def _read(self, work: Callable[[], T]) -> tuple[T, str | None]:
        """What `work` makes of the open version, or of the newest where that was cleaned up.

        The second is a note that says so.
        """
        try:
            return work(), None
        except VersionGone as gone:
            if self._pinned is not None:
                raise
            self._opened.forget()
            note = f"version {gone.number} was gone: the newest was read"
        return work(), note

    def _parts(self, mode: Mode, rerank: bool) -> Parts:
        return self._opened.parts(dense=mode != "lexical", rerank=rerank)

    def _embedder(self, version: Version | None) -> Embedder:
        return self._opened.embedder_of(version).result()

    def _models(self, token_states: bool) -> Models:
        def precomputer() -> Precomputer | None:
            reranker = self._opened.reranker().result()
            if token_states and not getattr(reranker, "precomputes_states", True):
                raise InputError(
                    "token_states: this reranker reads query and document together, so that there "
                    "is nothing of a document to keep; leave token_states out"
                )
            if isinstance(reranker, Precomputer):
                return reranker
            if token_states:
                raise InputError("token_states: this reranker cannot keep what it reads")
            return None

        embedder = self._embedder(self._place.versions.newest())
        return Models(embedder, precomputer, token_states)

    def _refuse_pinned(self) -> None:
        if self._pinned is not None:
            raise InputError(f"version={self._pinned}: a version never changes: leave it out")

    @cached_property
    def _place(self) -> IndexHandle:
        location = locate(self.uri, self._settings.storage)
        return IndexHandle(location, Versions(location))

    @cached_property
    def _settings(self) -> Settings:
        return self._given[0] or Settings.load()


def _again(
    uri: str,
    version: int | None,
    settings: Settings | None,
    embedder: Embedder | None,
    reranker: Ranker | None,
) -> Index:
    return Index(uri, version=version, settings=settings, embedder=embedder, reranker=reranker)
