"""``resift verify-citation``: does the source still say what a passage says?"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from resift.cli.output import console, print_json, printable
from resift.errors import InputError


def verify_citation(
    passages: Annotated[
        list[str], typer.Argument(help="Passage ids, or - for lines of `resift search --json`.")
    ],
    uri: Annotated[str, typer.Option("--index", help="Folder or s3:// URI of the index.")],
    version: Annotated[int | None, typer.Option(help="The version that was searched.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Read the sources of passages again; exit 1 if one does not say so any more."""
    from resift.search.index import Index

    index = Index(uri, version=version)
    verdicts = [index.verify_citation(passage) for passage in _ids(passages)]
    if as_json:
        print_json([asdict(verdict) for verdict in verdicts])
    else:
        for verdict in verdicts:
            line = f"{verdict.standing}  {verdict.passage_id}: {verdict.detail}"
            console.print(printable(line), markup=False, soft_wrap=True)
    if not all(verdict.is_good for verdict in verdicts):
        raise typer.Exit(1)


def _ids(passages: list[str]) -> Iterator[str]:
    for given in passages:
        if given != "-":
            yield given
            continue
        for number, line in enumerate(sys.stdin, start=1):
            try:
                yield str(json.loads(line)["id"])
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"line {number}: expected a hit of `resift search --json`, with its id"
                ) from error
