"""``resift index``: bring an index up to date with a folder or bucket of documents."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer

from resift.cli.output import console, print_json, progress, say
from resift.index.sync import Progress, SyncReport

SHOWN = 20  # skipped files named one by one


def index(
    source: Annotated[str, typer.Argument(help="Folder, file or s3:// prefix of documents.")],
    uri: Annotated[str, typer.Option("--index", help="Folder or s3:// URI of the index.")],
    keep_states: Annotated[
        bool,
        typer.Option(
            "--keep-states",
            help="Keep the reranker's half of every passage: faster searches, a larger index.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Index .txt .md .html .pdf and .jsonl documents; a second run does only what has changed."""
    from resift.search.index import Index

    with sync_progress() as show:
        report = Index(uri).sync(source, show, keep_states=keep_states)
    if as_json:
        print_json(asdict(report))
        return
    print_skipped(report)
    console.print(
        f"{uri}: {report.added} added, {report.changed} changed, {report.deleted} deleted, "
        f"{report.unchanged} unchanged; {report.passages_embedded:,} passages embedded "
        f"in {report.seconds:.1f} s{_kept(report)}",
        markup=False,
        soft_wrap=True,
    )


def _kept(report: SyncReport) -> str:
    """What token states take, where some were written."""
    if not report.kept_bytes:
        return ""
    each = report.kept_bytes / report.passages_embedded
    return f"; states kept: {report.kept_bytes / 1e6:.1f} MB, {each / 1e3:.0f} kB a passage"


@contextmanager
def sync_progress() -> Iterator[Callable[[Progress], None]]:
    """A bar of objects read; passages and megabytes beside it."""
    with progress() as bar:
        task = bar.add_task("indexing", total=None, note="")

        def show(state: Progress) -> None:
            note = f"{state.passages:,} passages, {state.bytes / 1e6:.1f} MB"
            bar.update(task, completed=state.done_objects, total=state.total_objects, note=note)

        yield show


def print_skipped(report: SyncReport) -> None:
    """Name what was left out, and why, on stderr."""
    for uri, reason in report.skipped[:SHOWN]:
        say(f"skipped {uri}: {reason}")
    if len(report.skipped) > SHOWN:
        say(f"and {len(report.skipped) - SHOWN} more; --json lists all")
    if report.unsupported:
        say(f"{report.unsupported} files of other kinds were passed over")
