"""``resift eval``: does reranking help on these queries?"""

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resift.cli.eval_report import print_ablation, print_evaluation
from resift.cli.first_stage import open_first_stage
from resift.cli.output import print_json, progress, say
from resift.cli.search import Mode
from resift.errors import BelowFloor, InputError

FIRST_STAGE = "first-stage"

if TYPE_CHECKING:
    from resift.evaluation.evaluate import Plan
    from resift.evaluation.second_stage import SecondStage
    from resift.evaluation.task import Task
    from resift.search.index import Index


def evaluate(
    collection: Annotated[
        Path, typer.Argument(help="BEIR folder; with --index also a file of queries.")
    ],
    run: Annotated[Path | None, typer.Option(help="First stage: a TREC run, plain or .gz.")] = None,
    uri: Annotated[
        str | None, typer.Option("--index", help="First stage: an index; else the corpus.")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="Which arms of an index look.")] = Mode.hybrid,
    qrels: Annotated[Path | None, typer.Option(help="Judgments, where not in the folder.")] = None,
    depths: Annotated[str, typer.Option(help="Candidates reranked a query.")] = "10,20,50,100",
    queries: Annotated[int | None, typer.Option(min=1, help="Only so many, spread evenly.")] = None,
    relevant: Annotated[
        int, typer.Option(min=1, help="The least grade that counts as relevant.")
    ] = 1,
    compare: Annotated[
        list[str] | None,
        typer.Option(help='A reranker: FOLDER, bundled, "bundled?fusion_weight=0&exact=false".'),
    ] = None,
    target_ms: Annotated[
        float | None, typer.Option(help="Advise a depth whose p95 stays below this.")
    ] = None,
    fail_below: Annotated[
        str | None,
        typer.Option(help="Exit 1 where nDCG@10 is below: a number, or first-stage."),
    ] = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Each arm of the index alone, reranked, fused.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Measure the first stage against reranked, and say whether it helps. Needs the eval extra."""
    from resift.evaluation.evaluate import Plan
    from resift.evaluation.evaluate import evaluate as measure
    from resift.evaluation.first_stage import FromIndex
    from resift.evaluation.page import check_page, write_page
    from resift.evaluation.task import make_task

    if run and (uri or ablation):
        other = f"--index {uri}" if uri else "--ablation, which is of an index"
        raise InputError(f"--run {run} and {other}: expected one first stage; leave one out")
    if html and ablation:
        raise InputError(f"--html {html} and --ablation, which has no page: leave one out")
    plan = Plan(_depths(depths), relevant, target_ms)
    floor = _floor(fail_below)
    if html:
        check_page(html)
    task = make_task(collection, qrels, relevant, queries)
    systems = _systems(compare or ["bundled"])
    first_stage = open_first_stage(collection, run, uri, mode, plan.depths[-1], systems[0].reranker)
    if ablation and isinstance(first_stage, FromIndex):
        _ablate(task, first_stage.index, systems[0], plan, as_json)
        return
    with progress() as bar:
        shown = bar.add_task("reranking", total=len(task.queries), note="queries")
        found = measure(task, first_stage, systems, plan, lambda _: bar.update(shown, advance=1))
    if html:
        write_page(html, found)
    if as_json:
        print_json(found.as_dict())
    else:
        print_evaluation(found)
    if html:
        say(f"{html}: the same with plots")
    if floor is not None:
        _hold(found.main(), floor)


def _ablate(
    task: "Task", index: "Index", system: "SecondStage", plan: "Plan", as_json: bool
) -> None:
    from resift.evaluation.ablation import ablate
    from resift.search.retrieval import MODES

    with progress() as bar:
        shown = bar.add_task("reranking", total=len(MODES) * len(task.queries), note="queries")
        parts = ablate(task, index, system, plan.depths[-1], plan.relevant,
                       lambda: bar.update(shown, advance=1))  # fmt: skip
    if as_json:
        print_json([asdict(part) for part in parts])
    else:
        print_ablation(parts)


def _systems(texts: list[str]) -> "list[SecondStage]":
    from resift.evaluation.second_stage import SecondStage, parse_setting
    from resift.rerank.reranker import Reranker

    settings = [parse_setting(text) for text in texts]
    models = {setting.model: Reranker(setting.model) for setting in settings}
    return [SecondStage(setting, models[setting.model]) for setting in settings]


def _depths(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--depths {text}: expected whole numbers like 10,20,50,100") from error


def _floor(text: str | None) -> float | None:
    """A number, or infinity below zero for the first stage's own; None for no gate."""
    if text is None:
        return None
    if text == FIRST_STAGE:
        return -math.inf
    try:
        floor = float(text)
    except ValueError:
        floor = math.nan
    if not 0 <= floor <= 1:
        raise InputError(f"--fail-below {text}: expected a number in 0..1, or {FIRST_STAGE}")
    return floor


def _hold(main: tuple[float, float] | None, floor: float) -> None:
    """Raise `BelowFloor` where quality is below the floor, or not known."""
    if main is None:
        raise BelowFloor("--fail-below: there are no judgments, so that nothing holds it")
    before, after = main
    least = before if floor == -math.inf else floor
    if after < least:
        what = " of the first stage" if floor == -math.inf else ""
        raise BelowFloor(f"nDCG@10 is {after:.4f}, below {least:.4f}{what}")
