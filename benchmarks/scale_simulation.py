"""Do the formulas of `resift plan` agree with a simulation, and that with measured times?

    python benchmarks/scale_simulation.py [--only serving|build|fleets]

A discrete-event simulation (simpy) with three comparisons:

serving: the library on this machine under Poisson arrivals at 1, 2, 4 and 8 tenths of what it can
do, against simulated calls that arrive at the same moments and share one worker, batch by batch.
Their service time is the mean time that the model ran in the measured calls, and what a call
alone does beside it: texts are cut into tokens on the cores that the model of another call uses.
build: seconds of a sync of two sizes against simulated parsers, embedder, commits and publishing
with the unit costs of the package.
fleets: the p95 and the build time of plans of several sizes against simulated replicas that are
chosen of two at random, and simulated machines that take shards one after another.

Needs the package simpy, and a quiet machine for the first two. Last line of stdout: JSON.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from served import NO_CACHES

os.environ.update(NO_CACHES)

import numpy as np
from manual_texts import texts
from simulated import simulated_build, simulated_calls, simulated_fleet, simulated_sync

from resift import Index, Reranker
from resift.planning.costs import Costs, read_costs
from resift.planning.demand import Demand
from resift.planning.plan import make_plan
from resift.planning.prices import read_prices
from resift.planning.targets import Targets

WITHIN = 0.2
CANDIDATES, TOKENS = 20, 100
LOADS = {1: 20, 2: 40, 4: 60, 8: 80}
"""Calls by load, in tenths of what the library can do."""


@dataclass(frozen=True)
class Comparison:
    """A figure twice, and the second one's difference from the first, as a share of it."""

    what: str
    expected: float
    simulated: float

    @property
    def difference(self) -> float:
        """0.1 is ten percent more."""
        return self.simulated / self.expected - 1

    def line(self) -> str:
        """For people."""
        return (
            f"{self.what:58} {self.expected:10.4g} {self.simulated:10.4g} {self.difference:+7.1%}"
        )


def main() -> None:
    """Print a line a comparison: what, measured or by formula, simulated, difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["serving", "build", "fleets"])
    options = parser.parse_args()
    parts: dict[str, Callable[[], Iterator[Comparison]]] = {
        "serving": serving,
        "build": lambda: build(read_costs()),
        "fleets": lambda: fleets(read_costs()),
    }
    rows: list[Comparison] = []
    for name, part in parts.items():
        if options.only in (None, name):
            for row in part():
                print(row.line(), flush=True)
                rows.append(row)
    most = max(rows, key=lambda row: abs(row.difference))
    print(f"most: {most.difference:+.1%}, {most.what}; expected within {WITHIN:.0%}")
    print(json.dumps([vars(row) | {"difference": round(row.difference, 4)} for row in rows]))


def serving() -> Iterator[Comparison]:
    """The library at four loads."""
    reranker = Reranker()
    lists = [texts(CANDIDATES, TOKENS, 0.3, seed=seed) for seed in range(max(LOADS.values()))]
    for documents in lists[:5]:
        reranker.rank("how are attributes looked up", documents, exact=True)
    for tenth, requests in LOADS.items():
        busy, alone, batches = _alone(reranker, lists)
        gaps = np.random.default_rng(tenth).exponential(busy * 10 / tenth, requests)
        arrivals = np.cumsum(gaps).tolist()
        runs: list[float] = []
        with reranker.watched(lambda batch, runs=runs: runs.append(batch.seconds)):  # type: ignore[misc]
            measured = _measured(reranker, lists[:requests], arrivals)
        simulated = simulated_calls(arrivals, sum(runs) / requests + alone - busy, batches)
        for quantile, name in ((0.5, "p50"), (0.95, "p95")):
            yield Comparison(
                f"serving, load {tenth / 10}: {name} in ms",
                float(np.quantile(measured, quantile)) * 1e3,
                float(np.quantile(simulated, quantile)) * 1e3,
            )


def _alone(reranker: Reranker, lists: Sequence[list[str]]) -> tuple[float, float, int]:
    """Of a call of a single caller: mean seconds of the model and of all, and its batches."""
    runs: list[float] = []
    calls = lists[:20]
    with reranker.watched(lambda batch: runs.append(batch.seconds)):
        started = time.perf_counter()
        for documents in calls:
            reranker.rank("how are attributes looked up", documents, exact=True)
        seconds = time.perf_counter() - started
    return sum(runs) / len(calls), seconds / len(calls), max(round(len(runs) / len(calls)), 1)


def _measured(
    reranker: Reranker, lists: Sequence[list[str]], arrivals: Sequence[float]
) -> list[float]:
    """Seconds of each call of threads that call at these moments."""
    seconds = [0.0] * len(lists)
    origin = time.perf_counter()

    def call(number: int) -> None:
        time.sleep(max(origin + arrivals[number] - time.perf_counter(), 0))
        reranker.rank("how are attributes looked up", lists[number], exact=True)
        seconds[number] = time.perf_counter() - origin - arrivals[number]

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(lists))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds


def build(costs: Costs) -> Iterator[Comparison]:
    """Seconds of a local sync of two sizes."""
    for passages in (2_000, 6_000):
        yield Comparison(
            f"build of {passages:,} passages: seconds",
            _synced(passages),
            simulated_sync(passages, TOKENS, costs),
        )


def _synced(passages: int) -> float:
    """Seconds of a first sync into a folder, with the bundled embedder."""
    with tempfile.TemporaryDirectory() as folder:
        docs = Path(folder) / "docs"
        docs.mkdir()
        for number in range(passages // 100):
            lines = (json.dumps({"text": text}) for text in texts(100, TOKENS, 0.0, seed=number))
            (docs / f"{number:04d}.jsonl").write_text("\n".join(lines))
        started = time.perf_counter()
        report = Index(f"{folder}/index").sync(str(docs))
        seconds = time.perf_counter() - started
    if report.passages_embedded != passages:
        raise SystemExit(f"{report.passages_embedded} passages, expected {passages}")
    return seconds


TARGETS = (
    Targets(1e6, 20, depth=50, p95_ms=400),
    Targets(1e6, 200, depth=30, p95_ms=200, token_states=True),
    Targets(8e6, 60, depth=50, p95_ms=300),
    Targets(1e8, 60, depth=50, p95_ms=300),
)


def fleets(costs: Costs) -> Iterator[Comparison]:
    """The formulas against replicas and machines that are simulated one by one."""
    prices = read_prices()
    for targets in TARGETS:
        plan = make_plan(targets, costs, prices)
        name = f"{targets.passages:.0e} passages, {targets.qps:g} qps, depth {targets.depth}"
        name += ", states" if targets.token_states else ""
        simulated = simulated_fleet(plan.fleet, targets.qps / 1e3)
        yield Comparison(f"{name}: p95 in ms", plan.fleet.p95_ms, simulated)
        built = [row for row in plan.rows if row.stage == "build" and row.hours]
        hours = sum(row.hours for row in built)
        simulated = simulated_build(Demand(targets, costs), int(built[0].cores), prices.cores)
        yield Comparison(f"{name}: hours of a build", hours, simulated)


if __name__ == "__main__":
    main()
