"""``resift versions``, ``rollback``, ``cleanup``: list, restore and delete versions."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from resift.cli.options import AsJson, IndexUri
from resift.cli.output import console, print_json, print_table

if TYPE_CHECKING:
    from resift.index.versions.record import Version


def versions(uri: IndexUri, as_json: AsJson = False) -> None:
    """List the versions of an index that can be searched; readers get the last one."""
    from resift.search.index import Index

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
            describe(version),
            version.note,
        )
    print_table(table)


def rollback(
    number: Annotated[int, typer.Argument(metavar="VERSION", help="The version to go back to.")],
    uri: IndexUri,
    as_json: AsJson = False,
) -> None:
    """Publish an old version once more, as the newest; the next sync goes on from there."""
    from resift.search.index import Index

    version = Index(uri).rollback(number)
    if as_json:
        print_json(_facts(version))
        return
    console.print(
        f"{uri}: version {version.number} is version {number} again: "
        f"{version.documents:,} documents, {version.passages:,} passages",
        markup=False,
        soft_wrap=True,
    )


def cleanup(
    uri: IndexUri,
    keep: Annotated[int, typer.Option(help="Keep at least this many of the newest versions.")] = 1,
    older_than_days: Annotated[
        float, typer.Option(help="Delete only versions replaced at least this long ago.")
    ] = 7.0,
    as_json: AsJson = False,
) -> None:
    """Delete old versions and the files that no other version needs."""
    from resift.search.index import Index

    removed, freed = Index(uri).clean(keep=keep, older_than_days=older_than_days)
    if as_json:
        print_json({"removed": removed, "freed_bytes": freed})
        return
    console.print(
        f"{uri}: {len(removed)} versions deleted, {freed / 1e6:.1f} MB freed; the last {keep} and "
        f"those that were replaced in the last {older_than_days:g} days stay",
        markup=False,
        soft_wrap=True,
    )


def describe(version: "Version") -> str:
    """How vectors are searched, in a few words."""
    how = version.vectors
    if how.kind == "exact":
        return "exact"
    return f"{how.kind}, ef {how.effort}, recall@100 {how.recall:.3f}"


def _facts(version: "Version") -> dict[str, object]:
    return {name: value for name, value in asdict(version).items() if name != "files"} | {
        "bytes": sum(size for _, size in version.files)
    }
