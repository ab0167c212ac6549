"""What does a Ray cluster cost when a run is reranked, over processes that share it by hand?

    python benchmarks/ray_rerank.py [--queries 200] [--depth 100] [--rounds 3]

A run of made-up rankings of texts from Python's manual, 120 tokens on average. Two workers of one
CPU each on a cluster of this machine, against two processes of one thread each, which get every
second query: rounds in turn, from the start of processes or workers to the last result. The results
must be the same. ``overhead_s`` is what the cluster takes longer, ``small_s`` a job of two queries
on a cluster that runs, ``here_s`` the same in one thread of this process. Ray starts its workers
with a niceness of 15; here it is 0, as for the other processes. Needs  pip install 'resift[ray]'
and two cores that have nothing else to do. Last line of stdout: JSON.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from itertools import islice

from manual_texts import texts
from served import NO_CACHES

os.environ.update(NO_CACHES | {"RAY_worker_niceness": "0"})

from resift import Document, Reranker
from resift.evaluation.rerank_run import QueryResult, RerankJob, RerankRunOptions, rerank_queries
from resift.evaluation.trec import RunEntry
from resift.jobs.cluster import LOCAL, Cluster, connected
from resift.jobs.rerank_run import rerank_on_cluster
from resift.settings import Settings

WORKERS, DOCUMENTS, TOKENS, QUERY_TOKENS = 2, 2_000, 120, 12
OPTIONS = RerankRunOptions()
Results = dict[str, tuple[tuple[str, float], ...]]


def main() -> None:
    """Print a line a round, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    job = made_job(options.queries, options.depth)
    reranker = Reranker(settings=Settings(threads=1))
    pairs = options.queries * options.depth
    start = time.perf_counter()
    with connected(LOCAL):
        cluster_s = time.perf_counter() - start
        cluster = Cluster(LOCAL, workers=WORKERS)
        print(f"a cluster starts in {cluster_s:.1f} s")
        rounds = [measured(job, reranker, cluster, pairs) for _ in range(options.rounds)]
    report = {name: statistics.median(row[name] for row in rounds) for name in rounds[0]}
    print(
        json.dumps(
            {"pairs": pairs, "rounds": len(rounds), "cores": os.cpu_count(), "cluster_s": cluster_s}
            | report
        )
    )


def made_job(queries: int, depth: int) -> RerankJob:
    """A job with rankings in which each document comes at another rank."""
    documents = {
        f"d{number}": Document(f"d{number}", text)
        for number, text in enumerate(texts(DOCUMENTS, TOKENS))
    }
    names = list(documents)
    run = {
        f"q{number}": [
            RunEntry(names[(number * 37 + rank * 11) % DOCUMENTS], float(depth - rank))
            for rank in range(depth)
        ]
        for number in range(queries)
    }
    return RerankJob(
        dict(zip(run, texts(queries, QUERY_TOKENS), strict=True)), documents, run, depth
    )


def measured(job: RerankJob, reranker: Reranker, cluster: Cluster, pairs: int) -> dict[str, float]:
    """One round: seconds and pairs a second of both ways."""
    by_hand, by_hand_s = processes(job)
    start = time.perf_counter()
    on_ray = scores(rerank_on_cluster(cluster, job, job.known, reranker, OPTIONS))
    ray_s = time.perf_counter() - start
    assert on_ray == by_hand
    start = time.perf_counter()
    few = job.known[:WORKERS]
    list(rerank_on_cluster(cluster, job, few, reranker, OPTIONS))
    small_s = time.perf_counter() - start
    start = time.perf_counter()
    list(rerank_queries(map(job.query, few), reranker, OPTIONS))
    here_s = time.perf_counter() - start
    row = {
        "processes_pairs_s": pairs / by_hand_s,
        "ray_pairs_s": pairs / ray_s,
        "ratio": by_hand_s / ray_s,
        "overhead_s": ray_s - by_hand_s,
        "small_s": small_s,
        "here_s": here_s,
    }
    print("  ".join(f"{name} {value:.2f}" for name, value in row.items()))
    return row


def processes(job: RerankJob) -> tuple[Results, float]:
    """The results of two processes that share the queries, and the seconds they take."""
    context = multiprocessing.get_context("spawn")
    start = time.perf_counter()
    with context.Pool(WORKERS) as pool:
        shares = pool.map(share, [(job, number) for number in range(WORKERS)], chunksize=1)
        seconds = time.perf_counter() - start
    return {name: ranked for results in shares for name, ranked in results.items()}, seconds


def share(task: tuple[RerankJob, int]) -> Results:
    """The results of every second query, in a process of its own."""
    job, number = task
    reranker = Reranker(settings=Settings(threads=1))
    queries = map(job.query, islice(job.known, number, None, WORKERS))
    return scores(rerank_queries(queries, reranker, OPTIONS))


def scores(results: Iterator[QueryResult]) -> Results:
    """The scores of each query."""
    return {result.query_id: result.scores for result in results}


if __name__ == "__main__":
    main()
