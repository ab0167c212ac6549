"""How fast do workers on a Ray cluster build an index, against processes without Ray?

    python benchmarks/ray_index.py [--passages 6000] [--overhead 20000] [--sharded 6000]
                                   [--rounds 3]

Documents of 10 sections of 200 tokens each lie in a folder. One
after the other, in each round: two processes with one thread each, that sync one half of the
documents each into an index of their own; and one sync with two workers of one CPU each on a Ray
cluster of two nodes, which runs already. Both embed with the bundled model; the time counts from
the start of the command's work to the published version. Then, for --overhead passages, one
process with two threads against one worker with two CPUs, which is the same work in one process.
And for --sharded passages, an index of four shards against one index, both by two workers. 0 leaves
a part out.
Needs the extra ray. Last line of stdout: JSON.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from manual_texts import texts

from resift.jobs.cluster import Cluster
from resift.jobs.sync import RayWorkers
from resift.search.index import Index
from resift.settings import Settings

PASSAGES, TOKENS = 10, 200


def main() -> None:
    """Print a line a round, and the medians."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="ray-index-") as work:
        folder = Path(work)
        figures = {"passages": options.passages, "overhead_passages": options.overhead}
        if options.passages:
            figures |= {"speed_over_two_processes": _speed(folder, options)}
        if options.overhead:
            figures |= {"overhead": _overhead(folder, options)}
        if options.sharded:
            figures |= {"sharded_passages": options.sharded, "shards": _shards(folder, options)}
    print(json.dumps(figures))


def _speed(folder: Path, options: argparse.Namespace) -> list[float]:
    """The speed of two workers over that of two processes."""
    speed = []
    with _cluster(1, 1) as address:
        halves = [_documents(folder / f"half-{i}", options.passages // 2, i) for i in (0, 1)]
        both = folder / "both"
        both.mkdir()
        for half in halves:
            half.rename(both / half.name)
        for number in range(options.rounds):
            local = _two_processes([both / half.name for half in halves], folder, number)
            remote = _sync(both, folder / f"ray-{number}", _workers(address))
            speed.append(local / remote)
            print(f"{options.passages:,} passages: two processes {local:.1f} s, Ray {remote:.1f} s")
    return _summary(speed)


def _overhead(folder: Path, options: argparse.Namespace) -> list[float]:
    """The share of time that one worker with two threads takes more than one process with two."""
    overhead = []
    large = _documents(folder / "large", options.overhead, 2)
    with _cluster(2) as address:
        for number in range(options.rounds):
            alone = _in_a_process(large, folder / f"alone-{number}", 2)
            workers = RayWorkers(Cluster(address, worker_cpus=2))
            remote = _sync(large, folder / f"large-{number}", workers)
            overhead.append(remote / alone - 1)
            print(f"{options.overhead:,} passages: local {alone:.1f} s, Ray {remote:.1f} s")
    return _summary(overhead)


def _shards(folder: Path, options: argparse.Namespace) -> list[float]:
    """The share of time that an index of shards takes more than one index."""
    more = []
    documents = _documents(folder / "sharded", options.sharded, 3)
    with _cluster(1, 1) as address:
        for number in range(options.rounds):
            one = _sync(documents, folder / f"one-{number}", _workers(address))
            several = _sync(documents, folder / f"several-{number}", _workers(address), shards=4)
            more.append(several / one - 1)
            print(f"{options.sharded:,} passages: one index {one:.1f} s, four shards {several:.1f}")
    return _summary(more)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--passages", type=int, default=6_000)
    parser.add_argument("--overhead", type=int, default=20_000)
    parser.add_argument("--sharded", type=int, default=6_000)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _summary(values: list[float]) -> list[float]:
    """The median, the least and the greatest value."""
    return [round(value, 3) for value in (statistics.median(values), min(values), max(values))]


def _documents(folder: Path, passages: int, seed: int) -> Path:
    """A folder of documents with so many passages, about."""
    folder.mkdir()
    sections = texts(passages, TOKENS, 0.2, seed)
    for start in range(0, passages, PASSAGES):
        text = "\n\n# Section\n\n".join(sections[start : start + PASSAGES])
        (folder / f"{start:06}.md").write_text(text, encoding="utf-8")
    return folder


@contextmanager
def _cluster(*cpus: int) -> Iterator[str]:
    """A Ray cluster of nodes with so many CPUs; yields its address."""
    os.environ["RAY_worker_niceness"] = "0"  # Ray's default gives way to all other work
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster as Nodes

        nodes = Nodes(
            initialize_head=True, head_node_args={"num_cpus": cpus[0], "include_dashboard": False}
        )
        try:
            for count in cpus[1:]:
                nodes.add_node(num_cpus=count)
            yield nodes.address
        finally:
            nodes.shutdown()


def _workers(address: str) -> RayWorkers:
    return RayWorkers(Cluster(address, workers=2))


def _sync(
    documents: Path,
    index: Path,
    workers: RayWorkers | None,
    threads: int = 0,
    shards: int | None = None,
) -> float:
    started = time.perf_counter()
    with Index(index, settings=Settings(threads=threads), shards=shards) as target:
        report = target.sync(str(documents), workers=workers)
    seconds = time.perf_counter() - started
    print(f"  {report.passages_embedded:,} passages in {seconds:.1f} s", flush=True)
    return seconds


def _two_processes(halves: list[Path], folder: Path, number: int) -> float:
    """The seconds until both processes are done."""
    context = multiprocessing.get_context("spawn")
    jobs = [
        context.Process(target=_sync, args=(half, folder / f"local-{number}-{half.name}", None, 1))
        for half in halves
    ]
    started = time.perf_counter()
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    return time.perf_counter() - started


def _in_a_process(documents: Path, index: Path, threads: int) -> float:
    """The seconds of a sync in a process of its own, with its start."""
    job = multiprocessing.get_context("spawn").Process(
        target=_sync, args=(documents, index, None, threads)
    )
    started = time.perf_counter()
    job.start()
    job.join()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
