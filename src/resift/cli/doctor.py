"""``resift doctor``: whether an index may be kept at a place."""

from dataclasses import asdict
from typing import Annotated

import typer

from resift.cli.options import AsJson
from resift.cli.output import console, print_json, printable, say


def doctor(
    uri: Annotated[str, typer.Argument(help="Folder or s3:// prefix where an index is to be.")],
    as_json: AsJson = False,
) -> None:
    """Try out whether a place keeps what an index relies on. Exit 0: safe, 1: not."""
    from resift.index.storage.doctor import examine
    from resift.settings import Settings

    found = examine(uri, Settings.load().storage)
    if as_json:
        print_json(asdict(found) | {"is_safe": found.is_safe, "verdict": found.verdict})
    else:
        for check in found.checks:
            mark = "ok" if check.ok else "FAILS" if check.needed else "warning"
            say(f"{mark:8}{check.name:18}{check.detail}")
        line = f"{found.uri}: {found.verdict}"
        console.print(printable(line), markup=False, soft_wrap=True)
    if not found.is_safe:
        raise typer.Exit(1)
