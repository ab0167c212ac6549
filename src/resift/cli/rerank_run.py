"""``resift rerank-run``: a BEIR folder and a TREC run in, a TREC run out."""

from pathlib import Path
from typing import Annotated

import typer

from resift.cli.output import progress, say
from resift.errors import InputError, QueryError
from resift.files import STDOUT, check_output


def rerank_run(
    collection: Annotated[Path, typer.Argument(help="BEIR folder: corpus.jsonl, queries.jsonl.")],
    run: Annotated[Path, typer.Option(help="TREC run of a first stage, plain or .gz.")],
    output: Annotated[
        Path, typer.Option(help="Where the reranked run goes, plain or .gz; - is stdout.")
    ],
    depth: Annotated[int, typer.Option(help="Candidates reranked a query.")] = 100,
    fusion_weight: Annotated[
        float | None, typer.Option(help="Weight of the run's own scores; 0 leaves them out.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Artifact folder; bundled by default.")] = None,
) -> None:
    """Rerank every query of a run; what lies beyond the depth keeps its order behind."""
    from resift.evaluation.collection import open_collection
    from resift.evaluation.rerank_run import prepare, rerank_run
    from resift.evaluation.trec import WHAT, is_own_run, read_run, write_run
    from resift.rerank.reranker import Reranker
    from resift.types import Ranking

    check_output(output, WHAT, is_own_run)
    if str(output) != STDOUT and output.is_file() and run.exists() and output.samefile(run):
        raise InputError(f"{output}: is the run itself; name another file")
    reranker = Reranker(model)
    job = prepare(open_collection(collection), read_run(run), depth, str(run))
    for note in job.notes:
        say(f"note: {note}")
    pairs = sum(min(len(documents), depth) for documents in job.run.values())
    with progress() as bar:
        task = bar.add_task("reranking", total=pairs, note="")
        weights: set[float] = set()

        def advance(query_id: str, result: Ranking | QueryError) -> None:
            if isinstance(result, Ranking):
                weights.add(result.receipt.fusion_weight)
            elif query_id in job.queries:
                say(f"query {query_id} keeps its order: {result}")
            bar.update(task, advance=min(len(job.run[query_id]), depth), note="pairs")

        write_run(output, rerank_run(job, reranker, fusion_weight, advance))
    used = ", ".join(f"{weight:g}" for weight in sorted(weights))
    say(f"{output}: {len(job.run)} queries, {pairs:,} pairs, first stage's weight {used or 'none'}")
