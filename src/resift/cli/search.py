"""``resift search``: two stages over an index."""

from enum import StrEnum
from typing import Annotated

import typer

from resift.cli.explanation import ExplainOption, check_explain, print_answer


class Mode(StrEnum):
    """Which arms of the first stage look."""

    hybrid = "hybrid"
    dense = "dense"
    lexical = "lexical"


def search(
    query: Annotated[str, typer.Argument(help="What to search for.")],
    uri: Annotated[str, typer.Option("--index", help="Folder or s3:// URI of the index.")],
    top_n: Annotated[int, typer.Option(help="How many to print.")] = 10,
    depth: Annotated[int, typer.Option(help="How many candidates are reranked.")] = 100,
    budget_ms: Annotated[float | None, typer.Option(help="Stop after this many ms.")] = None,
    mode: Annotated[Mode, typer.Option(help="The first stage.")] = Mode.hybrid,
    no_rerank: Annotated[bool, typer.Option("--no-rerank", help="First stage only.")] = False,
    where: Annotated[
        str | None, typer.Option(help="Only passages like this: \"lang = 'en' and year >= 2020\".")
    ] = None,
    version: Annotated[int | None, typer.Option(help="An older version of the index.")] = None,
    max_requests: Annotated[
        int | None, typer.Option(help="Begin nothing more once so many were made to the store.")
    ] = None,
    explain: ExplainOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a hit.")] = False,
) -> None:
    """Search an index: retrieve, fuse, rerank."""
    from resift.search.index import Index

    check_explain(explain, reranked=not no_rerank)
    ranking = Index(uri, version=version).search(
        query,
        top_n,
        depth,
        mode.value,
        rerank=not no_rerank,
        budget_ms=budget_ms,
        where=where,
        max_requests=max_requests,
    )
    print_answer(ranking, as_json, explain)
