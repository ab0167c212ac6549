"""How many replicas on how many machines answer the queries in time.

If a machine's memory holds all shards, each replica does a whole query. If not, machines form
groups that hold every shard once: a query goes to all machines of a group, and the candidates to a
replica that reranks them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from resift.errors import InputError
from resift.planning.costs import Costs
from resift.planning.demand import Demand
from resift.planning.prices import Prices
from resift.planning.queueing import Delay, delay, p95, slowest
from resift.planning.targets import Targets

_SYSTEM_GB = 2.0
"""Memory of a machine that is not for replicas."""


@dataclass(frozen=True, slots=True)
class Query:
    """What one query costs, in ms of one core, and how far a core more helps.

    `retrieve` is of one shard, with standard deviation `deviation`; `fetch` reads the texts of all
    candidates; `rerank` scores them; `fixed` is HTTP and the embedding of the query.
    """

    retrieve: float
    deviation: float
    fetch: float
    rerank: float
    fixed: float
    serial: float

    def rerank_ms(self, threads: int) -> float:
        """Wall time of reranking with so many threads, by Amdahl's law from two."""
        return self.rerank * (self.serial + (1 - self.serial) / threads)


def query_cost(targets: Targets, costs: Costs, demand: Demand) -> Query:
    """What a query costs for these targets."""
    depth = targets.depth
    pair = "pair_states_ms" if targets.token_states else "pair_ms"
    fetch = "fetch_states_ms" if targets.token_states else "fetch_ms"
    speedup = min(max(costs.value("speedup_2"), 1.0), 2.0)
    return Query(
        retrieve=demand.of_index("retrieve_ms").value,
        deviation=demand.of_index("spread_ms").value,
        fetch=demand.of_index(fetch).value * depth,
        rerank=costs.value("call_ms") + demand.of_text(pair).value * depth,
        fixed=costs.value("http_ms") + costs.value("query_ms"),
        serial=2 / speedup - 1,
    )


@dataclass(frozen=True, slots=True)
class Tier:
    """Replicas that do the same. `group` of them hold all shards; 1 holds them all.

    Times of one query in ms: `service` without queueing, `core_ms` of processor time of all of the
    group. `memory_gb` and `disk_gb` are of one replica, and `load` is the share of its time that it
    works.
    """

    name: str
    replicas: int
    threads: int
    group: int
    shards: int
    service: float
    deviation: float
    core_ms: float
    memory_gb: float
    disk_gb: float
    load: float = 0.0

    @property
    def variation(self) -> float:
        """Standard deviation of the service time over its mean."""
        return self.deviation / self.service if self.service else 0.0

    def delay(self, rate: float) -> Delay:
        """What queueing adds at so many queries a millisecond."""
        return delay(self.replicas // self.group, rate, self.service, self.variation)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Tiers of replicas, the machines that they need, and the times of a query in ms."""

    tiers: tuple[Tier, ...]
    machines: tuple[int, ...]
    service_ms: float
    p95_ms: float
    query: Query

    def mean_ms(self, tier: Tier) -> float:
        """Service time of one replica of a tier, without waiting for the slowest of its group."""
        if tier.group == 1:
            return tier.service
        retrieve = self.query.retrieve * math.ceil(tier.shards / tier.threads)
        return retrieve + self.query.fetch / tier.group

    @property
    def total_machines(self) -> int:
        """Machines of all tiers."""
        return sum(self.machines)


_LOADS = tuple(percent / 100 for percent in range(80, 4, -5))
"""Loads of a replica to try, the highest first, which needs the fewest replicas. The rest of its
time is for bursts, for copies of new versions and for a machine that fails."""


def plan_fleet(targets: Targets, costs: Costs, prices: Prices, demand: Demand) -> Fleet:
    """The fewest machines that answer in time. Raises `InputError` if no number of them does."""
    query = query_cost(targets, costs, demand)
    layouts = [*_layouts(targets, prices, _Sizes.of(targets, costs, demand), query)]
    best: Fleet | None = None
    for tiers in layouts:
        fleet = _sized(tiers, targets, prices, query)
        if fleet and (best is None or fleet.total_machines < best.total_machines):
            best = fleet
    if best is None:
        raise InputError(_impossible(layouts, targets, costs, prices))
    return best


@dataclass(frozen=True, slots=True)
class _Sizes:
    """GB of memory of a replica without shards and of each shard, and GB on disk of a shard."""

    base: float
    shard: float
    disk: float

    @classmethod
    def of(cls, targets: Targets, costs: Costs, demand: Demand) -> "_Sizes":
        base = costs.value("search_mb", 0.0) / 1e3
        shard = costs.value("search_mb", targets.passages_a_shard) / 1e3 - base
        disk = demand.bytes_a_passage() * targets.passages_a_shard / 1e9
        return cls(base, max(shard, 0.0), disk)


def _layouts(
    targets: Targets, prices: Prices, sizes: _Sizes, query: Query
) -> Iterator[tuple[Tier, ...]]:
    """Tiers without their numbers of replicas, by threads and shards of a replica."""
    for threads in _powers(int(prices.cores)):
        for shards in _powers(targets.shards):
            if sizes.base + sizes.shard * shards > prices.memory_gb - _SYSTEM_GB:
                continue
            search = _searching(targets, sizes, query, threads, shards)
            if search.group > 1:
                yield from ((search, _ranking(sizes, query, count))
                            for count in _powers(int(prices.cores)))  # fmt: skip
                continue
            service = query.fixed + search.service + query.rerank_ms(threads)
            work = query.fixed + search.core_ms + query.rerank
            yield (replace(search, name="serve", service=service, core_ms=work),)


def _searching(targets: Targets, sizes: _Sizes, query: Query, threads: int, shards: int) -> Tier:
    """Replicas that retrieve from `shards` shards each, and read texts."""
    turns, group = math.ceil(shards / threads), math.ceil(targets.shards / shards)
    retrieve, deviation = slowest(query.retrieve * turns, query.deviation * math.sqrt(turns), group)
    return Tier(
        name="retrieve",
        replicas=0,
        threads=threads,
        group=group,
        shards=shards,
        service=retrieve + query.fetch / group,
        deviation=deviation,
        core_ms=query.retrieve * targets.shards + query.fetch,
        memory_gb=sizes.base + sizes.shard * shards,
        disk_gb=sizes.disk * shards,
    )


def _ranking(sizes: _Sizes, query: Query, threads: int) -> Tier:
    """Replicas that embed the query, merge candidates and rerank them."""
    service = query.fixed + query.rerank_ms(threads)
    work = query.fixed + query.rerank
    return Tier("rerank", 0, threads, 1, 0, service, 0.0, work, sizes.base, 0.0)


def _powers(most: int) -> list[int]:
    """Powers of two up to a number, and the number itself."""
    return sorted({*(2**power for power in range(most.bit_length())), most})


def _sized(tiers: Sequence[Tier], targets: Targets, prices: Prices, query: Query) -> Fleet | None:
    """As few replicas as answer in time, on machines; None if no number of them does."""
    if _idle(tiers) > targets.p95_ms:
        return None
    for sized, late in _numbers(tiers, targets):
        if late <= targets.p95_ms:
            machines = tuple(_machines(tier, targets, prices) for tier in sized)
            service = sum(tier.service for tier in tiers)
            return Fleet(sized, machines, service, late, query)
    return None


def _numbers(tiers: Sequence[Tier], targets: Targets) -> Iterator[tuple[tuple[Tier, ...], float]]:
    """The tiers with more and more replicas, and the p95 of a query."""
    rate = targets.qps / 1e3
    for load in _LOADS:
        sized = tuple(_loaded(tier, rate, load, targets) for tier in tiers)
        yield sized, _late(tiers, [tier.delay(rate) for tier in sized])


def _late(tiers: Sequence[Tier], delays: Sequence[Delay]) -> float:
    """The p95 of a query."""
    deviation = math.hypot(*(tier.deviation for tier in tiers))
    return p95(sum(tier.service for tier in tiers), deviation, delays)


def _idle(tiers: Sequence[Tier]) -> float:
    """The p95 of a query that waits for nothing: no number of replicas has a lower one."""
    return _late(tiers, [])


def _loaded(tier: Tier, rate: float, load: float, targets: Targets) -> Tier:
    """A tier with as many replicas as have at most this load, and at least the copies."""
    groups = max(math.ceil(rate * tier.service / load), int(targets.copies))
    return replace(tier, replicas=tier.group * groups, load=rate * tier.service / groups)


def _machines(tier: Tier, targets: Targets, prices: Prices) -> int:
    """Machines for a tier's replicas, by cores and memory; copies are on different machines."""
    by_memory = (
        int((prices.memory_gb - _SYSTEM_GB) / tier.memory_gb) if tier.memory_gb else math.inf
    )
    on_machine = max(min(int(prices.cores) // tier.threads, by_memory), 1)
    return max(math.ceil(tier.replicas / on_machine), int(targets.copies))


def _impossible(
    layouts: Sequence[Sequence[Tier]], targets: Targets, costs: Costs, prices: Prices
) -> str:
    """Why no number of machines is enough, and what would help."""
    if not layouts:
        return (
            f"memory_gb={prices.memory_gb:g}: expected more, since a shard of "
            f"{targets.passages_a_shard:,.0f} passages does not fit; smaller shards or larger "
            "machines help"
        )
    least, tiers = _least(layouts, targets)
    parts = ", ".join(f"{tier.name} {tier.service:.0f}" for tier in tiers)
    helps = []
    if depth := _depth_in_time(targets, costs, prices):
        helps.append(f"depth {depth}")
    if not targets.token_states:
        states = _least_time(replace(targets, token_states=True), costs, prices)
        if states < least:
            helps.append(f"token states ({states:.0f} ms)")
    helps += ["early exit (top_n)", "a budget (budget_ms)", "faster cores"]
    return (
        f"p95_ms={targets.p95_ms:g}: expected at least {math.ceil(least)}, the least p95 with "
        f"machines of {prices.cores:g} cores ({parts} ms without waiting); what helps: "
        f"{', '.join(helps)}"
    )


def _least(layouts: Sequence[Sequence[Tier]], targets: Targets) -> tuple[float, Sequence[Tier]]:
    """The least p95 that a fleet may have, and its layout."""
    least: tuple[float, Sequence[Tier]] = math.inf, ()
    for tiers in sorted(layouts, key=_idle):
        if _idle(tiers) >= least[0]:
            break  # neither this layout nor a later one is faster
        late = min(late for _, late in _numbers(tiers, targets))
        if late < least[0]:
            least = late, tiers
    return least


def _least_time(targets: Targets, costs: Costs, prices: Prices) -> float:
    """The least p95 that a fleet may have; infinite if no machine holds a shard."""
    demand = Demand(targets, costs)
    sizes, query = _Sizes.of(targets, costs, demand), query_cost(targets, costs, demand)
    return _least([*_layouts(targets, prices, sizes, query)], targets)[0]


def _depth_in_time(targets: Targets, costs: Costs, prices: Prices) -> int | None:
    """The greatest depth that a fleet reranks in time, if any."""
    low, high = 0, int(targets.depth)
    while high - low > 1:
        depth = (low + high) // 2
        late = _least_time(replace(targets, depth=depth), costs, prices)
        low, high = (depth, high) if late <= targets.p95_ms else (low, depth)
    return low or None
