"""``resift calibrate``: a judged collection in, a file out that makes chances of scores."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from resift.cli.first_stage import open_first_stage
from resift.cli.options import (
    AsJson,
    FirstStageMode,
    FusionWeight,
    Mode,
    Model,
    refuse_pointless,
    uncalibrated,
)
from resift.cli.output import console, print_json, print_table, progress, say
from resift.errors import DatasetError, InputError, QueryError
from resift.files import check_output, is_stdout

if TYPE_CHECKING:
    from resift.evaluation.calibrate import Fitted, JudgedLogits
    from resift.evaluation.first_stage import FirstStage
    from resift.evaluation.judged import CalibrationReport, Grades
    from resift.evaluation.task import Task
    from resift.rerank.reranker import Reranker
    from resift.rerank.result import ScoredCandidates


def calibrate(
    collection: Annotated[Path, typer.Argument(help="BEIR folder with qrels.tsv.")],
    output: Annotated[
        Path, typer.Option(help="Where the calibration goes: a JSON file; - is stdout.")
    ],
    run: Annotated[Path | None, typer.Option(help="TREC run that gives the candidates.")] = None,
    uri: Annotated[
        str | None, typer.Option("--index", help="Index that does; else the corpus.")
    ] = None,
    mode: FirstStageMode = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgments, where not in the folder.")] = None,
    depth: Annotated[int, typer.Option(help="Candidates a query.")] = 100,
    relevant: Annotated[int, typer.Option(help="The least grade of an answer.")] = 1,
    judged_only: Annotated[
        bool, typer.Option("--judged-only", help="Leave unjudged candidates out.")
    ] = False,
    model: Model = None,
    fusion_weight: FusionWeight = None,
    as_json: AsJson = False,
) -> None:
    """Fit scores to judgments, so that of what scores 0.8 four in five are answers.

    Without a run or an index the corpus is indexed. Candidates that nobody judged count as none.
    """
    from resift.evaluation.judged import Reckoning, judge
    from resift.evaluation.judged import calibrate as fit
    from resift.evaluation.task import make_task
    from resift.rerank.calibration import WHAT, is_calibration, write_calibration
    from resift.rerank.reranker import Reranker

    if run and uri:
        raise InputError(f"--run {run} and --index {uri}: expected one first stage; leave one out")
    if run:
        refuse_pointless("a run has no arms; leave it out with --run", mode=mode)
    if depth < 1:
        raise InputError(f"depth={depth}: expected 1 or more")
    if as_json and is_stdout(output):
        raise InputError(f"--output {output} and --json: both go to stdout; name a file")
    check_output(output, WHAT, is_calibration)
    task = make_task(collection, qrels, relevant, None)
    if not task.qrels:
        raise DatasetError(f"{collection}: no judgments: expected qrels.tsv in it, or --qrels FILE")
    reranker = Reranker(model, settings=uncalibrated())
    first_stage = open_first_stage(collection, run, uri, mode or Mode.hybrid, depth, reranker)
    for note in (*task.notes, *first_stage.notes):
        say(f"note: {note}")
    readings = _readings(task, first_stage, reranker, depth)
    made = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "collection": collection.resolve().name,
        "first_stage": first_stage.name,
        "depth": str(depth),
        "answers": f"grade {relevant} and more",
        "unjudged": "left out" if judged_only else "no answers",
    }
    report = fit(judge(readings, Reckoning(relevant, judged_only, fusion_weight)), made)
    write_calibration(output, report.calibration)
    if as_json:
        print_json(_as_json(report))
    elif not is_stdout(output):
        _print(report)
    if is_stdout(output):
        say("written to stdout: what is kept of it in a file is used as --calibration FILE")
    else:
        say(f"{output}: use it as --calibration {output} or RESIFT_CALIBRATION")


def _readings(
    task: "Task",
    first_stage: "FirstStage",
    reranker: "Reranker",
    depth: int,
) -> Iterator[tuple["ScoredCandidates", "Grades"]]:
    """Queries that cannot be read are named and left out."""
    with progress() as bar:
        shown = bar.add_task("reading", total=len(task.queries), note="queries")
        for query_id, query in task.queries.items():
            try:
                window = first_stage.window(query_id, query, depth)
                yield reranker.score_candidates(query, window.candidates), task.qrels[query_id]
            except QueryError as error:
                say(f"query {query_id} is left out: {error}")
            bar.update(shown, advance=1)


def _print(report: "CalibrationReport") -> None:
    own = report.calibration
    console.print(
        f"{own.model}: {own.pairs:,} pairs of {own.queries:,} queries, {own.relevant:,} answers",
        markup=False,
        soft_wrap=True,
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
    for table in (ways, bins):
        console.print()
        print_table(table)


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
