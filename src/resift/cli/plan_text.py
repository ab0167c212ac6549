"""Print a plan on the terminal: the table by stage, then what follows from it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table

from resift.cli.output import print_line, print_table
from resift.planning.costs import rounded

if TYPE_CHECKING:
    from resift.planning.plan import Plan, Row
    from resift.planning.serving import Tier

_WIDTH = 100
_COLUMNS = ("cores", "hours", "memory GB", "storage GB", "requests", "dollars")


def print_plan(plan: "Plan") -> None:
    """Print a plan on stdout."""
    targets = plan.targets
    print_line(
        f"{targets.passages:,.0f} passages of {targets.words:g} words, {targets.qps:g} queries/s, "
        f"depth {targets.depth:g}, p95 {targets.p95_ms:g} ms"
    )
    print_table(_table(plan), _WIDTH)
    for line in _lines(plan):
        print_line(line)


def _table(plan: "Plan") -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("stage", "step"):
        table.add_column(name, no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("unit costs", no_wrap=True)
    stage = ""
    for row in plan.rows:
        table.add_row(row.stage if row.stage != stage else "", row.step, *_cells(row), row.basis)
        stage = row.stage
    table.add_row("total", "build, once", *[""] * 5, rounded(plan.build_dollars), "")
    table.add_row("", "a month", *[""] * 5, rounded(plan.month_dollars), "")
    return table


def _cells(row: "Row") -> Iterable[str]:
    numbers = (row.cores, row.hours, row.memory_gb, row.storage_gb, row.requests, row.dollars)
    return (_cell(number) if number else "" for number in numbers)


def _cell(number: float) -> str:
    """A number of three digits, of which two at most are decimals."""
    return rounded(number) if number >= 1 else f"{number:.2f}" if number >= 0.005 else "< 0.01"


def _lines(plan: "Plan") -> Iterable[str]:
    from resift.planning.plan import query_times

    targets, fleet = plan.targets, plan.fleet
    low, high = (None if end is None else rounded(end) for end in plan.range_dollars)
    if high is None:
        yield f"over the ranges of the unit costs: {low} dollars, or too slow at their dear ends"
    elif low != high:
        yield f"over the ranges of the unit costs: {low} to {high} dollars a month"
    yield ""
    yield f"shards: {targets.shards:,} of {targets.passages_a_shard:,.0f} passages"
    for tier, machines in zip(fleet.tiers, fleet.machines, strict=True):
        yield f"{tier.name}: {_describe(tier, machines)}"
    times = ", ".join(f"{name} {ms:.0f}" for name, ms in query_times(fleet).items())
    yield f"a query: {times}; {fleet.service_ms:.0f} ms without waiting, p95 {fleet.p95_ms:.0f} ms"
    yield f"bottleneck: {plan.bottleneck}"
    yield from (f"note: {note}" for note in plan.notes)
    yield f"measured on: {plan.measured_on}"
    sources = {source: row.basis for row in plan.rows for source in row.sources}
    yield from (f"  {source}" for source in sources)
    yield f"prices: {plan.priced_by}"


def _describe(tier: "Tier", machines: int) -> str:
    replicas = f"{tier.replicas:,} replicas"
    if tier.group > 1:
        replicas = f"{tier.replicas // tier.group:,} groups of {tier.group:,} replicas"
    each = [f"threads {tier.threads}", f"memory {tier.memory_gb:.1f} GB"]
    if tier.shards:
        each += [f"shards {tier.shards:,}", f"disk {tier.disk_gb:.1f} GB"]
    return f"{machines:,} machines, {replicas}; each: {', '.join(each)}; load {tier.load:.0%}"
