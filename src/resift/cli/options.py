"""Options that several verbs share, and what verbs make of them."""

import os
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resift.cli.output import sync_progress, waiting
from resift.errors import InputError
from resift.settings import Settings

if TYPE_CHECKING:
    from resift.evaluation.first_stage import FirstStage
    from resift.index.embed import Precomputer
    from resift.jobs.cluster import Cluster


def refuse_pointless(reason: str, **options: object) -> None:
    """Raise `InputError` for options that have no effect here, by their Python names.

    An option that was not given is None, False or empty.
    """
    names = [
        f"--{name.replace('_', '-')}{'' if value is True else f' {value}'}"
        for name, value in options.items()
        if value is not None and value is not False and value != []
    ]
    if names:
        raise InputError(f"{' and '.join(names)}: {reason}")


class Mode(StrEnum):
    """Retrievers of the first stage."""

    hybrid = "hybrid"
    dense = "dense"
    lexical = "lexical"


class LongDocuments(StrEnum):
    """How to read documents that are longer than the model reads."""

    cut = "cut"
    windows = "windows"


FirstStageMode = Annotated[
    Mode | None, typer.Option("--mode", help="Retrievers to use.  [default: hybrid]")
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Folder or hub id; in rerank, search and eval also a service or a chain.  "
        "[default: RESIFT_MODEL or bundled]",
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="Folder or hub id, or ALIAS=NAME; may be repeated, the first is the default.  "
        "[default: RESIFT_MODEL or bundled]",
    ),
]
Indexes = Annotated[
    list[str] | None,
    typer.Option("--index", help="Folder or URI of an index, or ALIAS=URI; may be repeated."),
]
Calibration = Annotated[
    Path | None, typer.Option(help="Calibration file that resift calibrate wrote for this model.")
]
BudgetMs = Annotated[
    float | None,
    typer.Option(help="Time limit in ms, without loading; late candidates are not scored."),
]
QueryBudgetMs = Annotated[
    float | None,
    typer.Option("--budget-ms", help="Time limit per query in ms; late candidates are not scored."),
]
Exact = Annotated[
    bool, typer.Option("--exact", help="Run every candidate through all stages of the model.")
]


class Collapse(StrEnum):
    """What hits are collapsed to."""

    document = "document"


CollapseTo = Annotated[
    Collapse | None, typer.Option("--collapse", help="Show the best passage of each document.")
]
ReadLong = Annotated[
    LongDocuments,
    typer.Option(
        "--long-documents", help="Read the beginning of long documents, or windows of them."
    ),
]
FusionWeight = Annotated[
    float | None, typer.Option(help="Weight of the first-stage scores; 0 ignores them.")
]
MinScore = Annotated[
    float | None, typer.Option(help="Leave out hits that score below this, 0 to 1.")
]
Abstain = Annotated[
    float | None, typer.Option(help="Return no hits if the best score is below this, 0 to 1.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
HitsAsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document: query, hits, receipt.")
]
AsLines = Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per hit.")]

IndexUri = Annotated[str, typer.Option("--index", help="Folder, or s3://, gs:// or az:// URI.")]


Ray = Annotated[
    str | None,
    typer.Option(help="Work on a Ray cluster: auto, local, or HOST:PORT of its head."),
]
Workers = Annotated[
    int | None, typer.Option(help="Most workers of --ray at a time.  [default: all that fit]")
]
WorkerCpus = Annotated[
    int | None, typer.Option(help="Cores of each worker of --ray.  [default: 1]")
]


def cluster(ray: str | None, workers: int | None, worker_cpus: int | None) -> "Cluster | None":
    """The cluster of a command; None without --ray. Raises `InputError` for invalid values."""
    if ray is None:
        refuse_pointless("is for --ray; leave it out", workers=workers, worker_cpus=worker_cpus)
        return None
    from resift.jobs.cluster import Cluster

    quiet_ray()
    return Cluster(ray, workers, 1 if worker_cpus is None else worker_cpus)


def quiet_ray() -> None:
    """Have Ray print nothing about its processes, such as "A worker died": that goes to stdout.

    Ray reads it at its import. ``RAY_DEDUP_LOGS=0`` of the user still prints all.
    """
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")


def uncalibrated(model: str | None = None) -> Settings:
    """The settings without a calibration, for a verb that prints no scores.

    A calibration in the settings may be for another model, which would raise an error.
    """
    return replace(settings_with(model, None), calibration=None)


def settings_with(model: str | None, calibration: Path | None) -> Settings:
    """The settings, with the model and calibration of the command line."""
    settings = Settings.load()
    if model is not None:
        settings = replace(settings, model=model)
    if calibration is not None:
        settings = replace(settings, calibration=str(calibration))
    return settings


def check_first_stage(run: Path | None, uri: str | None, mode: Mode | None) -> None:
    """Raise `InputError` for two first stages, and for a mode with a run."""
    if run and uri:
        raise InputError(f"--run {run} and --index {uri}: expected one first stage; leave one out")
    if run:
        refuse_pointless("a run has no modes; leave it out with --run", mode=mode)


def open_first_stage(
    path: Path,
    run: Path | None,
    uri: str | None,
    mode: Mode,
    depth: int,
    precomputer: "Precomputer | None",
) -> "FirstStage":
    """The run or the index of the command line; without either, an index of the corpus."""
    from resift.evaluation.collection import open_collection
    from resift.evaluation.first_stage import FromIndex, from_run, index_corpus
    from resift.evaluation.trec import read_run
    from resift.search.index import Index

    if uri:
        return FromIndex(Index(uri), mode.value, precomputer)
    folder = open_collection(path)
    if run:
        with waiting("reading the run and its documents"):
            return from_run(folder, read_run(run), run.name, depth)
    with sync_progress() as show:
        index, notes = index_corpus(folder, Settings.load(), show)
    return FromIndex(index, mode.value, precomputer, notes)
