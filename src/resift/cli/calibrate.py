"""``resift calibrate``: a judged collection in, a file out that makes chances of scores."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from resift.cli.index import sync_progress
from resift.cli.output import console, print_json, progress, say
from resift.errors import InputError, QueryError
from resift.settings import Settings

if TYPE_CHECKING:
    from resift.evaluation.calibrate import Fitted, JudgedLogits
    from resift.evaluation.collection import Collection
    from resift.evaluation.first_stage import FirstStage
    from resift.evaluation.judgments import CalibrationReport, Grades
    from resift.rerank.reading import Reading
    from resift.rerank.reranker import Reranker


def calibrate(
    collection: Annotated[Path, typer.Argument(help="BEIR folder with qrels.tsv.")],
    output: Annotated[Path, typer.Option(help="Where the calibration goes: a JSON file.")],
    run: Annotated[Path | None, typer.Option(help="TREC run that gives the candidates.")] = None,
    index: Annotated[str | None, typer.Option(help="Index that does, if no run is given.")] = None,
    depth: Annotated[int, typer.Option(help="Candidates a query.")] = 100,
    relevant: Annotated[int, typer.Option(help="The least grade of an answer.")] = 1,
    judged_only: Annotated[
        bool, typer.Option("--judged-only", help="Leave unjudged candidates out.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="Artifact folder; bundled by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Fit scores to judgments, so that of what scores 0.8 four in five are answers.

    Without a run or an index the corpus is indexed. Candidates that nobody judged count as none.
    """
    from resift.evaluation.collection import open_collection
    from resift.evaluation.judgments import Judging, judge
    from resift.evaluation.judgments import calibrate as fit
    from resift.rerank.calibration import write_calibration
    from resift.rerank.reranker import Reranker

    if run is not None and index is not None:
        raise InputError(f"--run {run} --index {index}: expected one of them")
    if depth < 1:
        raise InputError(f"depth={depth}: expected 1 or more")
    if not output.parent.is_dir():
        raise InputError(f"{output}: the folder {output.parent} does not exist")
    settings = replace(Settings.load(), calibration=None)  # the one to be replaced
    judged_collection = open_collection(collection)
    qrels = judged_collection.qrels()
    queries = {name: own for name, own in judged_collection.queries().items() if name in qrels}
    first_stage = _first_stage(judged_collection, run, index, settings, depth)
    reranker = Reranker(model, settings=settings)
    readings = _readings(queries, qrels, first_stage, reranker, depth)
    made = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "collection": collection.resolve().name,
        "first_stage": first_stage.name,
        "depth": str(depth),
        "answers": f"grade {relevant} and more",
        "unjudged": "left out" if judged_only else "no answers",
    }
    report = fit(judge(readings, Judging(relevant, judged_only)), made)
    write_calibration(output, report.calibration)
    if as_json:
        print_json(_as_json(report))
    else:
        _print(report)
    say(f"{output}: use it as --calibration {output} or RESIFT_CALIBRATION")


def _first_stage(
    collection: "Collection", run: Path | None, uri: str | None, settings: Settings, depth: int
) -> "FirstStage":
    from resift.evaluation.first_stage import FromIndex, from_run, index_corpus
    from resift.evaluation.trec import read_run
    from resift.search.index import Index

    if run is not None:
        return from_run(collection, read_run(run), run.name, depth)
    if uri is not None:
        return FromIndex(Index(uri, settings=settings))
    with sync_progress() as show:
        return FromIndex(index_corpus(collection, settings, show))


def _readings(
    queries: Mapping[str, str],
    qrels: Mapping[str, "Grades"],
    first_stage: "FirstStage",
    reranker: "Reranker",
    depth: int,
) -> Iterator[tuple["Reading", "Grades"]]:
    """Queries that cannot be read are named and left out."""
    with progress() as bar:
        task = bar.add_task("reading", total=len(queries), note="queries")
        for query_id, query in queries.items():
            try:
                window = first_stage.window(query_id, query, depth)
                yield reranker.read(query, window.candidates), qrels[query_id]
            except QueryError as error:
                say(f"query {query_id} is left out: {error}")
            bar.update(task, advance=1)


def _print(report: "CalibrationReport") -> None:
    own = report.calibration
    console.print(
        f"{own.model}: {own.pairs:,} pairs of {own.queries:,} queries, {own.relevant:,} answers",
        markup=False,
    )
    _print_scale("logits alone", report.plain, report.judged.plain)
    if report.fused and report.judged.fused:
        name = f"with the first stage at {own.fusion_weight:g}"
        _print_scale(name, report.fused, report.judged.fused)


def _print_scale(name: str, fitted: "Fitted", judged: "JudgedLogits") -> None:
    """What each way does, the chosen one in bold, and its reliability."""
    from resift.evaluation.reliability import reliability

    fit = fitted.fit
    ways = _table(name, "log loss", "calibration error")
    for way, loss in fit.log_loss.items():
        style = "bold" if way == fit.curve.method else ""
        ways.add_row(way, f"{loss:.4f}", f"{fit.calibration_error[way]:.4f}", style=style)
    bins = _table("pairs", "mean score", "answers")
    for own in reliability(fitted.held_out, judged.relevant):
        bins.add_row(f"{own.pairs:,}", f"{own.chance:.4f}", f"{own.share:.4f}")
    console.print("", ways, "", bins)


def _table(first: str, *others: str) -> Table:
    table = Table(show_edge=False, pad_edge=False, box=None)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _as_json(report: "CalibrationReport") -> dict[str, Any]:
    """What was written, and the bins that its error comes from."""
    from resift.evaluation.reliability import reliability

    scales = (("plain", report.plain, report.judged.plain),
              ("fused", report.fused, report.judged.fused))  # fmt: skip
    return asdict(report.calibration) | {
        "reliability": {
            name: [asdict(own) for own in reliability(fitted.held_out, judged.relevant)]
            for name, fitted, judged in scales
            if fitted is not None and judged is not None
        }
    }
