"""``resift judge``: shows candidates, and keeps what a person says of them as qrels."""

import os
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resift.cli.options import Model, refuse_pointless, uncalibrated
from resift.cli.output import say
from resift.errors import InputError
from resift.files import STDOUT as STDIN

if TYPE_CHECKING:
    from resift.evaluation.pool import Pools


class GradeScale(StrEnum):
    """How many grades there are."""

    two = "0-1"
    three = "0-2"
    four = "0-3"


def judge(
    queries: Annotated[
        Path, typer.Argument(help="BEIR folder, queries.jsonl, or a text file with a query a line.")
    ],
    uri: Annotated[
        str | None, typer.Option("--index", help="Folder or s3:// URI of the index searched.")
    ] = None,
    run: Annotated[
        list[Path],
        typer.Option(help="Instead: a TREC run over the BEIR folder; may be given again."),
    ] = [],  # noqa: B006
    output: Annotated[
        Path | None,
        typer.Option(help="Where judgments go.  [default: judgments.tsv beside the queries]"),
    ] = None,
    qrels: Annotated[
        Path | None, typer.Option(help="Judgments of others, where not in the folder; read only.")
    ] = None,
    pool: Annotated[int, typer.Option(help="How many documents each system puts in.")] = 10,
    model: Model = None,
    grades: Annotated[GradeScale, typer.Option(help="The grades; a key each.")] = GradeScale.three,
    web: Annotated[bool, typer.Option("--web", help="On a page, for this machine only.")] = False,
    port: Annotated[
        int | None, typer.Option(help="Of the page; any that is free by default, or for 0.")
    ] = None,
) -> None:
    """Judge by hand what lexical, dense, hybrid and reranked search find, or what runs have.

    Each key is on disk before the next candidate is shown; a later call goes on from there.
    Judgments that were there are read, and never changed.
    """
    from resift.evaluation.judging import Judging, visiting_order
    from resift.evaluation.judgments import Judgments
    from resift.evaluation.pool import Ahead
    from resift.evaluation.qrels import JUDGMENTS, find_qrels, read_qrels
    from resift.evaluation.queries import read_queries

    if not web:
        refuse_pointless("of the page; add --web, or leave it out", port=port)
    _refuse_stdin(queries, *run, qrels)
    texts = {name: text for name, text in read_queries(queries).items() if text.strip()}
    folder = queries if os.path.isdir(queries) else queries.parent
    others = qrels or find_qrels(folder)
    published = read_qrels(others) if others else {}
    with closing(Judgments(output or folder / JUDGMENTS, published)) as judgments:
        make = _pools(queries, texts, uri, model, run, pool)
        with Ahead(make, visiting_order(texts, judgments.begun)) as pools:
            judging = Judging(texts, pools, judgments, grades.value)
            if web:
                from resift.cli.judge_page import judge_on_page

                judge_on_page(judging, port or 0)
            else:
                from resift.cli.judge_terminal import judge_in_terminal

                judge_in_terminal(judging)
            is_done = judging.sheet() is None
    end = "nothing is left" if is_done else "the same call goes on from here"
    say(f"{judgments.file}: {judging.judged} judged; {end}")


def _refuse_stdin(*files: Path | None) -> None:
    if any(str(file) == STDIN for file in files):
        raise InputError("-: stdin is for the keys; name a file")


def _pools(
    path: Path,
    queries: dict[str, str],
    uri: str | None,
    model: str | None,
    files: list[Path],
    size: int,
) -> "Pools":
    from resift.evaluation.collection import open_collection
    from resift.evaluation.pool import pools_of_index, pools_of_runs
    from resift.evaluation.trec import read_run

    if bool(uri) == bool(files):
        raise InputError("expected candidates from one place: --index URI or --run RUN")
    if uri:
        from resift.search.index import Index

        return pools_of_index(Index(uri, settings=uncalibrated(model)), queries, size)
    refuse_pointless("reranks what an index finds; leave it out with --run", model=model)
    runs = {file: read_run(file) for file in files}
    return pools_of_runs(open_collection(path), queries, runs, size)
