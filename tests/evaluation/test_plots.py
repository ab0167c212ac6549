"""Plots show the data: positions, round numbers, shapes, descriptions."""

import math
import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evaluation.example_evaluations import make_evaluation, without_times
from resift.evaluation.report.drawing import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Axis,
    Plane,
    format_number,
    format_share,
    round_ticks,
)
from resift.evaluation.report.plots import (
    depth_curve,
    figures,
    latency_curve,
    query_deltas,
    trade_off,
)
from resift.evaluation.result import QueryChange

NUMBERS = st.floats(-1e6, 1e6).map(lambda value: round(value, 6))


@given(NUMBERS, NUMBERS)
def test_ticks_are_few_and_round_and_cover_the_values(first: float, second: float) -> None:
    low, high = min(first, second), max(first, second)
    ticks = round_ticks(low, high)
    step = ticks[1] - ticks[0]
    assert ticks[0] <= low + step * 1e-6 and high - step * 1e-6 <= ticks[-1]
    assert 2 <= len(ticks) <= 9 and ticks == sorted(set(ticks))
    digits = step / 10 ** math.floor(math.log10(step * 1.000001))
    assert min(abs(digits - value) for value in (1, 2, 5)) < 1e-3


@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=9, unique=True))
def test_positions_rise_with_depth_and_stay_between_the_axes(depths: list[int]) -> None:
    axis = Axis("depth", sorted(depths), format_number, log=True)
    plane = Plane(axis, Axis("quality", (0, 1), format_share))
    positions = [plane.x(depth) for depth in sorted(depths)]
    assert positions == sorted(positions)
    assert positions[0] == pytest.approx(LEFT) and positions[-1] == pytest.approx(RIGHT)
    assert (plane.y(0), plane.y(1)) == (BOTTOM, TOP)


def test_labels_that_would_touch_are_left_out() -> None:
    horizontal = Axis("depth", range(1, 200), format_number)
    dense = Plane(horizontal, Axis("", (0, 1), format_share)).drawing("")
    at = [float(value) for value in re.findall(rf'x="([\d.]+)" y="{BOTTOM + 19}"', dense)]
    assert len(at) > 10 and all(b - a >= 26 for a, b in pairwise(at))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.6, ".60"), (0.625, ".625"), (-0.05, "−.05"), (1, "1.00"), (-1.5, "−1.50")],
)
def test_measures_are_written_as_papers_do(value: float, text: str) -> None:
    assert format_share(value) == text


def test_the_depth_curve_has_the_band_around_the_first_stage_and_its_change() -> None:
    evaluation = make_evaluation()
    compared = evaluation.systems[0].compared["nDCG@10"]
    low, high = (
        f"{compared.before + end:.3f}".lstrip("0") for end in (compared.low, compared.high)
    )
    assert f"bundled, 95 % band: {low} to {high}" in depth_curve(evaluation)


def test_systems_differ_in_shape_as_well_as_in_colour() -> None:
    drawn = depth_curve(make_evaluation(labels=("a", "b", "c")))
    shapes = re.findall(r'd="M[\d.]+ [\d.]+([^"]+)" class="mark full"><title>(\w)', drawn)
    assert len({shape for shape, _ in shapes}) == 3
    assert len(set(shapes)) == 3 and len(shapes) == 12


def test_the_trade_off_names_the_depth_of_each_mark() -> None:
    drawn = trade_off(make_evaluation())
    assert re.findall(r'class="depth">(\d+)<', drawn) == ["10", "20", "50", "100"]


def test_a_depth_that_was_not_timed_is_left_out_of_times() -> None:
    evaluation = make_evaluation()
    system = evaluation.systems[0]
    rows = (replace(system.rows[0], latency=None), *system.rows[1:])
    evaluation = replace(evaluation, systems=(replace(system, rows=rows),))
    for drawn in (latency_curve(evaluation), trade_off(evaluation)):
        assert "depth 10:" not in drawn and "depth 20:" in drawn
    assert "depth 10:" in depth_curve(evaluation)


def test_without_times_only_the_plots_of_quality_are_drawn() -> None:
    drawn = figures(without_times(make_evaluation()))
    assert drawn.count("<figure>") == 2 and "Milliseconds by depth" not in drawn


@example([(0.0, 5e-324)])  # less than any tick
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_bars_are_as_tall_as_the_change_and_on_its_side_of_zero(
    pairs: list[tuple[float, float]],
) -> None:
    changes = [QueryChange(f"q{n}", "query", *pair, ()) for n, pair in enumerate(pairs)]
    drawn = query_deltas(changes, "nDCG@10")
    bars = re.findall(r'y="([\d.]+)" width="[\d.]+" height="([\d.]+)" class="bar (\w+)"', drawn)
    deltas = [after - before for before, after in pairs]
    assert len(bars) == len(deltas)
    assert [kind for *_, kind in bars] == [
        "helped" if value > 0 else "hurt" if value < 0 else "equal" for value in deltas
    ]
    heights = {float(tall) / abs(value) for (_, tall, _), value in zip(bars, deltas, strict=True)
               if float(tall) > 20}  # fmt: skip
    assert not heights or max(heights) / min(heights) < 1.01
    bottoms = {float(y) + float(tall) for y, tall, kind in bars if kind == "helped"}
    tops = {float(y) for y, _, kind in bars if kind == "hurt"}
    assert not bottoms | tops or max(bottoms | tops) - min(bottoms | tops) <= 0.2


def test_a_change_that_is_small_beside_the_others_can_still_be_seen() -> None:
    changes = [QueryChange("a", "", 0.0, 1.0, ()), QueryChange("b", "", 0.5, 0.5001, ()),
               QueryChange("c", "", 0.5, 0.5, ())]  # fmt: skip
    heights = re.findall(r'height="([\d.]+)" class="bar', query_deltas(changes, "nDCG@10"))
    assert [float(value) >= 3 for value in heights] == [True] * 3
