"""A plan: what build, storage, serving and syncs take, by step and in total."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from resift.errors import InputError
from resift.planning.costs import Costs, Estimate
from resift.planning.demand import EFFICIENCY, PASSAGES_A_DOCUMENT, Demand, Step
from resift.planning.prices import HOURS_A_MONTH, Prices
from resift.planning.serving import Fleet, plan_fleet
from resift.planning.targets import MOST_WORKERS, Targets

DAYS_A_MONTH = HOURS_A_MONTH / 24
BUILD_HOURS = 24.0
POLL_S = 5.0
"""Seconds between looks for a newer version, as in ``resift.serve.service``."""

HITS, HIT_BYTES = 10, 1_000
"""Assumed: hits of an answer, and bytes of each beside its text."""

CHARACTERS_A_WORD = 6.0


@dataclass(frozen=True, slots=True)
class Row:
    """A step of a stage. What does not apply is 0.

    `dollars` are for a month, and for all of a build. `hours` is how long a build takes with
    `cores`. `basis` is ``measured`` or ``extrapolated``, the latter if any of its unit costs is;
    `sources` has these costs.
    """

    stage: str
    step: str
    cores: float = 0.0
    hours: float = 0.0
    memory_gb: float = 0.0
    storage_gb: float = 0.0
    requests: float = 0.0
    dollars: float = 0.0
    basis: str = "measured"
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of all stages, and what follows from them.

    `targets` have the numbers that were used where none was given. `build_dollars` are paid once,
    `month_dollars` each month; `range_dollars` are the least and the most of a month with unit
    costs in their ranges, None where the dear end is too slow.
    """

    targets: Targets
    rows: tuple[Row, ...]
    fleet: Fleet
    build_dollars: float
    month_dollars: float
    bottleneck: str
    notes: tuple[str, ...] = ()
    range_dollars: tuple[float | None, float | None] = (None, None)
    measured_on: str = field(default="")
    priced_by: str = field(default="")


def make_plan(targets: Targets, costs: Costs, prices: Prices) -> Plan:
    """Plan for these targets. Raises `InputError` if they cannot be met, with what would help."""
    demand = Demand(targets, costs)
    targets = replace(
        targets,
        changes=targets.changed_a_day,
        workers=build_cores(demand),
    )
    fleet = plan_fleet(targets, costs, prices, demand)
    rows = [
        *_build(targets, demand, prices),
        _keep(demand, prices),
        *_serve(targets, demand, prices, fleet),
        *_sync(targets, demand, prices),
    ]
    month = sum(row.dollars for row in rows if row.stage != "build")
    return Plan(
        targets,
        tuple(rows),
        fleet,
        sum(row.dollars for row in rows if row.stage == "build"),
        month,
        _bottleneck(rows, fleet, month),
        tuple(_notes(targets, demand, fleet)),
        _range(targets, costs, prices, month),
        f"{costs.machine}, {costs.date}, {costs.command}",
        prices.label,
    )


def _range(
    targets: Targets, costs: Costs, prices: Prices, month: float
) -> tuple[float | None, float | None]:
    """The least and the most dollars a month over the ranges of the unit costs.

    With lower costs a fleet of other machines may fit best, and cost a little more.
    """
    if costs.level != "value":
        return None, None
    low = _month(targets, costs.at_level("low"), prices)
    high = _month(targets, costs.at_level("high"), prices)
    least = min(month if end is None else min(month, end) for end in (low, high))
    return least, None if high is None else max(month, high)


def _month(targets: Targets, costs: Costs, prices: Prices) -> float | None:
    """Dollars a month with other ends of the ranges; None if no fleet is fast enough then."""
    try:
        return make_plan(targets, costs, prices).month_dollars
    except InputError:
        return None


def _row(stage: str, step: str, estimates: Sequence[Estimate], **figures: float) -> Row:
    measured = all(estimate.is_measured for estimate in estimates)
    basis = "measured" if measured else "extrapolated"
    sources = tuple(estimate.source for estimate in estimates)
    return Row(stage, step, basis=basis, sources=sources, **figures)


def _build(targets: Targets, demand: Demand, prices: Prices) -> list[Row]:
    """The first build, once. Its steps share the cores, one shard a machine at a time."""
    steps = demand.build_steps(targets.passages)
    cores = build_cores(demand)
    build = demand.of_index("build_mb")
    memory = build.value / 1e3 * -(-cores // prices.cores)
    rows = [
        _row(
            "build",
            step.name,
            (*step.estimates, build),
            cores=cores,
            hours=step.hours(cores, prices.cores, targets.shards),
            memory_gb=memory,
            dollars=_core_dollars(step, prices),
        )
        for step in steps
    ]
    puts, gets = demand.build_requests()
    requests = _row(
        "build", "requests", (), requests=puts + gets, dollars=prices.requests(puts, gets)
    )
    return [*rows, requests]


def build_cores(demand: Demand) -> float:
    """The workers, or as many cores as build the index in a day, or the most of a plan."""
    if demand.targets.workers is not None:
        return demand.targets.workers
    steps = demand.build_steps(demand.targets.passages)
    work = sum(step.core_hours for step in steps) / EFFICIENCY
    return min(max(math.ceil(work / BUILD_HOURS), 1), MOST_WORKERS)


def _core_dollars(step: Step, prices: Prices) -> float:
    return step.core_hours / EFFICIENCY * prices.machine_hour / prices.cores


def _keep(demand: Demand, prices: Prices) -> Row:
    size = demand.stored_bytes() / 1e9
    estimates = [demand.of_index(name) for name in ("row_bytes", "terms_bytes", "graph_bytes")]
    if demand.targets.token_states:
        estimates.append(demand.costs.estimate("state_bytes"))
    return _row(
        "keep", "object storage", estimates, storage_gb=size, dollars=size * prices.gb_month
    )


def _serve(targets: Targets, demand: Demand, prices: Prices, fleet: Fleet) -> list[Row]:
    """The machines of each tier, divided among its steps by their processor time."""
    rows = []
    query, shards = fleet.query, targets.shards
    work = {"retrieve": query.retrieve * shards, "fetch": query.fetch,
            "rerank": query.rerank + query.fixed}  # fmt: skip
    pair = demand.of_text("pair_states_ms" if targets.token_states else "pair_ms")
    threads = demand.costs.estimate("speedup_2", fleet.tiers[-1].threads)
    fetch = demand.of_index("fetch_states_ms" if targets.token_states else "fetch_ms")
    estimates = {"retrieve": (demand.of_index("retrieve_ms"), demand.of_index("search_mb")),
                 "fetch": (fetch,), "rerank": (pair, threads)}  # fmt: skip
    for tier, machines in zip(fleet.tiers, fleet.machines, strict=True):
        steps = {"retrieve": ("retrieve", "fetch"), "rerank": ("rerank",)}.get(
            tier.name, tuple(work)
        )
        total = sum(work[step] for step in steps)
        disk = tier.disk_gb * tier.replicas
        for step in steps:
            part = work[step] / total if total else 1 / len(steps)
            dollars = machines * prices.machine_hour * HOURS_A_MONTH + disk * prices.disk_gb_month
            rows.append(_row("serve", step, estimates[step], cores=machines * prices.cores * part,
                             memory_gb=machines * prices.memory_gb * part, storage_gb=disk * part,
                             dollars=dollars * part))  # fmt: skip
    looks = (
        fleet.total_machines * HOURS_A_MONTH * 3600 / POLL_S * demand.costs.value("poll_requests")
    )
    rows.append(_row("serve", "requests", (), requests=looks, dollars=prices.requests(0, looks)))
    hits = targets.qps * HOURS_A_MONTH * 3600 * HITS
    size = hits * (HIT_BYTES + targets.words * CHARACTERS_A_WORD) / 1e9
    rows.append(Row("serve", "answers", dollars=size * prices.egress_gb, basis="assumed",
                    sources=(f"{HITS} hits of {HIT_BYTES} bytes and their texts",)))  # fmt: skip
    return rows


def _sync(targets: Targets, demand: Demand, prices: Prices) -> list[Row]:
    """A month of syncs, on cores that are paid while they work."""
    if not targets.changed_a_day:
        return []
    rows = [
        _row("sync", step.name, step.estimates, cores=step.core_hours / EFFICIENCY / HOURS_A_MONTH,
             dollars=_core_dollars(step, prices))
        for step in demand.sync_steps(DAYS_A_MONTH)
    ]  # fmt: skip
    puts, gets = demand.sync_requests(DAYS_A_MONTH)
    requests = _row(
        "sync", "requests", (), requests=puts + gets, dollars=prices.requests(puts, gets)
    )
    return [*rows, requests]


def _bottleneck(rows: Sequence[Row], fleet: Fleet, month: float) -> str:
    """The step that costs most a month, and the one that takes most of a query's time."""
    dearest = max((row for row in rows if row.stage != "build"), key=lambda row: row.dollars)
    share = dearest.dollars / month if month else 0.0
    times = query_times(fleet)
    longest = max(times, key=lambda name: times[name])
    part = times[longest] / fleet.service_ms if fleet.service_ms else 0.0
    return (
        f"{dearest.stage}: {dearest.step}, {share:.0%} of the dollars a month; "
        f"{longest} is {part:.0%} of a query's time"
    )


def query_times(fleet: Fleet) -> dict[str, float]:
    """Milliseconds of each step of a query that does not wait."""
    last = fleet.tiers[-1]
    rerank = fleet.query.rerank_ms(last.threads)
    fetch = fleet.query.fetch / fleet.tiers[0].group
    retrieve = fleet.service_ms - rerank - fetch - fleet.query.fixed
    return {
        "retrieve": retrieve,
        "fetch": fetch,
        "rerank": rerank,
        "HTTP and query": fleet.query.fixed,
    }


def _notes(targets: Targets, demand: Demand, fleet: Fleet) -> list[str]:
    """What a reader should know before acting on the plan."""
    notes = []
    if len(fleet.tiers) > 1:
        notes.append(
            "one machine does not hold or search all shards in time: this plan sends each query to "
            "a group of machines and merges their candidates; resift merges shards within one "
            "process only, so that front is yours to build"
        )
    beyond = demand.costs.costs["retrieve_ms"].points[-1][0]
    if targets.passages_a_shard > beyond:
        notes.append(f"no shard of over {beyond:,.0f} passages was measured for these unit costs")
    if fleet.tiers[-1].threads > 2:
        notes.append("more than two threads a query are extrapolated from two, by Amdahl's law")
    requests, size = (demand.costs.value(f"remote_{name}") for name in ("requests", "bytes"))
    notes.append(
        f"without local copies, each query would send {requests * targets.shards:,.0f} requests "
        f"and read {size * targets.shards / 1e6:,.1f} MB"
    )
    notes.append(f"assumed: {PASSAGES_A_DOCUMENT} passages a document; builds keep their cores "
                 f"{EFFICIENCY:.0%} busy; steady traffic")  # fmt: skip
    return notes
