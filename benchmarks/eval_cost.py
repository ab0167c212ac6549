"""What does `resift eval` cost beyond the reranking that it measures?

    python benchmarks/eval_cost.py COLLECTION RUN [--queries 50] [--rounds 3]

A BEIR folder with judgments and a TREC run. `evaluate` (every depth, every fusion weight, all
measures, significance, advice) against `rerank_queries` at the greatest depth: the same queries,
texts in memory and loaded model, rounds interleaved after a warm-up. Needs  pip install
'resift[eval]'. Last line of stdout: JSON.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from resift import Reranker
from resift.evaluation.collection import load_task, open_collection
from resift.evaluation.evaluate import EvaluationPlan, evaluate
from resift.evaluation.first_stage import from_run
from resift.evaluation.rerank_run import RerankRunOptions, prepare, rerank_queries
from resift.evaluation.second_stage import SecondStage, SystemOptions
from resift.evaluation.trec import read_run

DEPTH = 100


def main() -> None:
    """Print the seconds of both and their ratio, a round a line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("collection", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    collection, reranker = open_collection(options.collection), Reranker()
    task = load_task(options.collection, None, 1, options.queries)
    all_queries = read_run(options.run)
    run = {q: all_queries[q] for q in task.queries if q in all_queries}
    job = prepare(collection, run, DEPTH, options.run.name)
    first_stage = from_run(collection, run, options.run.name, DEPTH)
    system = SecondStage(SystemOptions("bundled"), reranker)

    def reranking() -> float:
        start = time.perf_counter()
        for _ in rerank_queries(map(job.query, job.known), reranker, RerankRunOptions()):
            pass
        return time.perf_counter() - start

    def evaluation() -> float:
        start = time.perf_counter()
        evaluate(task, first_stage, [system], EvaluationPlan())
        return time.perf_counter() - start

    rounds = []
    for number in range(options.rounds + 1):
        row = {"rerank_s": reranking(), "evaluate_s": evaluation()}
        row["ratio"] = row["evaluate_s"] / row["rerank_s"]
        print(f"round {number}: " + "  ".join(f"{name} {value:.3f}" for name, value in row.items()))
        if number:
            rounds.append(row)
    ratio = statistics.median(row["ratio"] for row in rounds)
    print(json.dumps({"queries": len(run), "depth": DEPTH, "ratio": round(ratio, 3),
                      "rounds": rounds}))  # fmt: skip


if __name__ == "__main__":
    main()
