"""``resift eval``: does reranking help on these queries?"""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resift.cli.eval_report import print_ablation, print_evaluation, print_notes
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
from resift.cli.output import print_json, progress, say
from resift.errors import BelowFloor, InputError
from resift.files import is_stdout
from resift.settings import Settings

FIRST_STAGE = "first-stage"

if TYPE_CHECKING:
    from resift.evaluation.ablation import Variant
    from resift.evaluation.evaluate import EvaluationPlan
    from resift.evaluation.first_stage import FirstStage
    from resift.evaluation.second_stage import SecondStage, Setting
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
    mode: FirstStageMode = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgments, where not in the folder.")] = None,
    depths: Annotated[str, typer.Option(help="Candidates reranked a query.")] = "10,20,50,100",
    queries: Annotated[int | None, typer.Option(min=1, help="Only so many, spread evenly.")] = None,
    relevant: Annotated[
        int, typer.Option(min=1, help="The least grade that counts as relevant.")
    ] = 1,
    model: Model = None,
    fusion_weight: FusionWeight = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help='Others: FOLDER, bundled, "bundled?fusion_weight=0&exact=false".'),
    ] = None,
    target_ms: Annotated[
        float | None, typer.Option(help="Advise a depth whose p95 stays below this.")
    ] = None,
    fail_below: Annotated[
        str | None,
        typer.Option(help="Exit 3 where nDCG@10 is below: a number, or first-stage."),
    ] = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Each arm of the index alone, reranked, fused.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots; - is stdout.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the first stage against reranked, and say whether it helps. Needs the eval extra."""
    from resift.evaluation.evaluate import EvaluationPlan
    from resift.evaluation.first_stage import FromIndex
    from resift.evaluation.page import check_page
    from resift.evaluation.task import make_task

    _check_together(run, uri, html, ablation, as_json)
    _check_effect(run, ablation, fail_below, mode, compare, target_ms)
    mode = mode or Mode.hybrid
    plan = EvaluationPlan(_depths(depths), relevant, target_ms)
    floor = _floor(fail_below)
    if html:
        check_page(html)
    task = make_task(collection, qrels, relevant, queries)
    systems = _systems(_named(model, fusion_weight, compare or []))
    first_stage = open_first_stage(collection, run, uri, mode, plan.depths[-1], systems[0].reranker)
    main: tuple[float, float] | None
    if ablation and isinstance(first_stage, FromIndex):
        print_notes((*task.notes, *first_stage.notes))
        main = _of_mode(_ablate(task, first_stage.index, systems[0], plan, as_json), mode)
    else:
        main = _evaluate(task, first_stage, systems, plan, html, as_json)
    if floor is not None:
        _hold(main, floor)


def _check_together(
    run: Path | None, uri: str | None, html: Path | None, ablation: bool, as_json: bool
) -> None:
    """Raise `InputError` for options that exclude each other."""
    if run and (uri or ablation):
        other = f"--index {uri}" if uri else "--ablation, which is of an index"
        raise InputError(f"--run {run} and {other}: expected one first stage; leave one out")
    if html and ablation:
        raise InputError(f"--html {html} and --ablation, which has no page: leave one out")
    if as_json and is_stdout(html):
        raise InputError(f"--html {html} and --json: both go to stdout; name a file for the page")


def _check_effect(
    run: Path | None,
    ablation: bool,
    fail_below: str | None,
    mode: Mode | None,
    compare: list[str] | None,
    target_ms: float | None,
) -> None:
    """Raise `InputError` for options that change nothing beside the others."""
    if run:
        refuse_pointless("a run has no arms; leave it out with --run", mode=mode)
    if ablation:
        refuse_pointless("the ablation measures one reranker; leave it out", compare=compare)
        refuse_pointless("the ablation advises no depth; leave it out", target_ms=target_ms)
    if ablation and fail_below is None:
        refuse_pointless("the ablation measures all; leave it out, or add --fail-below", mode=mode)


def _evaluate(
    task: "Task",
    first_stage: "FirstStage",
    systems: "list[SecondStage]",
    plan: "EvaluationPlan",
    html: Path | None,
    as_json: bool,
) -> tuple[float, float] | None:
    """Measure, print, and write the page last: what was measured is not lost with it."""
    from resift.evaluation.evaluate import evaluate as measure
    from resift.evaluation.page import write_page

    with progress() as bar:
        shown = bar.add_task("reranking", total=len(task.queries), note="queries")
        found = measure(task, first_stage, systems, plan, lambda _: bar.update(shown, advance=1))
    if as_json:
        print_json(found.as_dict())
    elif not is_stdout(html):
        print_evaluation(found)
    if html:
        write_page(html, found)
        if not is_stdout(html):
            say(f"{html}: the same with plots")
    return found.main()


def _ablate(
    task: "Task", index: "Index", system: "SecondStage", plan: "EvaluationPlan", as_json: bool
) -> "list[Variant]":
    from resift.evaluation.ablation import ablate
    from resift.search.options import MODES

    with progress() as bar:
        shown = bar.add_task("reranking", total=len(MODES) * len(task.queries), note="queries")
        parts = ablate(task, index, system, plan.depths[-1], plan.relevant,
                       lambda: bar.update(shown, advance=1))  # fmt: skip
    if as_json:
        print_json([asdict(part) for part in parts])
    else:
        print_ablation(parts)
    return parts


def _of_mode(parts: "Sequence[Variant]", mode: Mode) -> tuple[float, float]:
    """The main measure of one mode, as it is and with the reranker and its own say."""
    from resift.evaluation.measures import PRIMARY

    first, fused = (
        next(part for part in parts if (part.mode, part.second) == (mode.value, second))
        for second in ("none", "fused")
    )
    return first.measures[PRIMARY], fused.measures[PRIMARY]


def _named(
    model: str | None, fusion_weight: float | None, others: Sequence[str]
) -> "list[Setting]":
    """What is to be compared: the reranker of --model first, or else the first of the others."""
    from resift.evaluation.second_stage import Setting, parse_setting

    settings = [parse_setting(text) for text in others]
    if settings and model is None and fusion_weight is None:
        return settings
    named = model if model is not None else Settings.load().model or "bundled"
    label = named
    if fusion_weight is not None:
        label += f"?fusion_weight={fusion_weight:g}"
    return [Setting(label, named, fusion_weight), *settings]


def _systems(settings: "Sequence[Setting]") -> "list[SecondStage]":
    """Their models, each loaded once, without caches: what was read before is no measure of time.

    Raises `InputError` for a weight that is no number from 0.
    """
    from resift.evaluation.second_stage import SecondStage
    from resift.rerank.reranker import Reranker

    fresh = replace(uncalibrated(), cache_mb=0, cache_file=None, state_cache_mb=0)
    models = {setting.model: Reranker(setting.model, settings=fresh) for setting in settings}
    return [SecondStage(setting, models[setting.model]) for setting in settings]


def _depths(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"--depths {text:.40}: expected whole numbers like 10,20,50,100"
        ) from error


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
