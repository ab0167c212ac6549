"""``resift doctor``: check whether a folder or bucket is safe for an index."""

from dataclasses import asdict
from typing import Annotated

import typer

from resift.cli.options import AsJson
from resift.cli.output import console, print_json, printable, say


def doctor(
    uri: Annotated[str, typer.Argument(help="Folder or s3:// prefix for an index.")],
    as_json: AsJson = False,
) -> None:
    """Check whether a store keeps the promises that an index relies on. Exit 0: safe, 1: not."""
    from resift.index.storage.doctor import examine
    from resift.settings import Settings

    diagnosis = examine(uri, Settings.load().storage)
    if as_json:
        print_json(asdict(diagnosis) | {"is_safe": diagnosis.is_safe, "verdict": diagnosis.verdict})
    else:
        for check in diagnosis.checks:
            mark = "ok" if check.ok else "FAILS" if check.needed else "warning"
            say(f"{mark:8}{check.name:18}{check.detail}")
        line = f"{diagnosis.uri}: {diagnosis.verdict}"
        console.print(printable(line), markup=False, soft_wrap=True)
    if not diagnosis.is_safe:
        raise typer.Exit(1)
