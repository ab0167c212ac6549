"""Unit costs and prices of the package, and files with something changed in them."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from resift.planning.costs import Costs, read_costs
from resift.planning.plan import Plan, make_plan
from resift.planning.prices import read_prices
from resift.planning.targets import Targets


def plan_of(costs: Costs | None = None, **targets: Any) -> Plan:
    """A plan with what the package has."""
    return make_plan(Targets(**targets), costs or read_costs(), read_prices())


def document() -> dict[str, Any]:
    """The unit costs of the package as they are in the file."""
    text = files("resift.planning").joinpath("unit_costs.json").read_text(encoding="utf-8")
    values: dict[str, Any] = json.loads(text)
    return values


def costs_with(folder: Path, **points: list[list[float]]) -> Costs:
    """The unit costs of the package with other points."""
    values = document()
    for name, changed in points.items():
        values["costs"][name]["points"] = changed
    file = folder / "costs.json"
    file.write_text(json.dumps(values))
    return read_costs(file)
