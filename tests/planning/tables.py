"""Unit costs that stay as they are, and files with something changed in them."""

import json
from pathlib import Path
from typing import Any

from resift.planning.costs import Costs, read_costs
from resift.planning.plan import Plan, make_plan
from resift.planning.prices import read_prices
from resift.planning.targets import Targets

FILE = Path(__file__).with_name("unit_costs.json")
"""Those of the package are measured again and again."""


def plan_of(costs: Costs | None = None, **targets: Any) -> Plan:
    """A plan with these unit costs and the prices of the package."""
    return make_plan(Targets(**targets), costs or read_costs(FILE), read_prices())


def document() -> dict[str, Any]:
    """The unit costs as they are in the file."""
    values: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return values


def costs_with(folder: Path, **points: list[list[float]]) -> Costs:
    """The unit costs with other points."""
    values = document()
    for name, changed in points.items():
        values["costs"][name]["points"] = changed
    file = folder / "costs.json"
    file.write_text(json.dumps(values))
    return read_costs(file)
