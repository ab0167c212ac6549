"""Plans grow as they should, add up, and say what cannot be reached and what would help."""

import re
from pathlib import Path
from typing import Any

import pytest

from planning.tables import FILE, costs_with, plan_of
from resift.errors import InputError
from resift.planning.costs import read_costs
from resift.planning.demand import Demand
from resift.planning.plan import Plan
from resift.planning.queueing import p95
from resift.planning.targets import Targets

SMALL: dict[str, Any] = {"passages": 100_000, "qps": 5, "depth": 30}
LARGE: dict[str, Any] = {"passages": 1e9, "qps": 500, "depth": 50, "p95_ms": 250}


def _sum(plan: Plan, stage: str, figure: str) -> float:
    return float(sum(getattr(row, figure) for row in plan.rows if row.stage == stage))


def test_the_stages_add_up_to_the_totals() -> None:
    plan = plan_of(**LARGE)
    stages = {row.stage for row in plan.rows}
    assert stages == {"build", "keep", "serve", "sync"}
    assert plan.build_dollars == pytest.approx(_sum(plan, "build", "dollars"))
    monthly = sum(_sum(plan, stage, "dollars") for stage in stages - {"build"})
    assert plan.month_dollars == pytest.approx(monthly)
    machines = _sum(plan, "serve", "cores") / 16
    assert machines == pytest.approx(plan.fleet.total_machines)


def test_ten_times_the_passages_are_ten_times_the_build_and_the_storage() -> None:
    few, many = (plan_of(passages=passages, qps=50, depth=30) for passages in (1e7, 1e8))
    assert many.build_dollars == pytest.approx(10 * few.build_dollars, rel=0.02)
    for stage, figure in (("keep", "storage_gb"), ("build", "requests")):
        assert _sum(many, stage, figure) == pytest.approx(10 * _sum(few, stage, figure), rel=0.1)


def test_more_queries_need_more_machines_and_a_later_p95_fewer() -> None:
    machines = [plan_of(passages=1e6, qps=qps, depth=30).fleet.total_machines
                for qps in (20, 100, 500)]  # fmt: skip
    assert machines == sorted(set(machines))
    late, early = (plan_of(**LARGE | {"p95_ms": ms}).fleet.total_machines for ms in (400, 200))
    assert late < early


@pytest.mark.parametrize("targets", [SMALL, LARGE, SMALL | {"token_states": True}])
def test_the_fleet_is_in_time_and_has_its_copies(targets: dict[str, Any]) -> None:
    fleet = plan_of(**targets).fleet
    assert fleet.service_ms < fleet.p95_ms <= targets.get("p95_ms", 500)
    for tier, machines in zip(fleet.tiers, fleet.machines, strict=True):
        assert tier.load <= 0.8 and tier.replicas >= 2 * tier.group and machines >= 2
        assert tier.replicas * tier.threads <= machines * 16
        assert tier.replicas * tier.memory_gb <= machines * 64
    assert fleet.tiers[0].group * fleet.tiers[0].shards >= Targets(**targets).shards


def test_the_p95_is_that_of_the_replicas_of_the_plan() -> None:
    fleet = plan_of(**SMALL).fleet
    (tier,) = fleet.tiers
    assert fleet.p95_ms == pytest.approx(
        p95(tier.service, tier.deviation, [tier.delay(SMALL["qps"] / 1e3)])
    )


def test_copies_are_on_machines_of_their_own() -> None:
    assert plan_of(**SMALL, copies=5).fleet.total_machines >= 5


def test_an_index_that_one_machine_holds_needs_no_second_tier() -> None:
    assert [tier.name for tier in plan_of(**SMALL).fleet.tiers] == ["serve"]
    plan = plan_of(**LARGE)
    assert [tier.name for tier in plan.fleet.tiers] == ["retrieve", "rerank"]
    assert any("yours to build" in note for note in plan.notes)


def test_token_states_take_storage_and_save_reranking() -> None:
    plain, states = plan_of(**SMALL), plan_of(**SMALL, token_states=True)
    assert _sum(states, "keep", "storage_gb") > 10 * _sum(plain, "keep", "storage_gb")
    assert states.fleet.query.rerank < plain.fleet.query.rerank / 3
    assert "token states" in {row.step for row in states.rows}
    (keep,) = [row for row in states.rows if row.stage == "keep"]
    assert any(source.startswith("state_bytes ") for source in keep.sources)


def test_more_workers_build_sooner_for_the_same_money() -> None:
    few, many = plan_of(**LARGE, workers=160), plan_of(**LARGE, workers=1600)
    assert _sum(few, "build", "hours") == pytest.approx(10 * _sum(many, "build", "hours"), rel=0.1)
    assert few.build_dollars == pytest.approx(many.build_dollars)


def test_a_build_without_workers_takes_about_a_day() -> None:
    assert 20 < _sum(plan_of(**LARGE), "build", "hours") <= 24.5


def test_targets_that_were_left_out_are_told_as_they_were_used() -> None:
    plan = plan_of(**LARGE)
    assert plan.targets.changes == 1e6
    assert plan.targets.workers == next(row.cores for row in plan.rows if row.stage == "build")
    assert plan_of(**LARGE, changes=0, workers=3).targets == Targets(**LARGE, changes=0, workers=3)


def test_more_machines_than_shards_do_not_publish_sooner() -> None:
    demand = Demand(Targets(passages=2e6, qps=1), read_costs(FILE))
    index = demand.build_steps(2e6)[-1]
    assert index.by_shard
    assert index.hours(32, 16, 2) == index.hours(3200, 16, 2) == index.hours(16, 16, 2) / 2


def test_changes_and_syncs_cost_by_what_they_touch() -> None:
    never, daily, hourly = (plan_of(**LARGE, changes=changes, syncs=syncs)
                            for changes, syncs in ((0, 1), (1e6, 1), (1e6, 24)))  # fmt: skip
    assert _sum(never, "sync", "dollars") == 0
    assert 0 < _sum(daily, "sync", "dollars") < _sum(hourly, "sync", "dollars")
    demand = Demand(Targets(**LARGE, changes=10), read_costs(FILE))
    assert demand.shards_a_sync == pytest.approx(1.0, rel=0.01)
    demand = Demand(Targets(**LARGE, changes=1e9), read_costs(FILE))
    assert demand.shards_a_sync == pytest.approx(1000)


def test_figures_beyond_what_was_measured_are_called_extrapolated() -> None:
    def basis(step: str, **targets: Any) -> str:
        return next(row.basis for row in plan_of(**targets).rows if row.step == step)

    assert basis("retrieve", **LARGE) == "extrapolated"
    assert basis("retrieve", **SMALL) == "measured"
    assert basis("embed", **SMALL) == "measured"
    assert basis("embed", **SMALL, words=150, p95_ms=2000) == "extrapolated"
    assert basis("embed", **LARGE) == "extrapolated"  # the memory of a build
    assert basis("rerank", **LARGE) == "extrapolated"  # more than two threads


def test_every_row_with_dollars_says_from_what() -> None:
    for row in plan_of(**LARGE).rows:
        assert row.basis in ("measured", "extrapolated", "assumed")
        assert row.sources or row.step == "requests"


def test_the_bottleneck_is_the_dearest_step(tmp_path: Path) -> None:
    assert plan_of(**LARGE).bottleneck.startswith("serve: retrieve, ")
    assert plan_of(**SMALL).bottleneck.startswith("serve: rerank, ")
    fast = [[100, 0.001, 0.001, 0.001]]
    costs = costs_with(tmp_path, pair_ms=fast, call_ms=fast)
    assert plan_of(costs, **SMALL).bottleneck.startswith("serve: retrieve, ")


def test_the_range_of_the_dollars_is_that_of_the_unit_costs(tmp_path: Path) -> None:
    low, high = plan_of(**LARGE).range_dollars
    assert low is not None and high is not None and low < plan_of(**LARGE).month_dollars < high
    slow = costs_with(tmp_path, pair_ms=[[100, 5, 5, 5000]])
    assert plan_of(slow, **SMALL).range_dollars[1] is None


def test_a_p95_below_the_time_of_a_query_is_refused_with_what_helps() -> None:
    with pytest.raises(InputError) as caught:
        plan_of(passages=1e6, qps=5, depth=100, p95_ms=90)
    message = str(caught.value)
    assert message.startswith("p95_ms=90: expected at least ")
    depth = int(re.search(r"depth (\d+)", message)[1])  # type: ignore[index]
    assert plan_of(passages=1e6, qps=5, depth=depth, p95_ms=90).fleet.p95_ms <= 90
    for word in ("token states", "early exit", "budget_ms"):
        assert word in message


@pytest.mark.parametrize(("qps", "copies"), [(0.1, 2), (1.5, 2), (5, 2), (100, 3)])
def test_the_least_p95_that_a_message_names_is_accepted(qps: float, copies: int) -> None:
    targets: dict[str, Any] = {"passages": 1e6, "qps": qps, "copies": copies, "depth": 100}
    with pytest.raises(InputError) as caught:
        plan_of(**targets, p95_ms=90)
    least = int(re.search(r"at least (\d+)", str(caught.value))[1])  # type: ignore[index]
    assert least - 1 < plan_of(**targets, p95_ms=least).fleet.p95_ms <= least
    with pytest.raises(InputError, match=f"at least {least}, "):
        plan_of(**targets, p95_ms=least - 1)


def test_any_number_of_passages_has_a_plan() -> None:
    assert plan_of(passages=1_234_567, qps=5).targets.changes == pytest.approx(1_234.567)
    assert plan_of(passages=1, qps=1e-6).month_dollars > 0
    huge = plan_of(passages=1e15, qps=1, p95_ms=1e6)
    assert huge.targets.workers == 1e7 and _sum(huge, "build", "hours") > 24


def test_unit_costs_of_nothing_have_a_plan(tmp_path: Path) -> None:
    costs = read_costs(FILE).costs
    times = [name for name in costs if name.endswith("_ms")]
    nothing = costs_with(tmp_path, **{
        name: [[point[0], 0, 0, 0] for point in costs[name].points] for name in times
    })  # fmt: skip
    for targets in (SMALL, LARGE):
        plan = plan_of(nothing, **targets)
        assert plan.month_dollars == pytest.approx(
            sum(row.dollars for row in plan.rows if row.stage != "build")
        )
        machines = _sum(plan, "serve", "cores") / 16
        assert machines == pytest.approx(plan.fleet.total_machines)


def test_a_shard_that_fits_no_machine_is_refused() -> None:
    with pytest.raises(InputError, match="smaller shards"):
        plan_of(passages=1e9, qps=5, shard_passages=1e9)


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in ("passages", "qps", "p95_ms", "words")
     for value in (0, -1, float("nan"), float("inf"), 1e30, True, "x")]
    + [("depth", 0), ("depth", 1.5), ("depth", 10_001), ("copies", 0), ("changes", -1),
       ("syncs", 0), ("workers", 0), ("shard_passages", 0.5), ("passages", 1.5)],
)  # fmt: skip
def test_a_target_out_of_its_bounds_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^{name}=.*: expected a (whole )?number from "):
        Targets(**SMALL | {name: value})
