"""``resift eval``: does reranking help on these queries?"""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resift.cli.eval_report import print_ablation, print_evaluation, print_notes
from resift.cli.options import (
    AsJson,
    FirstStageMode,
    FusionWeight,
    LongDocuments,
    Mode,
    Model,
    ReadLong,
    check_first_stage,
    open_first_stage,
    refuse_pointless,
    uncalibrated,
)
from resift.cli.output import print_json, print_status, progress, waiting
from resift.errors import BelowFloor, InputError
from resift.files import is_stdout
from resift.settings import Settings

FIRST_STAGE = "first-stage"

if TYPE_CHECKING:
    from resift.evaluation.collection import Task
    from resift.evaluation.evaluate import EvaluationPlan
    from resift.evaluation.first_stage import FirstStage
    from resift.evaluation.result import Variant
    from resift.evaluation.second_stage import SecondStage, SystemOptions
    from resift.search.index import Index


def evaluate(
    collection: Annotated[
        Path,
        typer.Argument(help="BEIR folder; with --index or --first-stage also a file of queries."),
    ],
    run: Annotated[Path | None, typer.Option(help="First stage: a TREC run, plain or .gz.")] = None,
    uri: Annotated[
        str | None, typer.Option("--index", help="First stage: an index; else the corpus.")
    ] = None,
    first_stage: Annotated[
        str | None,
        typer.Option(help="First stage: MODULE:ATTRIBUTE, or ENGINE:TARGET?table=…&text=…"),
    ] = None,
    mode: FirstStageMode = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgments, if not in the folder.")] = None,
    depths: Annotated[str, typer.Option(help="Numbers of candidates to rerank.")] = "10,20,50,100",
    queries: Annotated[
        int | None, typer.Option(min=1, help="Use at most this many queries, spread evenly.")
    ] = None,
    relevant: Annotated[int, typer.Option(min=1, help="Lowest grade that counts as relevant.")] = 1,
    model: Model = None,
    fusion_weight: FusionWeight = None,
    long_documents: ReadLong = LongDocuments.cut,
    compare: Annotated[
        list[str] | None,
        typer.Option(help='More rerankers: FOLDER, bundled, "bundled?exact=false".'),
    ] = None,
    target_ms: Annotated[
        float | None, typer.Option(help="Advise a depth whose p95 latency stays below this.")
    ] = None,
    fail_below: Annotated[
        str | None,
        typer.Option(help="Exit with 3 if nDCG@10 is below this number, or first-stage."),
    ] = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Measure each mode alone, reranked and fused.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write an HTML report; - is stdout.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure whether reranking improves on the first stage. Needs the eval extra."""
    from resift.evaluation.collection import load_task
    from resift.evaluation.evaluate import EvaluationPlan
    from resift.evaluation.first_stage import FromIndex
    from resift.evaluation.from_retriever import open_named
    from resift.evaluation.report.page import check_page
    from resift.index.embed import precomputer_of

    check_first_stage(run, uri, mode)
    if first_stage is not None:
        _check_named(run, uri, mode, ablation)
    if ablation:
        _refuse_with_ablation(run, html, compare, target_ms, mode if fail_below is None else None)
    if as_json and is_stdout(html):
        raise InputError(f"--html {html} and --json: both go to stdout; name a file for the page")
    mode = mode or Mode.hybrid
    plan = EvaluationPlan(_depths(depths), relevant, target_ms)
    floor = _floor(fail_below)
    if html:
        check_page(html)
    named = None if first_stage is None else open_named(first_stage, Settings.load())
    with waiting("reading the queries and loading the rerankers"):
        task = load_task(collection, qrels, relevant, queries)
        systems = _load(_system_options(model, fusion_weight, long_documents.value, compare or []))
    primary: tuple[float, float] | None
    if named is not None:
        with named as retriever:
            primary = _evaluate(task, retriever, systems, plan, html, as_json)
    else:
        precomputer = precomputer_of(systems[0].reranker)
        stage = open_first_stage(collection, run, uri, mode, plan.depths[-1], precomputer)
        if ablation and isinstance(stage, FromIndex):
            print_notes((*task.notes, *stage.notes))
            primary = _primary_measure(_ablate(task, stage.index, systems[0], plan, as_json), mode)
        else:
            primary = _evaluate(task, stage, systems, plan, html, as_json)
    if floor is not None:
        _check_floor(primary, floor)


def _check_named(run: Path | None, uri: str | None, mode: Mode | None, ablation: bool) -> None:
    """Raise `InputError` for what --first-stage excludes; never prints its value."""
    for option, value in (("--run", run), ("--index", uri)):
        if value:
            raise InputError(
                f"{option} {value} and --first-stage: expected one first stage; leave one out"
            )
    refuse_pointless("is for an index; with --first-stage use its option mode", mode=mode)
    refuse_pointless("needs an index; leave it out with --first-stage", ablation=ablation)


def _refuse_with_ablation(
    run: Path | None,
    html: Path | None,
    compare: list[str] | None,
    target_ms: float | None,
    mode: Mode | None,
) -> None:
    """Raise `InputError` for options that an ablation excludes or that have no effect on it."""
    if run:
        raise InputError(f"--run {run} and --ablation: an ablation needs an index; leave one out")
    if html:
        raise InputError(f"--html {html} and --ablation: an ablation has no report; leave one out")
    refuse_pointless("the ablation measures one reranker; leave it out", compare=compare)
    refuse_pointless("the ablation advises no depth; leave it out", target_ms=target_ms)
    refuse_pointless("the ablation measures all; leave it out, or add --fail-below", mode=mode)


def _evaluate(
    task: "Task",
    first_stage: "FirstStage",
    systems: "list[SecondStage]",
    plan: "EvaluationPlan",
    html: Path | None,
    as_json: bool,
) -> tuple[float, float] | None:
    """Measure, print, and then write the page: the figures are printed even if that fails."""
    from resift.evaluation.evaluate import evaluate as measure
    from resift.evaluation.report.page import write_page

    with progress() as bar:
        bar_task = bar.add_task("reranking", total=len(task.queries), note="queries")
        evaluation = measure(
            task, first_stage, systems, plan, lambda: bar.update(bar_task, advance=1)
        )
    if as_json:
        print_json(evaluation.as_dict())
    elif not is_stdout(html):
        print_evaluation(evaluation)
    if html:
        write_page(html, evaluation)
        if not is_stdout(html):
            print_status(f"{html}: report with plots")
    return evaluation.main()


def _ablate(
    task: "Task", index: "Index", system: "SecondStage", plan: "EvaluationPlan", as_json: bool
) -> "list[Variant]":
    from resift.evaluation.evaluate import ablate
    from resift.search.options import MODES

    with progress() as bar:
        bar_task = bar.add_task("reranking", total=len(MODES) * len(task.queries), note="queries")
        variants = ablate(task, index, system, plan.depths[-1], plan.relevant,
                       lambda: bar.update(bar_task, advance=1))  # fmt: skip
    if as_json:
        print_json([asdict(variant) for variant in variants])
    else:
        print_ablation(variants)
    return variants


def _primary_measure(variants: "Sequence[Variant]", mode: Mode) -> tuple[float, float]:
    """The primary measure of one mode, without reranking and fused."""
    from resift.evaluation.measures import PRIMARY

    first, fused = (
        next(v for v in variants if (v.mode, v.reranking) == (mode.value, reranking))
        for reranking in ("none", "fused")
    )
    return first.measures[PRIMARY], fused.measures[PRIMARY]


def _system_options(
    model: str | None,
    fusion_weight: float | None,
    long_documents: str,
    compare: Sequence[str],
) -> "list[SystemOptions]":
    """The rerankers to compare: the default one, unless only --compare is given, and the others."""
    from resift.evaluation.second_stage import SystemOptions, parse_system
    from resift.rerank.options import checked_long_documents

    others = [parse_system(text) for text in compare]
    given = [] if fusion_weight is None else [f"fusion_weight={fusion_weight:g}"]
    if long_documents != "cut":
        given.append(f"long_documents={long_documents}")
    if others and model is None and not given:
        return others
    name = model if model is not None else Settings.load().model or "bundled"
    label = name + ("?" + "&".join(given) if given else "")
    mode = checked_long_documents(long_documents)
    return [SystemOptions(label, name, fusion_weight, long_documents=mode), *others]


def _load(systems: "Sequence[SystemOptions]") -> "list[SecondStage]":
    """Load each model once, without caches, which would distort the timings."""
    from resift.evaluation.second_stage import SecondStage
    from resift.rerank.families.names import open_ranker

    uncached = replace(uncalibrated(), cache_mb=0, cache_file=None, state_cache_mb=0)
    models = {  # without fallbacks: another model's order must not count as this one's
        options.model: open_ranker(options.model, fallback=None, settings=uncached)
        for options in systems
    }
    return [SecondStage(options, models[options.model]) for options in systems]


def _depths(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"--depths {text:.40}: expected whole numbers like 10,20,50,100"
        ) from error


def _floor(text: str | None) -> float | None:
    """The lowest allowed nDCG@10, minus infinity for the first stage's; None without a floor."""
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


def _check_floor(primary: tuple[float, float] | None, floor: float) -> None:
    """Raise `BelowFloor` if quality is below the floor or unknown."""
    if primary is None:
        raise BelowFloor("--fail-below: cannot be checked, because there are no judgments")
    before, after = primary
    minimum = before if floor == -math.inf else floor
    if after < minimum:
        source = " of the first stage" if floor == -math.inf else ""
        raise BelowFloor(f"nDCG@10 is {after:.4f}, below {minimum:.4f}{source}")
