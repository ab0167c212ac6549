"""``resift index``: sync a folder or bucket of documents into an index."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from resift.cli import options
from resift.cli.options import AsJson, IndexUri, Model, refuse_pointless, uncalibrated
from resift.cli.output import print_json, print_line, print_status, sync_progress
from resift.cli.skipped import print_skipped, report_as_json

if TYPE_CHECKING:
    from resift.cli.source_options import OptionChanges
    from resift.index.plan import SyncPlan
    from resift.index.report import SyncReport
    from resift.index.source_options import SourceOptions
    from resift.jobs.cluster import Cluster
    from resift.jobs.sync import RayWorkers
    from resift.search.index import Index


def index(
    source: Annotated[
        str, typer.Argument(help="Folder, file, or s3://, gs://, az:// or public https:// prefix.")
    ],
    uri: IndexUri,
    include: Annotated[
        list[str] | None, Option(help="Index only files that match this .gitignore pattern.")
    ] = None,
    exclude: Annotated[
        list[str] | None, Option(help="Exclude matching files; indexed ones are removed.")
    ] = None,
    text_column: Annotated[
        list[str] | None, Option(help="Column of the text, or PATTERN=COLUMN.  [default: text]")
    ] = None,
    title_column: Annotated[
        list[str] | None, Option(help="Column of the title.  [default: title]")
    ] = None,
    id_column: Annotated[
        list[str] | None, Option(help="Column of the id.  [default: _id or id]")
    ] = None,
    max_mb: Annotated[float | None, Option(help="Skip larger files.  [default: 100]")] = None,
    max_seconds: Annotated[
        float | None, Option(help="Skip files that take longer to parse.  [default: 60]")
    ] = None,
    follow_links: Annotated[
        bool | None, Option("--follow-links/--no-follow-links", help="Follow symbolic links.")
    ] = None,
    forget: Annotated[
        bool, Option("--forget", help="Start from the default options, not the remembered ones.")
    ] = False,
    embedder: Annotated[
        str | None, Option(help="bundled, wordllama, OWNER/NAME of a hub, a folder or URL#model.")
    ] = None,
    language: Annotated[
        str | None, Option(help="Language of a new index, en or english, or none.  [default: en]")
    ] = None,
    analyser: Annotated[
        str | None, Option(help="Terms of a new index: words, or trigrams for parts of words.")
    ] = None,
    shards: Annotated[
        int | None, Option(help="Shards of a new index; for over 1,000,000 passages.  [default: 1]")
    ] = None,
    token_states: Annotated[
        bool, Option("--token-states", help="Store token states: faster search, larger index.")
    ] = False,
    model: Model = None,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Show what a sync would do; write nothing.")
    ] = False,
    allow_deletes: Annotated[
        bool, Option("--allow-deletes", help="Continue even if most documents are gone.")
    ] = False,
    unsafe_store: Annotated[
        bool, Option("--unsafe-store", help="Write even to a store that can lose writes.")
    ] = False,
    every: Annotated[
        str | None, Option(help="Sync again and again: every 30s, 5m, 2h, 1d, until it is ended.")
    ] = None,
    watch: Annotated[
        bool, Option("--watch", help="Sync each time files in the local folder change.")
    ] = False,
    list_skipped: Annotated[
        bool, Option("--list-skipped", help="Name each file that is not read, with the reason.")
    ] = False,
    ray: options.Ray = None,
    workers: options.Workers = None,
    worker_cpus: options.WorkerCpus = None,
    as_json: AsJson = False,
) -> None:
    """Index documents and publish them as a new version; later runs read only changed files.

    Reads text, Markdown, HTML, PDF, source code, JSON, XML, notebooks, mails, subtitles and tables,
    and office files with the extra office. The index remembers the options for reading a source
    (files, columns, limits, links).
    """
    from resift.cli.follow import FollowOptions, follow_source, interval
    from resift.cli.source_options import OptionChanges
    from resift.search.index import Index

    cluster = options.cluster(ray, workers, worker_cpus)
    if every or watch or dry_run:
        refuse_pointless("leave it out with --dry-run, --every and --watch", ray=ray)
    follow_options = FollowOptions(interval(every), watch)
    if follow_options:
        refuse_pointless(
            "is for a single sync; leave it out with --every and --watch",
            dry_run=dry_run,
            allow_deletes=allow_deletes,
            list_skipped=list_skipped,
        )
    settings = uncalibrated(model)
    settings = replace(settings, embedder=embedder or settings.embedder)
    target = Index(uri, settings=settings, language=language, analyser=analyser, shards=shards)
    changes = OptionChanges(
        include, exclude, text_column, title_column, id_column, max_mb, max_seconds, follow_links
    )
    if follow_options:
        follow_source(
            target,
            source,
            lambda: _source_options(target, source, changes, forget),
            follow_options,
            as_json,
            token_states=token_states,
            allow_unsafe=unsafe_store,
        )
        return
    source_options = _source_options(target, source, changes, forget)
    if dry_run:
        plan = target.plan(
            source,
            source_options=source_options,
            token_states=token_states,
            allow_deletes=allow_deletes,
        )
        _print_plan(plan, as_json, list_skipped)
        return
    with _told_to_go_on(), sync_progress() as show:
        report = target.sync(
            source,
            show,
            source_options=source_options,
            token_states=token_states,
            allow_unsafe=unsafe_store,
            allow_deletes=allow_deletes,
            workers=_workers_of(cluster),
        )
    _print_report(target, report, as_json, list_skipped)


@contextmanager
def _told_to_go_on() -> Iterator[None]:
    """Tell at Ctrl-C that the work was not for nothing."""
    try:
        yield
    except KeyboardInterrupt:
        print_status("stopped: nothing is published, and the same command goes on from here")
        raise


def _workers_of(cluster: "Cluster | None") -> "RayWorkers | None":
    """The workers of a cluster, which do the sync."""
    if cluster is None:
        return None
    from resift.jobs.sync import RayWorkers

    return RayWorkers(cluster)


def _source_options(
    target: "Index", source: str, changes: "OptionChanges", forget: bool
) -> "SourceOptions":
    """The remembered options with the changes of this run; prints changed or remembered ones."""
    from resift.cli.source_options import describe, differences
    from resift.errors import StoreError
    from resift.index.source_options import DEFAULT_OPTIONS

    try:
        before = target.source_options(source)
    except StoreError:  # damaged
        if not forget:
            raise
        before = DEFAULT_OPTIONS
    source_options = changes.apply(DEFAULT_OPTIONS if forget else before)
    changed = differences(before, source_options)
    if before != DEFAULT_OPTIONS and changed:
        print_status(f"options changed: {', '.join(changed)}")
    elif before != DEFAULT_OPTIONS:
        print_status(f"remembered options: {describe(before)}")
    return source_options


def _print_plan(plan: "SyncPlan", as_json: bool, list_skipped: bool) -> None:
    if as_json:
        print_json(report_as_json(plan, list_skipped))
        return
    print_skipped(plan, list_skipped)
    about = "" if plan.sampled == plan.added + plan.changed else "about "
    without = ", without the embedding on a server" if plan.embeds_elsewhere else ""
    print_line(
        f"would add {plan.added}, change {plan.changed}, delete {plan.deleted}, leave "
        f"{plan.unchanged}: {plan.bytes / 1e6:.1f} MB to read, {about}{plan.passages:,} passages "
        f"to embed, about {_duration(plan.seconds)}{without}, about {plan.requests:,} requests "
        f"({plan.sampled} documents were read for this estimate)"
    )
    if plan.refusal:
        print_status(f"the sync would stop: {plan.refusal}")


def _print_report(target: "Index", report: "SyncReport", as_json: bool, list_skipped: bool) -> None:
    if as_json:
        print_json(report_as_json(report, list_skipped))
        return
    print_skipped(report, list_skipped)
    if report.other_sources:
        print_status(f"the index also holds {', '.join(report.other_sources)}")
    reused = f", {report.passages_reused:,} reused" if report.passages_reused else ""
    unread = f", {report.unread} unreadable, unchanged in the index" if report.unread else ""
    emptied = f", {report.emptied} no longer with text" if report.emptied else ""
    options = "; the changed options are remembered" if report.options_changed else ""
    print_line(
        f"{target.uri}: version {report.version}: {report.added} added, {report.changed} changed, "
        f"{report.deleted} deleted, {report.unchanged} unchanged, {report.unindexed} not indexed"
        f"{unread}{emptied}; {report.passages_embedded:,} passages embedded{reused} "
        f"in {report.seconds:.1f} s{_token_states(report)}{options}"
    )


def _token_states(report: "SyncReport") -> str:
    """The size of the token states, if any were written."""
    if not report.precomputed_bytes:
        return ""
    written = report.passages_embedded + report.passages_reused - report.passages_resumed
    size = report.precomputed_bytes / written
    return (
        f"; token states: {report.precomputed_bytes / 1e6:.1f} MB, {size / 1e3:.0f} kB per passage"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
