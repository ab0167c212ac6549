"""``resift rerank-run``: rerank a TREC run over a BEIR folder into a new run."""

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resift.cli import options
from resift.cli.output import print_json, print_status, progress, waiting
from resift.cli.rerank_run_summary import RunSummary
from resift.errors import InputError
from resift.files import STDOUT, check_output, descriptor, is_stdout
from resift.settings import Settings

if TYPE_CHECKING:
    from resift.evaluation.finished_queries import FinishedQueries
    from resift.evaluation.job_folder import JobFolder
    from resift.evaluation.rerank_run import QueryResult, RerankJob, RerankRunOptions
    from resift.jobs.cluster import Cluster
    from resift.rerank.reranker import Reranker


def rerank_run(
    collection: Annotated[Path, typer.Argument(help="BEIR folder: corpus.jsonl, queries.jsonl.")],
    run: Annotated[Path, typer.Option(help="TREC run of a first stage, plain or .gz.")],
    output: Annotated[
        Path, typer.Option(help="File for the reranked run, plain or .gz; - is stdout.")
    ],
    depth: Annotated[int, typer.Option(help="Number of candidates to rerank.")] = 100,
    top_n: Annotated[
        int | None, typer.Option(help="Documents to write per query.  [default: all]")
    ] = None,
    budget_ms: options.QueryBudgetMs = None,
    model: options.Model = None,
    exact: options.Exact = False,
    fusion_weight: options.FusionWeight = None,
    ray: options.Ray = None,
    workers: options.Workers = None,
    worker_cpus: options.WorkerCpus = None,
    as_json: options.AsJson = False,
) -> None:
    """Rerank every query of a run; documents beyond the depth follow in their old order.

    Finished queries are kept in OUTPUT.parts until OUTPUT is written: after an interruption, the
    same command goes on from there, with or without --ray.
    """
    from resift.evaluation.collection import open_collection
    from resift.evaluation.rerank_run import RerankRunOptions, prepare
    from resift.evaluation.trec import KIND, is_written_run, read_run
    from resift.rerank.reranker import Reranker

    if as_json and is_stdout(output):
        raise InputError(f"--output {output} and --json: both go to stdout; name a file")
    run_options = RerankRunOptions(fusion_weight, top_n, exact, budget_ms)
    cluster = options.cluster(ray, workers, worker_cpus)
    check_output(output, KIND, is_written_run)
    if str(output) != STDOUT and output.is_file() and os.path.exists(run) and output.samefile(run):
        raise InputError(f"{output}: is the input run; name another file")
    with waiting("reading the run and its documents"):
        reranker = Reranker(model, settings=_settings(cluster))
        job = prepare(open_collection(collection), read_run(run), depth, str(run))
    for note in job.notes:
        print_status(f"note: {note}")
    summary = _rerank(job, reranker, run_options, output, cluster)
    if as_json:
        model_names = {"model": reranker.name, "fingerprint": reranker.fingerprint}
        print_json({"output": str(output)} | model_names | summary.as_dict(run_options))
    print_status(f"{'stdout' if is_stdout(output) else output}: {summary.line()}")


def _settings(cluster: "Cluster | None") -> Settings:
    """The settings of the reranker, which go to the workers with it."""
    settings = options.uncalibrated()
    if cluster is None:
        return settings
    threads = settings.threads or cluster.worker_cpus
    return replace(settings.without_secrets(), threads=threads)


def _rerank(
    job: "RerankJob",
    reranker: "Reranker",
    run_options: "RerankRunOptions",
    output: Path,
    cluster: "Cluster | None",
) -> RunSummary:
    """Rerank the queries that are not finished yet, here or on a cluster, and write the run."""
    from resift.evaluation.finished_queries import (
        FOLLOWS,
        FinishedQueries,
        gather,
        in_order,
        job_identity,
        parts_folder,
    )
    from resift.evaluation.job_folder import JobFolder
    from resift.evaluation.rerank_run import reranked_lines
    from resift.evaluation.trec import write_run

    file = _regular(output)
    folder = None
    if file is not None:
        folder = JobFolder(
            parts_folder(file),
            lambda: job_identity(job, run_options, reranker.fingerprint),
            FOLLOWS,
        )
    finished = FinishedQueries(folder)
    with _remainder_told(finished, folder, len(job.known)), finished:
        summary = RunSummary(job, finished.resumed)
        if finished.resumed and folder:
            print_status(
                f"{folder.path}: {finished.resumed} of {len(job.known)} queries were finished "
                "earlier"
            )
        query_ids = [query_id for query_id in job.known if query_id not in finished]
        results = _results(job, query_ids, reranker, run_options, cluster)
        with closing(results), _bar(summary, query_ids) as advance:
            if folder:  # else each line is written as soon as it can be
                gather(finished, results, advance)
            ordered = summary.adding(in_order(job, finished, results, advance))
            write_run(output, reranked_lines(job, ordered, run_options))
        finished.remove()
    return summary


def _results(
    job: "RerankJob",
    query_ids: list[str],
    reranker: "Reranker",
    run_options: "RerankRunOptions",
    cluster: "Cluster | None",
) -> "Generator[QueryResult]":
    if cluster is None:
        from resift.evaluation.rerank_run import rerank_queries

        yield from rerank_queries(map(job.query, query_ids), reranker, run_options)
    else:
        from resift.jobs.rerank_run import rerank_on_cluster

        yield from rerank_on_cluster(cluster, job, query_ids, reranker, run_options)


def _regular(output: Path) -> Path | None:
    """The regular file that is written, with links followed; None for a stream or a device."""
    if str(output) == STDOUT or descriptor(output) is not None:
        return None
    file = Path(os.path.realpath(output))
    return file if file.is_file() or not file.exists() else None


@contextmanager
def _remainder_told(
    finished: "FinishedQueries", folder: "JobFolder | None", queries: int
) -> Iterator[None]:
    """If the job ends early, print how it goes on."""
    try:
        yield
    except BaseException:
        if folder and finished.on_disk:
            print_status(
                f"{folder.path}: {finished.on_disk} of {queries} queries are finished; the same "
                "command goes on from there"
            )
        raise


@contextmanager
def _bar(summary: RunSummary, query_ids: list[str]) -> "Iterator[Callable[[QueryResult], None]]":
    """A progress bar over all pairs; yields what it gets each result with."""
    start = time.perf_counter()
    pairs = sum(map(summary.pairs_of, query_ids))
    done = 0
    with progress() as bar:
        before = summary.pairs - pairs
        task = bar.add_task("reranking", total=summary.pairs, completed=before, note="")

        def advance(result: "QueryResult") -> None:
            nonlocal done
            done += summary.pairs_of(result.query_id)
            rate = done / (time.perf_counter() - start)
            bar.update(task, completed=before + done, note=f"pairs, {rate:,.0f}/s")
            summary.tell(result)

        yield advance
