"""What is drawn between axes: a system's line and marks, a level, a band, and their legend. Pure.

Colours are classes, `s0` to `s5` for systems, so that the page's style decides them; marks differ
in shape as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from resift.evaluation.report.axes import Plane
from resift.evaluation.report.markup import Markup, element, join

COLOURS = 6
APART = 9  # bands at one depth
SHAPES = (
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",  # circle
    "m-3.6-3.6h7.2v7.2h-7.2z",  # square
    "m0-5.2l5.2 5.2l-5.2 5.2l-5.2-5.2z",  # diamond
    "m0-5l5 8.6h-10z",  # triangle
)


class Point(NamedTuple):
    """In the data's units, and what it says under a pointer and to who cannot see it."""

    x: float
    y: float
    said: str


@dataclass(frozen=True, slots=True)
class Series:
    """The points of one system, the `number`-th of the report, from left to right."""

    number: int
    label: str
    points: Sequence[Point]

    def drawn(self, plane: Plane, style: str = "full") -> Markup:
        """A line through all of it, with a mark a point; `style` is full or dashed."""
        places = [(plane.x(own.x), plane.y(own.y)) for own in self.points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        line = element("path", d=f"M{path}", class_=f"line {style}") if places else ""
        marks = (
            self._mark(place, style, element("title", f"{self.label}, {own.said}"))
            for place, own in zip(places, self.points, strict=True)
        )
        return self._coloured(join([line, *marks]))

    def labels(self, plane: Plane, texts: Sequence[str]) -> Markup:
        """A text a point: above it, or below where the system before has its own above."""
        aside, away = (5, -9) if self.number % 2 == 0 else (-5, 18)
        return self._coloured(
            join(
                element(
                    "text", text, x=plane.x(own.x) + aside, y=plane.y(own.y) + away, class_="depth"
                )
                for own, text in zip(self.points, texts, strict=True)
            )
        )

    def band(self, plane: Plane, low: float, high: float, said: str) -> Markup:
        """An error bar at the last point, beside those of the systems before."""
        x = plane.x(self.points[-1].x) - APART * self.number
        path = f"M{x - 4:.1f} {plane.y(low):.1f}h8m-4 0V{plane.y(high):.1f}m-4 0h8"
        title = element("title", f"{self.label}, {said}")
        return self._coloured(element("path", title, d=path, class_="band"))

    def swatch(self, style: str = "full") -> Markup:
        """Its line and mark, for a legend."""
        line = element("path", d="M0 7H26", class_=f"line {style}")
        return _swatch(self._coloured(join([line, self._mark((13, 7), style)])))

    def told(self) -> str:
        """All of it in words."""
        return f"{self.label}: {', '.join(own.said for own in self.points)}"

    def _mark(self, place: tuple[float, float], style: str, *title: Markup) -> Markup:
        shape = SHAPES[self.number % len(SHAPES)]
        x, y = place
        return element("path", *title, d=f"M{x:.1f} {y:.1f}{shape}", class_=f"mark {style}")

    def _coloured(self, drawn: Markup) -> Markup:
        return element("g", drawn, class_=f"series s{self.number % COLOURS}")


def level(plane: Plane, value: float, said: str) -> Markup:
    """A value that is the same all the way."""
    left, right = (plane.x(end) for end in (plane.across.ticks[0], plane.across.ticks[-1]))
    path = f"M{left:.1f} {plane.y(value):.1f}H{right:.1f}"
    return element("path", element("title", said), d=path, class_="level")


def swatch(kind: str) -> Markup:
    """For a legend: a ``level``, or the colour of bars (``helped``, ``hurt``, ``equal``)."""
    if kind == "level":
        return _swatch(element("path", d="M0 7H26", class_=kind))
    return _swatch(element("rect", x=8, y=2, width=10, height=10, class_=f"bar {kind}"))


def _swatch(drawn: Markup) -> Markup:
    return element("svg", drawn, viewBox="0 0 26 14", class_="swatch", aria_hidden="true")
