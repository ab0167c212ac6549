"""Replicas, fleets, syncs and builds as discrete events (simpy), for scale_simulation.py."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

from resift.cores import cores
from resift.planning.costs import Costs
from resift.planning.demand import EFFICIENCY, Demand
from resift.planning.serving import Fleet, Tier

BATCHES = 4
"""Batches of a call of a simulated fleet."""

Wait = Generator[simpy.Event, Any, Any]


@dataclass(eq=False)
class Call:
    """A call of a replica: the time that is left of it, and what it was given."""

    done: simpy.Event
    quantum: float
    left: int
    given: float = 0.0


@dataclass(eq=False)
class Replica:
    """Works on the call that was given least, batch by batch, as `resift.rerank.worker` does."""

    env: simpy.Environment
    batches: int = BATCHES
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._arrived = self.env.event()
        self.env.process(self._work())

    def call(self, service: float) -> simpy.Event:
        """Begin a call of so much service; the event is its end."""
        call = Call(self.env.event(), service / self.batches, self.batches)
        call.given = min((other.given for other in self.calls), default=0.0)
        self.calls.append(call)
        if not self._arrived.triggered:
            self._arrived.succeed()
        return call.done

    def _work(self) -> Wait:
        while True:
            if not self.calls:
                self._arrived = self.env.event()
                yield self._arrived
            call = min(self.calls, key=lambda other: other.given)
            yield self.env.timeout(call.quantum)
            call.given += call.quantum
            call.left -= 1
            if not call.left:
                self.calls.remove(call)
                call.done.succeed()


def simulated_calls(arrivals: Sequence[float], service: float, batches: int) -> list[float]:
    """Seconds of each call of one replica."""
    env = simpy.Environment()
    replica = Replica(env, batches)
    seconds: list[float] = []

    def call(at: float) -> Wait:
        yield env.timeout(at)
        yield replica.call(service)
        seconds.append(env.now - at)

    calls = [env.process(call(at)) for at in arrivals]
    env.run(env.all_of(calls))
    return seconds


def simulated_sync(passages: int, tokens: int, costs: Costs) -> float:
    """Parsers beside an embedder that uses all cores, then one commit, then publishing."""
    env = simpy.Environment()
    processors = simpy.PriorityResource(env, cores())
    parsed = simpy.Container(env, capacity=float("inf"))
    speedup = min(costs.value("speedup_2"), cores())
    longer = tokens / costs.value("passage_tokens")

    def use(ms: float, priority: int = 0) -> Wait:
        with processors.request(priority) as request:
            yield request
            yield env.timeout(ms)

    def parser(files: int) -> Wait:
        for _ in range(files):
            yield from use(100 * costs.value("parse_ms", passages) * longer)
            yield parsed.put(100)

    def writer() -> Wait:
        for _ in range(passages // 100):
            yield parsed.get(100)
            work = 100 * costs.value("embed_ms", tokens) / speedup
            threads = [env.process(use(work, -1)) for _ in range(cores())]
            yield env.all_of(threads)
        yield from use(passages * costs.value("write_ms", passages) * longer)
        yield from use(passages * costs.value("terms_ms", passages) * longer)

    files = passages // 100
    for number in range(cores()):
        env.process(parser(files // cores() + (number < files % cores())))
    env.run(env.process(writer()))
    return env.now / 1e3


def simulated_fleet(fleet: Fleet, rate: float, queries: int = 6_000) -> float:
    """The p95 in ms: each query goes to the less loaded of two groups, tier by tier."""
    env, rng = simpy.Environment(), np.random.default_rng(1)
    tiers = [
        [[Replica(env) for _ in range(tier.group)] for _ in range(tier.replicas // tier.group)]
        for tier in fleet.tiers
    ]
    queries = min(queries, 400_000 // max(tier.group for tier in fleet.tiers))
    late: list[float] = []

    def member(tier: Tier, replica: Replica, fixed: float) -> simpy.Event:
        """One machine's part: retrieval varies from query to query, and the rest does not."""
        deviation = fleet.query.deviation * np.sqrt(-(-tier.shards // tier.threads))
        return replica.call(max(fixed + rng.normal(0, deviation), 0.1 * fixed))

    def query(at: float) -> Wait:
        yield env.timeout(at)
        for tier, groups in zip(fleet.tiers, tiers, strict=True):
            pair = rng.choice(len(groups), min(2, len(groups)), replace=False)
            group = groups[min(pair, key=lambda number: len(groups[number][0].calls))]
            fixed = fleet.mean_ms(tier)
            yield env.all_of([member(tier, replica, fixed) for replica in group])
        late.append(env.now - at)

    arrivals = np.cumsum(rng.exponential(1 / rate, queries))
    env.run(env.all_of([env.process(query(float(at))) for at in arrivals]))
    return float(np.quantile(late[queries // 10 :], 0.95))


def simulated_build(demand: Demand, workers: int, cores_a_machine: float) -> float:
    """Hours: workers take parts of the source, then machines take shards; parts vary by a fifth."""
    env, rng = simpy.Environment(), np.random.default_rng(2)
    shards = demand.targets.shards
    steps = demand.build_steps(demand.targets.passages)
    objects = sum(step.core_hours for step in steps if not step.by_shard)
    index = sum(step.core_hours for step in steps if step.by_shard)
    parts = 20 * workers
    machines = -(-workers // int(cores_a_machine))

    def taker(waiting: list[float]) -> Wait:
        while waiting:
            yield env.timeout(waiting.pop())

    def run(hours: float, count: int, takers: int) -> simpy.Event:
        waiting = list(hours / count * rng.lognormal(-0.02, 0.2, count))
        return env.all_of([env.process(taker(waiting)) for _ in range(takers)])

    env.run(run(objects, parts, workers))
    env.run(run(index / min(workers, cores_a_machine), shards, machines))
    return env.now / EFFICIENCY
