"""What `Index` does to an index beside searching it: sync, plan, follow, rollback and cleaning.

Arguments are checked already, but for the sources of a sync.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from resift.errors import InputError
from resift.index.embed import Models, Precomputer, precomputer_of
from resift.index.follow import FailureCallback, follow, open_trigger
from resift.index.part_work import Workers
from resift.index.plan import SyncPlan, plan
from resift.index.publish import clean, rollback
from resift.index.report import SyncReport
from resift.index.run import Progress, ProgressCallback
from resift.index.shards.publish import clean_whole, rollback_whole
from resift.index.shards.sync import shard_count, sync_shards
from resift.index.source_options import SourceOptions
from resift.index.sources.source import open_source
from resift.index.storage.location import locate
from resift.index.sync import SyncConsent, last_source_options, sync
from resift.index.table.store import Store
from resift.index.versions.published import Versions
from resift.index.versions.record import Version
from resift.search.components import ComponentLoader
from resift.search.options import check_sync

DAY_S = 86_400.0
KEEP_DAYS = 7.0


@dataclass(frozen=True, slots=True)
class When:
    """When a source is synced again: every so many seconds, or when files change; until `stop`."""

    every_s: float | None
    watch: bool
    stop: threading.Event


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Writes to the index of `loader`, and refuses to if that reads the version `pinned`."""

    loader: ComponentLoader
    pinned: int | None

    def refuse_pinned(self) -> None:
        """Raise `InputError` for a pinned version."""
        if self.pinned is not None:
            raise InputError(f"version={self.pinned}: a version never changes: leave it out")

    def sync(
        self,
        source_uri: str,
        source_options: SourceOptions | None,
        progress: ProgressCallback | None,
        token_states: bool,
        consent: SyncConsent,
        workers: Workers | None = None,
    ) -> SyncReport:
        """Sync, and delete versions that were replaced long ago."""
        source = open_source(source_uri, self.loader.settings.storage)
        newest = self.loader.versions.newest()  # soon an error if nobody is there
        versions = self.loader.versions.patient()
        shards = shard_count(versions, newest, self.loader.shards)
        work = partial(sync_shards, shards=shards) if shards > 1 else sync
        with _models(self.loader, newest, token_states) as models:
            report = work(
                source,
                versions,
                models,
                source_options=source_options,
                progress=progress,
                consent=consent,
                workers=workers,
            )
        self.loader.forget_version()
        listed = versions.listed()
        # Once a day at most: cleaning looks at every version.
        if len(listed) > 1 and listed[1][1] < time.time() - (KEEP_DAYS + 1) * DAY_S:
            self.clean(1, KEEP_DAYS)
        return report

    def follow(
        self,
        source_uri: str,
        source_options: SourceOptions | Callable[[], SourceOptions] | None,
        progress: ProgressCallback | None,
        token_states: bool,
        consent: SyncConsent,
        when: When,
        on_failure: FailureCallback | None,
    ) -> Iterator[SyncReport]:
        """Sync again and again; a function gives the options when the first sync begins.

        They are used until a sync has stored them; later ones use those of the index.
        """
        trigger = open_trigger(
            locate(source_uri),
            self.loader.versions.location,
            when.every_s,
            when.watch,
            lambda: self.source_options(source_uri).globs,
        )
        options = source_options

        def sync_once(check: ProgressCallback) -> SyncReport:
            def show(state: Progress) -> None:
                check(state)
                if progress:
                    progress(state)

            nonlocal options
            if callable(options):
                options = options()
                check_sync(options)
            report = self.sync(source_uri, options, show, token_states, consent)
            options = None
            return report

        return follow(sync_once, trigger, when.stop, on_failure)

    def source_options(self, source_uri: str) -> SourceOptions:
        """The options of a source's last sync, or the default ones."""
        versions = self.loader.versions
        uri = open_source(source_uri, self.loader.settings.storage).uri
        return last_source_options(versions, versions.newest(), uri)

    def plan(
        self,
        source_uri: str,
        source_options: SourceOptions | None,
        token_states: bool,
        consent: SyncConsent,
    ) -> SyncPlan:
        """Estimate a sync."""
        source = open_source(source_uri, self.loader.settings.storage)
        newest = self.loader.versions.newest()
        shards = shard_count(self.loader.versions, newest, self.loader.shards)
        with _models(self.loader, newest, token_states) as models:
            return plan(
                source,
                self.loader.versions,
                models,
                source_options,
                consent=consent,
                shards=shards,
            )

    def versions(self) -> list[Version]:
        """The versions that can be searched, newest last."""
        readable = self.loader.versions.readable()
        if not readable:  # raises, and names damaged ones
            self.loader.versions.find()
        return readable

    def rollback(self, number: int) -> Version:
        """Publish a version again as the newest."""
        old = self.loader.versions.get(number)
        versions = self.loader.versions.patient()
        if old.shards:
            embedder = self.loader.embedder(old).result()
            version = rollback_whole(versions, number, embedder, self._open_table(old))
        else:
            version = rollback(self._open_table(old)(versions), versions, number)
        self.loader.forget_version()
        return version

    def clean(self, keep: int, older_than_days: float) -> tuple[list[int], int]:
        """Delete versions that were replaced so long ago, except the last `keep`."""
        newest, older_than_s = self.loader.versions.find(), older_than_days * DAY_S
        versions = self.loader.versions.patient()
        open_table = self._open_table(newest)
        if newest.shards:
            return clean_whole(versions, keep, older_than_s, open_table)
        return clean(open_table(versions), versions, keep, older_than_s)

    def _open_table(self, version: Version) -> Callable[[Versions], Store]:
        """A function that opens the table of `version`, or of a shard of it, for writing."""
        embedder, analyser = self.loader.embedder(version).result(), self.loader.analyser
        return lambda versions: Store.open(versions.location, embedder, analyser)


@contextmanager
def _models(
    loader: ComponentLoader, newest: Version | None, token_states: bool
) -> Iterator[Models]:
    """The models of a sync, open until the end of the block; `newest` is the version before it."""
    embedder = loader.embedder(newest).result()
    with loader.reranker() as job:
        yield Models(
            embedder,
            lambda: _precomputer(job().result(), token_states),
            token_states,
            loader.analyser,
            lambda threads: partial(_models_elsewhere, loader.elsewhere(threads), token_states),
        )


@contextmanager
def _models_elsewhere(
    make_loader: Callable[[], ComponentLoader], token_states: bool
) -> Iterator[Models]:
    """The models of a sync in another process."""
    loader = make_loader()
    try:
        newest = loader.versions.patient().newest()  # the store has responded to this sync
        with _models(loader, newest, token_states) as models:
            yield models
    finally:
        loader.forget_models()


def _precomputer(reranker: object, token_states: bool) -> Precomputer | None:
    """The reranker, if it can precompute; raises `InputError` if it must and cannot."""
    precomputer = precomputer_of(reranker)
    if token_states and not getattr(precomputer, "precomputes_states", True):
        raise InputError(
            "token_states: this reranker is a cross-encoder and has no token states of a "
            "document alone; leave token_states out"
        )
    if token_states and precomputer is None:
        raise InputError("token_states: this reranker has no method precompute")
    return precomputer
