"""``resift calibrate``: fit a calibration to a judged collection and write it to a file."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from resift.cli.options import (
    AsJson,
    FirstStageMode,
    FusionWeight,
    Mode,
    Model,
    check_first_stage,
    open_first_stage,
    uncalibrated,
)
from resift.cli.output import (
    console,
    print_json,
    print_status,
    print_table,
    progress,
    waiting,
)
from resift.errors import DatasetError, InputError, QueryError
from resift.files import check_output, is_stdout
from resift.types import DEPTH

RUN_DEPTH = 100  # the usual depth of a run; an index is calibrated at the depth of `search`

if TYPE_CHECKING:
    from resift.evaluation.calibrate import CalibrationReport, Grades, HeldOutFit, JudgedLogits
    from resift.evaluation.collection import Task
    from resift.evaluation.first_stage import FirstStage
    from resift.rerank.reranker import Reranker
    from resift.rerank.result import ScoredCandidates


def calibrate(
    collection: Annotated[Path, typer.Argument(help="BEIR folder with qrels.tsv.")],
    output: Annotated[
        Path, typer.Option(help="JSON file to write the calibration to; - is stdout.")
    ],
    run: Annotated[Path | None, typer.Option(help="First stage: a TREC run, plain or .gz.")] = None,
    uri: Annotated[
        str | None, typer.Option("--index", help="First stage: an index; else the corpus.")
    ] = None,
    mode: FirstStageMode = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgments, if not in the folder.")] = None,
    depth: Annotated[
        int | None,
        typer.Option(help=f"Candidates per query.  [default: {RUN_DEPTH} of a run, else {DEPTH}]"),
    ] = None,
    relevant: Annotated[int, typer.Option(help="Lowest grade that counts as relevant.")] = 1,
    judged_only: Annotated[
        bool, typer.Option("--judged-only", help="Leave out unjudged candidates.")
    ] = False,
    model: Model = None,
    fusion_weight: FusionWeight = None,
    as_json: AsJson = False,
) -> None:
    """Turn scores into probabilities: of the documents that score 0.8, 80 % are relevant.

    Without --run and --index, the corpus is indexed. Unjudged candidates count as not relevant.
    """
    from resift.evaluation.calibrate import LabelOptions, label_pairs
    from resift.evaluation.calibrate import calibrate as fit
    from resift.evaluation.collection import load_task
    from resift.rerank.calibration import WHAT, is_calibration, write_calibration
    from resift.rerank.reranker import Reranker

    check_first_stage(run, uri, mode)
    depth = (RUN_DEPTH if run else DEPTH) if depth is None else depth
    if depth < 1:
        raise InputError(f"depth={depth}: expected 1 or more")
    if as_json and is_stdout(output):
        raise InputError(f"--output {output} and --json: both go to stdout; name a file")
    check_output(output, WHAT, is_calibration)
    with waiting("reading the queries"):
        task = load_task(collection, qrels, relevant, None)
    if not task.qrels:
        raise DatasetError(f"{collection}: no judgments: expected qrels.tsv in it, or --qrels FILE")
    reranker = Reranker(model, settings=uncalibrated())
    first_stage = open_first_stage(collection, run, uri, mode or Mode.hybrid, depth, reranker)
    for note in (*task.notes, *first_stage.notes):
        print_status(f"note: {note}")
    scored = _scored_queries(task, first_stage, reranker, depth)
    made = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "collection": collection.resolve().name,
        "first_stage": first_stage.name,
        "depth": str(depth),
        "relevant": f"grade {relevant} and more",
        "unjudged": "left out" if judged_only else "not relevant",
    }
    judged = label_pairs(scored, LabelOptions(relevant, judged_only, fusion_weight))
    report = fit(judged, made)
    write_calibration(output, report.calibration)
    if as_json:
        print_json(_as_json(report))
    elif not is_stdout(output):
        _print(report)
    if is_stdout(output):
        print_status("written to stdout: save it to a file and use it by --calibration FILE")
    else:
        print_status(f"{output}: use it by --calibration {output} or RESIFT_CALIBRATION")


def _scored_queries(
    task: "Task", first_stage: "FirstStage", reranker: "Reranker", depth: int
) -> Iterator[tuple["ScoredCandidates", "Grades"]]:
    """Yield the scored candidates and the grades of each query; report unreadable queries."""
    with progress() as bar:
        bar_task = bar.add_task("scoring", total=len(task.queries), note="queries")
        for query_id, query in task.queries.items():
            try:
                retrieved = first_stage.retrieve(query_id, query, depth)
                yield reranker.score_candidates(query, retrieved.candidates), task.qrels[query_id]
            except QueryError as error:
                print_status(f"query {query_id} is left out: {error}")
            bar.update(bar_task, advance=1)


def _scales(report: "CalibrationReport") -> "Iterator[tuple[str, HeldOutFit, JudgedLogits]]":
    """Yield name, fit and pairs of the plain scale, then of the fused scale if it exists."""
    yield "plain", report.plain, report.judged.plain
    if report.fused and report.judged.fused:
        yield "fused", report.fused, report.judged.fused


def _print(report: "CalibrationReport") -> None:
    """Print the errors of each method, the chosen one in bold, and its reliability."""
    from resift.evaluation.calibrate import reliability

    calibration = report.calibration
    console.print(
        f"{calibration.model}: {calibration.pairs:,} pairs of {calibration.queries:,} queries, "
        f"{calibration.relevant:,} relevant",
        markup=False,
        soft_wrap=True,
    )
    titles = {
        "plain": "logits alone",
        "fused": f"with the first stage at {calibration.fusion_weight:g}",
    }
    for name, held_out, judged in _scales(report):
        fit = held_out.fit
        methods = _table(titles[name], "log loss", "calibration error")
        for method, loss in fit.log_loss.items():
            style = "bold" if method == fit.curve.method else ""
            error = f"{fit.calibration_error[method]:.4f}"
            methods.add_row(method, f"{loss:.4f}", error, style=style)
        bins = _table("pairs", "mean score", "relevant")
        for bin in reliability(held_out.held_out, judged.relevant):
            bins.add_row(f"{bin.pairs:,}", f"{bin.probability:.4f}", f"{bin.relevant_share:.4f}")
        for table in (methods, bins):
            console.print()
            print_table(table)


def _table(first: str, *others: str) -> Table:
    table = Table(show_edge=False, pad_edge=False, box=None)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _as_json(report: "CalibrationReport") -> dict[str, Any]:
    """The calibration file's content, and the bins of the calibration error."""
    from resift.evaluation.calibrate import reliability

    bins = {
        name: [asdict(bin) for bin in reliability(held_out.held_out, judged.relevant)]
        for name, held_out, judged in _scales(report)
    }
    return asdict(report.calibration) | {"reliability": bins}
