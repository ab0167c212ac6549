"""Unit costs and prices are checked: each kind of wrong line is named, with what to do."""

import json
from pathlib import Path
from typing import Any

import pytest

from planning.tables import FILE, costs_with, document
from resift.errors import InputError
from resift.planning.costs import NAMES, read_costs, rounded
from resift.planning.prices import bundled_prices, read_prices


def test_the_files_of_the_package_are_valid() -> None:
    assert read_costs().machine and read_prices().cores >= 1


def test_between_points_a_cost_is_measured_and_beyond_them_extrapolated() -> None:
    costs = read_costs(FILE)
    inside, beyond = costs.estimate("pair_ms", 75), costs.estimate("pair_ms", 400)
    assert inside.is_measured and not beyond.is_measured
    assert costs.value("pair_ms", 50) < inside.value < costs.value("pair_ms", 100)
    assert beyond.value > 2 * costs.value("pair_ms", 150)
    assert beyond.source.endswith("from 150 tokens")
    assert costs.estimate("pair_ms", 20).source.endswith("from 50 tokens")


def test_a_cost_that_seems_to_fall_with_size_is_not_taken_to_fall_further(tmp_path: Path) -> None:
    falling = costs_with(tmp_path, retrieve_ms=[[1e4, 10, 9, 11], [1e5, 8, 7, 9]])
    assert falling.value("retrieve_ms", 1e6) == 8
    rising = costs_with(tmp_path, retrieve_ms=[[1e4, 8, 8, 8], [1e5, 10, 9, 11]])
    assert rising.value("retrieve_ms", 1e6) == pytest.approx(30)


def test_a_cost_for_each_passage_stays_as_it_was_last_measured(tmp_path: Path) -> None:
    costs = costs_with(tmp_path, write_ms=[[1e4, 1, 1, 1], [1e5, 2, 2, 2]])
    assert costs.value("write_ms", 1e9) == 2 and costs.value("write_ms", 1) == 1


def test_the_low_end_of_costs_is_the_high_end_of_a_speedup(tmp_path: Path) -> None:
    costs = costs_with(tmp_path, speedup_2=[[2, 1.5, 1.2, 1.9]])
    assert costs.at_level("low").value("speedup_2") == 1.9
    assert costs.at_level("high").value("speedup_2") == 1.2


@pytest.mark.parametrize("at", [1, 50, 75, 150, 1_000, 100_000])
def test_the_value_of_a_cost_is_between_its_ends_everywhere(tmp_path: Path, at: float) -> None:
    points = [[50, 10.0, 8.0, 14.0], [150, 20.0, 19.9, 20.1]]
    costs = costs_with(tmp_path, pair_ms=points)
    low, high = costs.at_level("low"), costs.at_level("high")
    assert low.value("pair_ms", at) <= costs.value("pair_ms", at) <= high.value("pair_ms", at)


def _without(name: str) -> dict[str, Any]:
    values = document()
    del values["costs"][name]
    return values


def _with(**changed: Any) -> dict[str, Any]:
    return document() | changed


def _cost(**changed: Any) -> dict[str, Any]:
    values = document()
    values["costs"]["pair_ms"] |= changed
    return values


def _tokens(number: float) -> dict[str, Any]:
    values = document()
    values["costs"]["passage_tokens"]["points"] = [[0, number, number, number]]
    return values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (_with(costs=document()["costs"] | {"pairs_ms": 1}), "did you mean pair_ms?"),
        (_without("pair_ms"), "costs: pair_ms missing"),
        (_with(format=2), "format 2: expected 1"),
        (_with(costs=[]), "costs: expected a table, got []"),
        ([], "expected a table, got []"),
        (_cost(points=[]), "expected a list of points"),
        (_cost(points=[[1, 2, 3]]), "expected four numbers"),
        (_cost(points=[[1, 2, 3, 4]]), "expected low <= value <= high"),
        (_cost(points=[[1, float("nan"), 1, 1]]), "nan: expected a number from 0"),
        (_cost(points=[[1, 2, 2, float("inf")]]), "inf: expected a number from 0"),
        (_cost(points=[[1, -2, -2, -2]]), "-2: expected a number from 0"),
        (_cost(points=[[1, True, 1, 1]]), "True: expected a number from 0"),
        (_cost(points=[[2, 1, 1, 1], [1, 1, 1, 1]]), "growing order"),
        (_cost(by="words"), "by 'words': expected tokens, passages, threads or null"),
        (_cost(beyond="up"), "expected line or last"),
        (_cost(unit2="x"), "did you mean unit?"),
        (_tokens(0), "passage_tokens: points [[0, 0, 0, 0]]: expected more than 0"),
    ],
)
def test_each_kind_of_wrong_unit_costs_is_named(tmp_path: Path, values: Any, message: str) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps(values))
    with pytest.raises(InputError) as caught:
        read_costs(file)
    assert message in str(caught.value) and str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("core_hour =", "core_hours =", "did you mean core_hour?"),
        ("gb_month = 0.023", "", "[object_storage]: gb_month missing"),
        ("core_hour = 0.035", "core_hour = -1", "core_hour = -1: expected a number from 0"),
        ("core_hour = 0.035", "core_hour = inf", "core_hour = inf: expected a number"),
        ("core_hour = 0.035", "core_hour = nan", "core_hour = nan: expected a number"),
        ("core_hour = 0.035", "core_hour = '1'", "core_hour = '1': expected a number"),
        ("core_hour = 0.035", "core_hour = 1" + "0" * 400, "expected a number from 0"),
        ("cores = 16", "cores = 0", "cores = 0: expected a number from 1"),
        ("cores = 16", "cores = 1.5", "cores = 1.5: expected a whole number"),
        ("[machine]", "[machines]", "did you mean machine?"),
        ("[machine]", "machine = 1\n[other]", "unknown key 'other'"),
        ("core_hour = 0.035", "core_hour =", "not TOML"),
    ],
)
def test_each_kind_of_wrong_prices_is_named(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    assert before in bundled_prices()
    file = tmp_path / "prices.toml"
    file.write_text(bundled_prices().replace(before, after, 1))
    with pytest.raises(InputError) as caught:
        read_prices(file)
    assert message in str(caught.value) and str(file) in str(caught.value)


@pytest.mark.parametrize("read", [read_costs, read_prices])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, read: Any) -> None:
    for file in (tmp_path / "missing", tmp_path, Path("a\0b")):
        with pytest.raises(InputError, match=r"cannot be read|not a text file|not JSON"):
            read(file)
    (tmp_path / "latin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="latin"):
        read(tmp_path / "latin")


def test_unit_costs_name_every_cost_once() -> None:
    assert len(set(NAMES)) == len(NAMES) and set(NAMES) == set(document()["costs"])


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (1234567, "1,230,000"), (12.345, "12.3"), (0.012345, "0.0123"), (999.9, "1,000")],
)
def test_numbers_have_three_digits(number: float, text: str) -> None:
    assert rounded(number) == text
