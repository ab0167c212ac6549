"""Unit costs: what a passage, a pair or a query takes, measured at a few points.

Between two points a cost is on the line between them. Beyond the last point it follows that line if
it rises, or stays as it is (`beyond`), and is called extrapolated.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from resift.errors import InputError, shown
from resift.planning.tables import amount, check_keys, read_text, table

FORMAT = 1
Level = Literal["low", "value", "high"]
_COLUMN: dict[Level, int] = {"value": 1, "low": 2, "high": 3}

NAMES = (
    "parse_ms", "write_ms", "terms_ms", "graph_ms", "embed_ms", "states_ms", "pair_ms",
    "pair_states_ms", "call_ms", "query_ms", "retrieve_ms", "spread_ms", "fetch_ms",
    "fetch_states_ms", "http_ms", "speedup_2", "search_mb", "build_mb", "row_bytes",
    "terms_bytes", "graph_bytes", "state_bytes", "passage_tokens", "tokens_a_word",
    "sync_puts", "sync_gets", "commit_puts", "poll_requests", "cold_requests", "cold_bytes",
    "remote_requests", "remote_bytes",
)  # fmt: skip
"""The costs that a plan needs; ``benchmarks/unit_costs.py`` says what each of them is."""

_DIVISORS = ("passage_tokens",)
"""Costs that others are divided by."""

BY = ("tokens", "passages", "threads")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A unit cost where it is needed; `source` says from what it comes."""

    value: float
    is_measured: bool
    source: str


@dataclass(frozen=True, slots=True)
class Cost:
    """A unit cost at its points: ``(at, value, low, high)``, in the order of `at`.

    `at` counts what `by` names: tokens of a passage, passages of an index, or threads; it means
    nothing where `by` is None.
    """

    unit: str
    by: str | None
    follows_line: bool
    points: tuple[tuple[float, ...], ...]

    def at(self, at: float, level: Level) -> tuple[float, bool]:
        """The cost for `at`, never negative, and whether that lies between measured points.

        Beyond the points, lines through the ends may cross that of the values: then it is the end.
        """
        value, is_measured = self._on_line(at, "value")
        if level == "value":
            return value, is_measured
        end, _ = self._on_line(at, level)
        return (min if level == "low" else max)(end, value), is_measured

    def _on_line(self, at: float, level: Level) -> tuple[float, bool]:
        points = [(point[0], point[_COLUMN[level]]) for point in self.points]
        first, last = points[0], points[-1]
        if self.by is None or len(points) == 1:
            return last[1], self.by is None or at <= last[0]
        if at > last[0]:
            further = _line(points[-2], last, at) if self.follows_line else last[1]
            return max(further, last[1]), False  # a falling line is noise
        if at < first[0]:
            return (max(_line(first, points[1], at), 0.0) if self.follows_line else first[1]), False
        for left, right in pairwise(points):
            if at <= right[0]:
                return _line(left, right, at), True
        return last[1], True


def rounded(number: float) -> str:
    """Three digits, with thousands apart."""
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    digits = 2 - math.floor(math.log10(abs(number)))
    return f"{round(number, digits):,.{max(digits, 0)}f}"


def _line(left: tuple[float, float], right: tuple[float, float], at: float) -> float:
    """The line through two points."""
    return left[1] + (right[1] - left[1]) * (at - left[0]) / (right[0] - left[0])


@dataclass(frozen=True, slots=True)
class Costs:
    """All unit costs of one machine. With another `level`, the low or high ends of their ranges."""

    machine: str
    date: str
    command: str
    costs: Mapping[str, Cost] = field(hash=False)
    level: Level = "value"

    def at_level(self, level: Level) -> "Costs":
        """The same with the other end of each range; a higher speedup is a lower cost."""
        return replace(self, level=level)

    def estimate(self, name: str, at: float = 0.0) -> Estimate:
        """A cost for a passage of `at` tokens, or an index of `at` passages."""
        cost = self.costs[name]
        level: Level = self.level
        if name == "speedup_2" and level != "value":
            level = "low" if level == "high" else "high"
        value, is_measured = cost.at(at, level)
        first, last = cost.points[0][0], cost.points[-1][0]
        nearest = first if at < first else last
        what = f"{name} {rounded(value)} {cost.unit}"
        if is_measured:
            return Estimate(value, True, what)
        return Estimate(value, False, f"{what}, from {nearest:,.0f} {cost.by}")

    def value(self, name: str, at: float = 0.0) -> float:
        """The number alone."""
        return self.estimate(name, at).value


def read_costs(file: Path | None = None) -> Costs:
    """Read unit costs; None are those of the package. Raises `InputError`."""
    where = "unit_costs.json" if file is None else str(file)
    if file is None:
        text = files("resift.planning").joinpath("unit_costs.json").read_text(encoding="utf-8")
    else:
        text = read_text(file)
    try:
        values = table(where, json.loads(text))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{where}: not JSON ({error}); python benchmarks/unit_costs.py prints such a file"
        ) from error
    check_keys(where, values, ("format", "machine", "date", "command", "costs"))
    if values["format"] != FORMAT:
        raise InputError(
            f"{where}: format {shown(values['format'])}: expected {FORMAT}; measure again"
        )
    rows = table(f"{where}: costs", values["costs"])
    check_keys(f"{where}: costs", rows, NAMES)
    costs = {name: _cost(f"{where}: {name}", name, rows[name]) for name in NAMES}
    machine, date, command = (str(values[name]) for name in ("machine", "date", "command"))
    return Costs(machine, date, command, costs)


def _cost(where: str, name: str, value: Any) -> Cost:
    row = table(where, value)
    check_keys(where, row, ("unit", "by", "beyond", "points"))
    if row["by"] is not None and row["by"] not in BY:
        raise InputError(f"{where}: by {shown(row['by'])}: expected {', '.join(BY)} or null")
    if row["beyond"] not in ("line", "last"):
        raise InputError(f"{where}: beyond {shown(row['beyond'])}: expected line or last")
    points = row["points"]
    if not isinstance(points, list) or not points:
        raise InputError(f"{where}: points {shown(points)}: expected a list of points")
    checked = tuple(_point(f"{where}: point", point) for point in points)
    if name in _DIVISORS and not all(point[_COLUMN["low"]] for point in checked):
        raise InputError(f"{where}: points {shown(points)}: expected more than 0")
    if any(left[0] >= right[0] for left, right in pairwise(checked)):
        raise InputError(f"{where}: expected points in growing order, each once")
    return Cost(str(row["unit"]), row["by"], row["beyond"] == "line", checked)


def _point(where: str, point: Any) -> tuple[float, ...]:
    if not isinstance(point, list) or len(point) != 4:
        raise InputError(f"{where} {shown(point)}: expected four numbers: at, value, low, high")
    at, value, low, high = (amount(where, number) for number in point)
    if not low <= value <= high:
        raise InputError(f"{where} {shown(point)}: expected low <= value <= high")
    return at, value, low, high
