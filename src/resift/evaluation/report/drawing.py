"""Parts of a plot as inline SVG: axes, a system's line and marks, and its legend.

Colours are CSS classes, ``s0`` to ``s5`` for systems; marks differ in shape as well.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from resift.evaluation.report.markup import Markup, element, join

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 50, 466, 26, 254  # the area between the axes
MIN_RANGE = 1e-6  # values that differ by less count as equal
MIN_LABEL_DISTANCE = 26  # of tick labels, so that they do not touch
COLOURS = 6
BAR_DISTANCE = 9  # between the error bars of systems
SHAPES = (
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",  # circle
    "m-3.6-3.6h7.2v7.2h-7.2z",  # square
    "m0-5.2l5.2 5.2l-5.2 5.2l-5.2-5.2z",  # diamond
    "m0-5l5 8.6h-10z",  # triangle
)


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis with rising `ticks`; the first and last are its ends. `format` labels ticks."""

    label: str
    ticks: Sequence[float]
    format: Callable[[float], str]
    log: bool = False

    def share(self, value: float) -> float:
        """The position of a value, 0..1; the middle where the axis has no length."""
        low, high = self.ticks[0], self.ticks[-1]
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return (value - low) / (high - low) if high > low else 0.5


@dataclass(frozen=True, slots=True)
class Plane:
    """Two axes, which map values to coordinates of the drawing."""

    horizontal: Axis
    vertical: Axis

    def x(self, value: float) -> float:
        return LEFT + self.horizontal.share(value) * (RIGHT - LEFT)

    def y(self, value: float) -> float:
        return BOTTOM - self.vertical.share(value) * (BOTTOM - TOP)

    def drawing(self, label: str, *parts: Markup) -> Markup:
        """The whole plot as an SVG; `label` describes it for screen readers."""
        return element(
            "svg",
            self._axes(),
            *parts,
            viewBox=f"0 0 {WIDTH} {HEIGHT}",
            role="img",
            aria_label=label,
        )

    def _axes(self) -> Markup:
        parts = []
        for tick in self.vertical.ticks:
            y = self.y(tick)
            label = self.vertical.format(tick)
            zero = "zero" if tick == 0 else None
            parts.append(element("path", d=f"M{LEFT} {y:.1f}H{RIGHT}", class_=zero))
            parts.append(element("text", label, x=LEFT - 7, y=y + 4, class_="end"))
        last = -math.inf
        for tick in self.horizontal.ticks:
            x, label = self.x(tick), self.horizontal.format(tick)
            if label and x - last >= MIN_LABEL_DISTANCE:
                parts.append(element("path", d=f"M{x:.1f} {BOTTOM}v5"))
                parts.append(element("text", label, x=x, y=BOTTOM + 19))
                last = x
        parts.append(element("text", self.vertical.label, x=0, y=12, class_="start"))
        middle = (LEFT + RIGHT) / 2
        parts.append(element("text", self.horizontal.label, x=middle, y=HEIGHT - 6))
        return element("g", join(parts), class_="axes")

    def level(self, value: float, title: str) -> Markup:
        """A horizontal line."""
        left, right = (self.x(end) for end in (self.horizontal.ticks[0], self.horizontal.ticks[-1]))
        path = f"M{left:.1f} {self.y(value):.1f}H{right:.1f}"
        return element("path", element("title", title), d=path, class_="level")


class Point(NamedTuple):
    """A point in the data's units; `title` is its tooltip, `label` a text beside it."""

    x: float
    y: float
    title: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """The points of one system, the `number`-th of the report, from left to right."""

    number: int
    label: str
    points: Sequence[Point]

    def drawing(self, plane: Plane, style: str = "full") -> Markup:
        """A line with a mark at each point; `style` is full or dashed."""
        positions = [(plane.x(point.x), plane.y(point.y)) for point in self.points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in positions)
        line = element("path", d=f"M{path}", class_=f"line {style}") if positions else ""
        marks = (
            self._mark(position, style, element("title", f"{self.label}, {point.title}"))
            for position, point in zip(positions, self.points, strict=True)
        )
        return self._coloured(line, *marks)

    def labels(self, plane: Plane) -> Markup:
        """The labels of points: above them, or below for every second system."""
        dx, dy = (5, -9) if self.number % 2 == 0 else (-5, 18)
        texts = (
            element("text", p.label, x=plane.x(p.x) + dx, y=plane.y(p.y) + dy, class_="depth")
            for p in self.points
        )
        return self._coloured(*texts)

    def error_bar(self, plane: Plane, low: float, high: float, title: str) -> Markup:
        """An error bar at the last point, beside those of earlier systems."""
        x = plane.x(self.points[-1].x) - BAR_DISTANCE * self.number
        path = f"M{x - 4:.1f} {plane.y(low):.1f}h8m-4 0V{plane.y(high):.1f}m-4 0h8"
        tooltip = element("title", f"{self.label}, {title}")
        return self._coloured(element("path", tooltip, d=path, class_="band"))

    def legend(self, style: str = "full") -> Markup:
        """The line and mark, for a legend."""
        line = element("path", d="M0 7H26", class_=f"line {style}")
        return _legend(self._coloured(line, self._mark((13, 7), style)))

    def description(self) -> str:
        """All points in words."""
        return f"{self.label}: {', '.join(point.title for point in self.points)}"

    def _mark(self, position: tuple[float, float], style: str, *title: Markup) -> Markup:
        shape = SHAPES[self.number % len(SHAPES)]
        x, y = position
        return element("path", *title, d=f"M{x:.1f} {y:.1f}{shape}", class_=f"mark {style}")

    def _coloured(self, *parts: str) -> Markup:
        return element("g", *parts, class_=f"series s{self.number % COLOURS}")


def level_legend() -> Markup:
    """The line of `Plane.level`, for a legend."""
    return _legend(element("path", d="M0 7H26", class_="level"))


def bar_legend(kind: str) -> Markup:
    """The colour of ``helped``, ``hurt`` or ``equal`` bars, for a legend."""
    return _legend(element("rect", x=8, y=2, width=10, height=10, class_=f"bar {kind}"))


def _legend(drawn: Markup) -> Markup:
    return element("svg", drawn, viewBox="0 0 26 14", class_="swatch", aria_hidden="true")


def round_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """About `count` ticks that include `low` and `high`, 1, 2 or 5 × 10ⁿ apart."""
    if not high - low > MIN_RANGE:
        low, high = low - abs(low) / 10 - 0.01, high + abs(high) / 10 + 0.01
    min_step = (high - low) / count
    power = 10.0 ** math.floor(math.log10(min_step))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= min_step)
    numbers = range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)
    return [round(number * step, 10) for number in numbers]


def format_share(value: float) -> str:
    """A measure or its change, as papers write it: .62, −.05, 0."""
    if value == 0:
        return "0"
    text = f"{abs(value):.3f}".removesuffix("0") if abs(value) < 1 else f"{abs(value):.2f}"
    return ("−" if value < 0 else "") + text.removeprefix("0")


def format_number(value: float) -> str:
    """A whole number, with tenths below 10."""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
