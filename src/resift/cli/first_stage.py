"""The first stage of a verb that reads a judged collection: a run, an index, or its corpus."""

from pathlib import Path
from typing import TYPE_CHECKING

from resift.cli.index import sync_progress
from resift.cli.options import Mode, refuse_pointless
from resift.errors import InputError
from resift.settings import Settings

if TYPE_CHECKING:
    from resift.evaluation.first_stage import FirstStage
    from resift.index.embed import Precomputer


def check_first_stage(run: Path | None, uri: str | None, mode: Mode | None) -> None:
    """Raise `InputError` for two first stages, and for a mode of a run."""
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
    precomputer: "Precomputer",
) -> "FirstStage":
    """The run or index that is named; else the corpus, indexed."""
    from resift.evaluation.collection import open_collection
    from resift.evaluation.first_stage import FromIndex, from_run, index_corpus
    from resift.evaluation.trec import read_run
    from resift.search.index import Index

    if uri:
        return FromIndex(Index(uri), mode.value, precomputer)
    folder = open_collection(path)
    if run:
        return from_run(folder, read_run(run), run.name, depth)
    with sync_progress() as show:
        index, notes = index_corpus(folder, Settings.load(), show)
    return FromIndex(index, mode.value, precomputer, notes)
