"""The verbs that maintain an index: ``versions``, ``rollback``, ``cleanup``, ``doctor``."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from resift.cli.options import AsJson, IndexUri
from resift.cli.output import print_json, print_line, print_status, print_table, waiting

if TYPE_CHECKING:
    from resift.index.versions.record import Version


def versions(uri: IndexUri, as_json: AsJson = False) -> None:
    """List the versions of an index; searches use the last one."""
    from resift.search.index import Index

    with waiting("reading the versions"):
        published = Index(uri).versions()
    if as_json:
        print_json([_facts(version) for version in published])
        return
    table = Table(show_edge=False, pad_edge=False, box=None)
    for name in ("version", "published", "documents", "passages", "MB", "vectors", "note"):
        table.add_column(name, justify="left" if name in ("published", "note") else "right")
    for version in published:
        size = sum(size for _, size in version.files) / 1e6
        table.add_row(
            str(version.number),
            version.created[:19].replace("T", " "),
            f"{version.documents:,}",
            f"{version.passages:,}",
            f"{size:.1f}",
            _describe(version),
            version.note,
        )
    print_table(table)


def rollback(
    number: Annotated[int, typer.Argument(metavar="VERSION", help="The version to go back to.")],
    uri: IndexUri,
    as_json: AsJson = False,
) -> None:
    """Publish an old version again as the newest; the next sync continues from it."""
    from resift.search.index import Index

    with waiting(f"going back to version {number}"):
        version = Index(uri).rollback(number)
    if as_json:
        print_json(_facts(version))
        return
    print_line(
        f"{uri}: version {version.number} is a copy of version {number}: "
        f"{version.documents:,} documents, {version.passages:,} passages"
    )


def cleanup(
    uri: IndexUri,
    keep: Annotated[int, typer.Option(help="Keep at least this many of the newest versions.")] = 1,
    older_than_days: Annotated[
        float, typer.Option(help="Delete only versions that were replaced this long ago.")
    ] = 7.0,
    as_json: AsJson = False,
) -> None:
    """Delete old versions, and the files that no other version needs."""
    from resift.search.index import Index

    with waiting("deleting old versions"):
        removed, freed = Index(uri).clean(keep=keep, older_than_days=older_than_days)
    if as_json:
        print_json({"removed": removed, "freed_bytes": freed})
        return
    print_line(
        f"{uri}: {len(removed)} versions deleted, {freed / 1e6:.1f} MB freed; the last {keep} and "
        f"those replaced in the last {older_than_days:g} days remain"
    )


def doctor(
    uri: Annotated[str, typer.Argument(help="Folder, or s3://, gs:// or az:// prefix.")],
    as_json: AsJson = False,
) -> None:
    """Check whether a store guarantees what an index relies on. Exit 0: safe, 1: not."""
    from resift.index.storage.doctor import examine
    from resift.settings import Settings

    with waiting(f"checking {uri}"):
        diagnosis = examine(uri, Settings.load().storage)
    if as_json:
        print_json(asdict(diagnosis) | {"is_safe": diagnosis.is_safe, "verdict": diagnosis.verdict})
    else:
        for check in diagnosis.checks:
            mark = "ok" if check.ok else "FAILS" if check.needed else "warning"
            print_status(f"{mark:8}{check.name:18}{check.detail}")
        print_line(f"{diagnosis.uri}: {diagnosis.verdict}")
    if not diagnosis.is_safe:
        raise typer.Exit(1)


def _describe(version: "Version") -> str:
    """How vectors are searched, in a few words."""
    search = version.vectors
    if search.kind == "exact":
        return "exact"
    return f"{search.kind}, ef {search.effort}, recall@100 {search.recall:.3f}"


def _facts(version: "Version") -> dict[str, object]:
    return {name: value for name, value in asdict(version).items() if name != "files"} | {
        "bytes": sum(size for _, size in version.files)
    }
