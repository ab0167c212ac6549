"""``resift index``: bring an index up to date with a folder or bucket of documents."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from resift.cli.output import console, print_json, progress, say
from resift.settings import Settings

if TYPE_CHECKING:
    from resift.index.plan import Plan
    from resift.index.sync import Progress, SyncReport
    from resift.search.index import Index

SHOWN = 20  # skipped files named one by one
Flag = typer.Option


def index(
    source: Annotated[str, typer.Argument(help="Folder, file or s3:// prefix of documents.")],
    uri: Annotated[str, Flag("--index", help="Folder or s3:// URI of the index.")],
    include: Annotated[list[str], Flag(help="Only keys like this; * is anything.")] = [],  # noqa: B006
    exclude: Annotated[list[str], Flag(help="No keys like this; those indexed go.")] = [],  # noqa: B006
    text_column: Annotated[str, Flag(help="Of .jsonl .csv .parquet rows: the text.")] = "text",
    title_column: Annotated[str, Flag(help="The same: the title.")] = "title",
    id_column: Annotated[str | None, Flag(help="The same: the id.  [default: _id or id]")] = None,
    max_mb: Annotated[float, Flag(help="Larger files are skipped.")] = 100.0,
    max_seconds: Annotated[float, Flag(help="Files that take longer to parse, too.")] = 60.0,
    embedder: Annotated[str | None, Flag(help="bundled, wordllama, folder, URL#model.")] = None,
    keep_states: Annotated[
        bool, Flag("--keep-states", help="Keep the reranker's half: faster, larger.")
    ] = False,
    dry_run: Annotated[bool, Flag("--dry-run", help="Say what would be done.")] = False,
    unsafe_store: Annotated[
        bool, Flag("--unsafe-store", help="Write even where writes can be lost.")
    ] = False,
    as_json: Annotated[bool, Flag("--json", help="One JSON document.")] = False,
) -> None:
    """Index documents, and publish them as a new version; a second run does what has changed.

    Reads .txt .md .html .pdf .jsonl .csv .tsv .parquet, and office files with resift[office].
    """
    from resift.index.parsing.columns import Columns
    from resift.index.parsing.limits import Limits
    from resift.index.source import Globs
    from resift.index.sync import Reading
    from resift.search.index import Index

    settings = Settings.load()
    target = Index(uri, settings=replace(settings, embedder=embedder or settings.embedder))
    reading = Reading(
        globs=Globs(tuple(include), tuple(exclude)),
        columns=Columns(text_column, title_column, id_column),
        limits=Limits(max_bytes=int(max_mb * 1e6), max_seconds=max_seconds),
    )
    if dry_run:
        _print_plan(target.plan(source, reading=reading, keep_states=keep_states), as_json)
        return
    with sync_progress() as show:
        report = target.sync(
            source, show, reading=reading, keep_states=keep_states, allow_unsafe=unsafe_store
        )
    _print_report(target, report, as_json)


def _print_plan(plan: "Plan", as_json: bool) -> None:
    if as_json:
        print_json(asdict(plan))
        return
    _name_skipped(plan.skipped)
    about = "" if plan.sampled == plan.added + plan.changed else "about "
    console.print(
        f"would add {plan.added}, change {plan.changed}, delete {plan.deleted}, leave "
        f"{plan.unchanged}: {plan.bytes / 1e6:.1f} MB to read, {about}{plan.passages:,} passages "
        f"to embed, about {_duration(plan.seconds)}, about {plan.requests:,} requests "
        f"({plan.sampled} documents were read to say so)",
        markup=False,
        soft_wrap=True,
    )


def _print_report(target: "Index", report: "SyncReport", as_json: bool) -> None:
    if as_json:
        print_json(asdict(report))
        return
    print_skipped(report)
    reused = f", {report.passages_reused:,} had vectors" if report.passages_reused else ""
    console.print(
        f"{target.uri}: version {report.version}: {report.added} added, {report.changed} changed, "
        f"{report.deleted} deleted, {report.unchanged} unchanged; "
        f"{report.passages_embedded:,} passages embedded{reused} "
        f"in {report.seconds:.1f} s{_kept(report)}",
        markup=False,
        soft_wrap=True,
    )


def _kept(report: "SyncReport") -> str:
    """What token states take, where some were written."""
    if not report.kept_bytes:
        return ""
    each = report.kept_bytes / (report.passages_embedded + report.passages_reused)
    return f"; states kept: {report.kept_bytes / 1e6:.1f} MB, {each / 1e3:.0f} kB a passage"


@contextmanager
def sync_progress() -> Iterator[Callable[["Progress"], None]]:
    """A bar of objects read; passages, megabytes and the rate beside it."""
    with progress() as bar:
        task = bar.add_task("indexing", total=None, note="")

        def show(state: "Progress") -> None:
            own = bar.tasks[task]
            rate = state.done_objects / own.elapsed if own.elapsed else 0.0
            note = (
                f"{state.done_objects:,}/{state.total_objects:,} documents, "
                f"{state.passages:,} passages, {state.bytes / 1e6:.1f} MB, {rate:.0f}/s"
            )
            bar.update(task, completed=state.bytes, total=state.total_bytes, note=note)

        yield show


def print_skipped(report: "SyncReport") -> None:
    """Name what was left out, and why, on stderr."""
    _name_skipped(report.skipped)
    if report.unsupported:
        say(f"{report.unsupported} files of other kinds were passed over")


def _name_skipped(skipped: tuple[tuple[str, str], ...]) -> None:
    for uri, reason in skipped[:SHOWN]:
        say(f"skipped {uri}: {reason}")
    if len(skipped) > SHOWN:
        say(f"and {len(skipped) - SHOWN} more; --json lists all")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
