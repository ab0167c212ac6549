"""`Index`, the public class: indexes the documents of a source and searches their passages."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from resift.background import Background, ready
from resift.errors import InputError, VersionGone, shown
from resift.index.analysis.spec import checked_choice
from resift.index.citation import CitationVerifier
from resift.index.claims import Cited, Verdict
from resift.index.embed import Embedder, Precomputer
from resift.index.follow import SyncFailure
from resift.index.part_work import Workers
from resift.index.plan import SyncPlan
from resift.index.report import SyncReport
from resift.index.run import ProgressCallback
from resift.index.source_options import SourceOptions
from resift.index.storage.location import locate_index
from resift.index.sync import SyncConsent
from resift.index.table.rows import Passage
from resift.index.table.sharded import OpenVersion
from resift.index.versions.record import Version
from resift.rerank.candidates import check_query
from resift.rerank.early_exit import TOLERANCE
from resift.rerank.options import checked_flag
from resift.rerank.ranker import Ranker
from resift.search.call import Retrieved
from resift.search.clock import Clock
from resift.search.components import ComponentLoader
from resift.search.index_stage import index_call
from resift.search.maintenance import KEEP_DAYS, Maintenance, When
from resift.search.neighbours import neighbours, widened
from resift.search.options import (
    Collapse,
    Mode,
    SearchOptions,
    check_component,
    check_embedder,
    check_follow,
    check_sync,
    checked_citations,
    checked_count,
    checked_days,
    checked_mode,
    checked_passage,
    checked_shards,
    checked_version,
)
from resift.search.retrieval import as_candidate, retrieve
from resift.search.two_stage import asearch, search
from resift.settings import Settings, checked_settings
from resift.types import DEPTH, Candidate, Hit, LongDocuments, Ranking

_ASYNC_SEARCHES = 32  # concurrent first stages

T = TypeVar("T")


class Index:
    """A searchable index of documents, in a folder or a bucket. Threads may share it.

    Searches read the version that was the newest at the first search, the last `sync` or the last
    `refresh` of this object; `version` pins a version.
    """

    def __init__(
        self,
        uri: str | os.PathLike[str],
        *,
        version: int | None = None,
        settings: Settings | None = None,
        embedder: Embedder | str | None = None,
        reranker: Ranker | None = None,
        language: str | None = None,
        analyser: str | None = None,
        shards: int | None = None,
    ) -> None:
        """Read or load nothing yet.

        `embedder` is an object or a name: of a hub model, which is fetched and converted once
        (``OWNER/NAME``, ``OWNER/NAME@REVISION``, ``OWNER/NAME#256`` for shorter vectors), of a
        folder, or of a server (`resift.index.embed.open_embedder`). None is the embedder of the
        settings, else the one that made the index, else the bundled one.

        `language` is that of the documents, for the lexical retriever: a name or an ISO 639 code,
        or ``none`` for no stems. `analyser` is ``words``, or ``trigrams`` for parts of words. A new
        index is for English ``words`` by default; an existing one is read as it was made, and any
        other choice raises `IndexMismatch` when it is opened.

        `shards` is for a new index of more than about 1,000,000 passages: its documents are spread
        over so many indexes, which are synced one after the other, published at once and searched
        side by side. The number never changes; None is that of the index, and 1 is no shards.

        Raises `InputError` and `SettingsError` for invalid arguments.
        """
        locate_index(uri)
        self.uri = os.fspath(uri)
        self._version = None if version is None else checked_version("version", version)
        settings = None if settings is None else checked_settings(settings)
        check_embedder(embedder)
        check_component("reranker", reranker, "rank", "Reranker(…)")
        choice = checked_choice(analyser, language)
        shards = checked_shards(shards)
        self._loader = ComponentLoader(
            self.uri, self._version, settings, embedder, reranker, choice, shards
        )
        self._maintenance = Maintenance(self._loader, self._version)
        self._open_again = partial(
            Index,
            self.uri,
            version=self._version,
            settings=settings,
            embedder=embedder,
            reranker=reranker,
            language=language,
            analyser=analyser,
            shards=shards,
        )
        self._async_searches = Background(_ASYNC_SEARCHES, "resift-asearch")

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
        """A pickle holds the arguments; the copy opens the index again."""
        return self._open_again, ()

    def sync(
        self,
        source_uri: str,
        progress: ProgressCallback | None = None,
        *,
        source_options: SourceOptions | None = None,
        token_states: bool = False,
        allow_unsafe: bool = False,
        allow_deletes: bool = False,
        workers: Workers | None = None,
    ) -> SyncReport:
        """Make the index hold what is below `source_uri`, and publish that as a new version.

        `source_options` says how to read the source, and is stored with the index; None means the
        options of the last sync. Any number of processes may sync at once. Versions that were
        replaced a week ago are deleted.

        With `token_states` the reranker precomputes the token states of every passage
        (`Reranker.precompute`). A search then computes only the query's states and the
        cross-attention layers, with the same result. The report has the size of the states in
        bytes. Documents that were indexed without token states are read again.

        `workers` are other processes that read, parse and embed: `resift.jobs.sync.RayWorkers`.

        Raises `SourceError` if the source cannot be read, `StoreError` if the index cannot be
        written, `UnsafeStore` if the index's store loses writes (unless `allow_unsafe`), and
        `MassDeletion` if most or all of the source's documents would be deleted from the index
        (unless `allow_deletes`). The report names files that cannot be read.
        """
        self._maintenance.refuse_pinned()
        check_sync(source_options, progress)
        consent = SyncConsent(
            checked_flag("allow_unsafe", allow_unsafe), checked_flag("allow_deletes", allow_deletes)
        )
        token_states = checked_flag("token_states", token_states)
        return self._maintenance.sync(
            source_uri, source_options, progress, token_states, consent, workers
        )

    def follow(
        self,
        source_uri: str,
        *,
        every_s: float | None = None,
        watch: bool = False,
        stop: threading.Event | None = None,
        progress: ProgressCallback | None = None,
        on_failure: Callable[[SyncFailure], None] | None = None,
        source_options: SourceOptions | Callable[[], SourceOptions] | None = None,
        token_states: bool = False,
        allow_unsafe: bool = False,
    ) -> Iterator[SyncReport]:
        """Sync again and again, and yield each report, until `stop` is set.

        A sync is due every `every_s` seconds or, with `watch`, when documents in the local folder
        have changed (needs the extra ``watch``) and, for changes that the system does not report,
        every `every_s` seconds or ten minutes. `stop` also ends a running sync, within a batch; the
        next one continues it.

        A sync that fails is tried again, after 2 s and then later each time up to 5 minutes.
        `on_failure` is called with each failure, which by default is logged. A mass deletion is
        refused and passed on once. Raises errors that no later sync can mend: `InputError`,
        `MissingExtra`, `IndexMismatch`, `UnsafeStore`, and the `ModelError` of a model that does
        not load. `source_options` apply to the first sync that succeeds; later ones use what the
        index has. A function is called for them once, when the first sync begins.
        """
        self._maintenance.refuse_pinned()
        check_follow(source_options, progress, stop, on_failure)
        consent = SyncConsent(checked_flag("allow_unsafe", allow_unsafe))
        token_states = checked_flag("token_states", token_states)
        when = When(every_s, checked_flag("watch", watch), stop or threading.Event())
        return self._maintenance.follow(
            source_uri, source_options, progress, token_states, consent, when, on_failure
        )

    def source_options(self, source_uri: str) -> SourceOptions:
        """The options of a source's last sync, or the default ones."""
        return self._maintenance.source_options(source_uri)

    def plan(
        self,
        source_uri: str,
        *,
        source_options: SourceOptions | None = None,
        token_states: bool = False,
        allow_deletes: bool = False,
    ) -> SyncPlan:
        """Estimate a `sync`: documents, passages, seconds, requests. Writes nothing."""
        check_sync(source_options)
        consent = SyncConsent(deletes=checked_flag("allow_deletes", allow_deletes))
        token_states = checked_flag("token_states", token_states)
        return self._maintenance.plan(source_uri, source_options, token_states, consent)

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
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
        long_documents: LongDocuments = "cut",
        collapse: Collapse | None = None,
    ) -> Ranking:
        """Find the `top_n` passages that answer `query` best, among `depth` candidates.

        `depth` is at least `top_n`. `where` is a filter on passages (`resift.index.table.where`
        describes the language). After `max_requests` to the object store, the search makes no
        others and ranks what it has. `exact`, `tolerance`, `fusion_weight`, `min_score`,
        `abstain_below` and `long_documents` are as in `Reranker.rank`; if some candidates were not
        read, `Ranking.abstained` is False. With ``collapse="document"`` hits are the best passages
        of `top_n` documents, as far as the candidates are of so many.

        `budget_ms` limits the whole call, including opening the index and loading models, which
        `load` does beforehand. A component that is not ready in time is left out, and opens in the
        background for the next call. None and infinity mean no limit; 0 uses only what is ready. A
        failing embedding server, retriever or reranker is left out too. The receipt is then
        `partial` and says why.

        Raises `InputError` for invalid arguments, `QueryError` for a query that is empty or that
        the reranker cannot read, `IndexNotFound` if the version, or any version, is missing,
        `RerankerClosed` if the reranker that was passed in is closed, and the error of a retriever
        if no retriever has a result.
        """
        clock = Clock(budget_ms)
        options = SearchOptions(
            top_n, depth, mode, rerank, where, max_requests,
            exact, tolerance, fusion_weight, min_score, abstain_below, long_documents, collapse,
        )  # fmt: skip
        return self._search(check_query(query), options, clock)

    async def asearch(
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
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
        long_documents: LongDocuments = "cut",
        collapse: Collapse | None = None,
        on_first_stage: Callable[[Ranking], Awaitable[None]] | None = None,
    ) -> Ranking:
        """`search` without blocking the event loop; raises the same errors.

        Threads retrieve, at most 32 at once, and `budget_ms` includes the wait of other searches;
        no thread waits for the reranker if it has `arank`. `on_first_stage` is awaited with the
        order of the first stage before reranking begins. Cancelling the task ends the call at once;
        a running read of the index continues to its end.
        """
        clock = Clock(budget_ms)
        options = SearchOptions(
            top_n, depth, mode, rerank, where, max_requests,
            exact, tolerance, fusion_weight, min_score, abstain_below, long_documents, collapse,
        )  # fmt: skip
        query = check_query(query)

        async def run(notes: tuple[str, ...]) -> Ranking:
            with self._loader.components(options.mode, options.rerank) as components:
                call = index_call(query, options, components, clock, notes)
                return await asearch(call, self._async_searches, on_first_stage)

        try:
            try:
                return await run(())
            except VersionGone as gone:
                notes = self._after(gone)
            return await run(notes)
        except asyncio.CancelledError:
            clock.cancel()
            raise

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

        Use it with another second stage, or to measure the first one. With `reranker`, candidates
        have the token states that it precomputed. Raises as `search` does.
        """
        options = SearchOptions(depth, depth, mode, where=where)
        query, clock = check_query(query), Clock()
        check_component("reranker", reranker, "precompute", "Reranker(…)")
        precomputer = ready(reranker) if reranker is not None else None

        def read(notes: tuple[str, ...]) -> Retrieved:
            with self._loader.components(options.mode, False) as components:
                components = replace(components, reranker=precomputer)
                return retrieve(index_call(query, options, components, clock, notes), components)

        return self._read(read)

    def load(self, mode: Mode = "hybrid", rerank: bool = True) -> None:
        """Load the models of a search, so that the first search does not wait for them.

        Reads nothing of the index. Raises `ModelError` if a model cannot be loaded.
        """
        self._loader.load(checked_mode(mode), checked_flag("rerank", rerank))

    def open(self) -> Version:
        """Open the version that searches read, and load its embedder, before the first search.

        Raises `IndexNotFound` and `StoreError` if it cannot be opened, and `ModelError`.
        """
        snapshot = self._loader.snapshot().result()
        self._loader.embedder(snapshot.version).result()
        return snapshot.version

    def renew(self) -> Version:
        """Open a newer version beside the open one, if there is one; searches never wait for it.

        Unlike `refresh`, which lets the next search open it. Raises as `open` does.
        """
        return self._loader.renew().version

    @property
    def opened(self) -> Version | None:
        """The version that searches read; None if none is open."""
        return self._loader.opened

    def passage(self, passage_id: str, before: int = 0, after: int = 0) -> Candidate | None:
        """The passage with this id, as `Hit.id` has it; None if the version has none.

        It has a citation, and no rank or score. With `before` and `after`, its text and citation
        are those of it and of up to so many passages around it in its document. Raises `InputError`
        if two passages have the id: of row ``x`` in the file ``a``, and of the file ``a#x``.
        """
        if not isinstance(passage_id, str):
            raise InputError(f"passage_id={shown(passage_id)}: expected text")
        before = checked_count("before", before, least=0)
        after = checked_count("after", after, least=0)
        return widened(self._read_passages, passage_id, before, after)

    def neighbours(
        self, passage: Hit | Candidate | str, before: int = 1, after: int = 1
    ) -> list[Candidate]:
        """Up to so many passages before and after one, in the order of their document.

        `passage` is a hit, a candidate, or the id of one. Raises `InputError` if the version has no
        such passage, has it with another text, or has two with that id.
        """
        given = checked_passage(passage)
        before = checked_count("before", before, least=0)
        after = checked_count("after", after, least=0)
        rows = neighbours(self._read_passages, given, before, after)
        return [as_candidate(row) for row in rows]

    def close(self) -> None:
        """Release the open version and the loaded models; a later call opens them again.

        Calls under way finish with the models that they hold. A reranker that this object loads is
        closed when its load and the last of these calls have ended. Then rankings stay readable,
        but `Ranking.explain` and `Ranking.compare` raise `RerankerClosed`. An embedder or reranker
        that was passed in is not closed.
        """
        self._loader.forget_version()
        self._loader.forget_models()

    def verify_citation(self, citation: Cited | Mapping[str, Any] | str) -> Verdict:
        """Read the source of a hit again, and check that it still has the same text.

        A hit, a candidate or a source of a context, or the same as JSON, is verified by its text,
        position and ETag, independently of the version of the index. An id is that of a passage in
        this version; of several with this id, the best verdict counts, and its `uri` says which.
        """
        return self.verify_citations([citation])[0]

    def verify_citations(
        self, citations: Iterable[Cited | Mapping[str, Any] | str]
    ) -> list[Verdict]:
        """A verdict for each citation, in order; ``malformed`` if it is not a citation."""

        def read(work: Callable[[OpenVersion], Any]) -> Any:
            return self._read(lambda notes: work(self._loader.snapshot().result()))

        verifier = CitationVerifier(self._loader.versions, read)
        return [verifier.verify(citation) for citation in checked_citations(citations)]

    def refresh(self) -> None:
        """Let the next search look for the newest version."""
        self._loader.forget_version()

    def versions(self) -> list[Version]:
        """The versions that can be searched, newest last. Raises `IndexNotFound` without any."""
        return self._maintenance.versions()

    def rollback(self, number: int) -> Version:
        """Publish version `number` again as the newest; the next `sync` continues from it."""
        self._maintenance.refuse_pinned()
        return self._maintenance.rollback(checked_version("number", number))

    def clean(self, *, keep: int = 1, older_than_days: float = KEEP_DAYS) -> tuple[list[int], int]:
        """Delete versions that were replaced `older_than_days` ago, except the last `keep`.

        Returns their numbers and the freed bytes. Readers that opened a version after it was
        replaced, or that have a copy, can still read it.
        """
        keep = checked_count("keep", keep)
        older_than_days = checked_days("older_than_days", older_than_days)
        return self._maintenance.clean(keep, older_than_days)

    def _search(self, query: str, options: SearchOptions, clock: Clock) -> Ranking:
        def run(notes: tuple[str, ...]) -> Ranking:
            with self._loader.components(options.mode, options.rerank) as components:
                return search(index_call(query, options, components, clock, notes))

        return self._read(run)

    def _read_passages(self, ids: Sequence[str]) -> list[Passage]:
        return self._read(lambda notes: self._loader.snapshot().result().view().find(ids))

    def _read(self, work: Callable[[tuple[str, ...]], T]) -> T:
        """Run `work` with the notes for its receipt.

        If the open version was deleted, run it once more on the newest version, with a note.
        """
        try:
            return work(())
        except VersionGone as gone:
            notes = self._after(gone)
        return work(notes)

    def _after(self, gone: VersionGone) -> tuple[str, ...]:
        """Continue with the newest version, with a note; raises `gone` for a pinned version."""
        if self._version is not None:
            raise gone
        self.refresh()
        return (f"version {gone.number} was gone: the newest was read",)
