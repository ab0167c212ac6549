"""``resift rerank-run``: rerank a TREC run over a BEIR folder into a new run."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resift.cli import options
from resift.cli.output import print_json, print_status, progress, waiting
from resift.errors import InputError, QueryError
from resift.files import STDOUT, check_output, is_stdout
from resift.types import Ranking, Receipt

if TYPE_CHECKING:
    from resift.evaluation.rerank_run import RerankJob, RerankRunOptions


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
    as_json: options.AsJson = False,
) -> None:
    """Rerank every query of a run; documents beyond the depth follow in their old order."""
    from resift.evaluation.collection import open_collection
    from resift.evaluation.rerank_run import RerankRunOptions, prepare, rerank_run
    from resift.evaluation.trec import KIND, is_written_run, read_run, write_run
    from resift.rerank.reranker import Reranker

    if as_json and is_stdout(output):
        raise InputError(f"--output {output} and --json: both go to stdout; name a file")
    run_options = RerankRunOptions(fusion_weight, top_n, exact, budget_ms)
    check_output(output, KIND, is_written_run)
    if str(output) != STDOUT and output.is_file() and os.path.exists(run) and output.samefile(run):
        raise InputError(f"{output}: is the input run; name another file")
    with waiting("reading the run and its documents"):
        reranker = Reranker(model, settings=options.uncalibrated())
        job = prepare(open_collection(collection), read_run(run), depth, str(run))
    for note in job.notes:
        print_status(f"note: {note}")
    summary = RunSummary(job)
    with progress() as bar:
        task = bar.add_task("reranking", total=summary.pairs, note="")

        def advance(query_id: str, result: Ranking | QueryError) -> None:
            summary.add(query_id, result)
            bar.update(task, advance=min(len(job.run[query_id]), depth), note="pairs")

        write_run(output, rerank_run(job, reranker, run_options, advance))
    if as_json:
        model_names = {"model": reranker.name, "fingerprint": reranker.fingerprint}
        print_json({"output": str(output)} | model_names | summary.as_dict(run_options))
    print_status(f"{'stdout' if is_stdout(output) else output}: {summary.line()}")


@dataclass
class RunSummary:
    """The results of a run's queries; `not_reranked` maps query ids to reasons."""

    job: "RerankJob"
    start: float = field(default_factory=time.perf_counter)
    receipts: list[Receipt] = field(default_factory=list)
    not_reranked: dict[str, str] = field(default_factory=dict)

    @property
    def pairs(self) -> int:
        """The number of candidates within the depth, over all queries."""
        return sum(min(len(documents), self.job.depth) for documents in self.job.run.values())

    @property
    def partial(self) -> list[Receipt]:
        """Receipts of queries with candidates that were not scored."""
        return [receipt for receipt in self.receipts if receipt.partial]

    def add(self, query_id: str, result: Ranking | QueryError) -> None:
        """Add a query's result; print a query that keeps its order."""
        if isinstance(result, Ranking):
            self.receipts.append(result.receipt)
            return
        self.not_reranked[query_id] = str(result)
        if query_id in self.job.queries:  # a note reports the others
            print_status(f"query {query_id} keeps its order: {result}")

    def line(self) -> str:
        """The summary as one line."""
        weights = ", ".join(f"{weight:g}" for weight in self._weights()) or "none"
        line = f"{len(self.job.run)} queries, {self.pairs:,} pairs, first stage's weight {weights}"
        if not self.partial:
            return line
        return f"{line}; {len(self.partial)} queries partial, the first: {self.partial[0].reason}"

    def as_dict(self, run_options: "RerankRunOptions") -> dict[str, Any]:
        """The options and the summary as JSON values."""
        return {
            "depth": self.job.depth,
            "top_n": run_options.top_n,
            "exact": run_options.exact,
            "budget_ms": run_options.budget_ms,
            "fusion_weights": self._weights(),
            "queries": len(self.job.run),
            "pairs": self.pairs,
            "scored": sum(receipt.scored for receipt in self.receipts),
            "partial": len(self.partial),
            "reasons": sorted({str(receipt.reason) for receipt in self.partial}),
            "not_reranked": [
                {"query_id": query_id, "reason": reason}
                for query_id, reason in self.not_reranked.items()
            ],
            "notes": list(self.job.notes),
            "seconds": time.perf_counter() - self.start,
        }

    def _weights(self) -> list[float]:
        return sorted({receipt.fusion_weight for receipt in self.receipts})
