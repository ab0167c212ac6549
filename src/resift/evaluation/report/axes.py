"""Axes of a plot: round numbers, values to places, lines and labels. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resift.evaluation.report.markup import Markup, element, join

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 50, 466, 26, 254  # of what lies between the axes
SAME = 1e-6  # what differs by less is one value: ticks are rounded, and labels more so
CLOSE = 26  # two labels nearer than this would touch


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction: `ticks` rise, the first and the last are its ends."""

    label: str
    ticks: Sequence[float]
    show: Callable[[float], str]
    log: bool = False

    def share(self, value: float) -> float:
        """How far along a value lies, 0..1; the middle where the axis has no length."""
        at, low, high = (
            math.log(own) if self.log else own for own in (value, self.ticks[0], self.ticks[-1])
        )
        return (at - low) / (high - low) if high > low else 0.5


@dataclass(frozen=True, slots=True)
class Plane:
    """Two axes, and what is drawn between them. Places are in units of the drawing."""

    across: Axis
    up: Axis

    def x(self, value: float) -> float:
        return LEFT + self.across.share(value) * (RIGHT - LEFT)

    def y(self, value: float) -> float:
        return BOTTOM - self.up.share(value) * (BOTTOM - TOP)

    def drawing(self, label: str, *parts: Markup) -> Markup:
        """The whole plot as inline SVG; `label` says it to who cannot see it."""
        return element(
            "svg",
            self._lines(),
            *parts,
            viewBox=f"0 0 {WIDTH} {HEIGHT}",
            role="img",
            aria_label=label,
        )

    def _lines(self) -> Markup:
        parts = []
        for tick in self.up.ticks:
            y = self.y(tick)
            zero = "zero" if tick == 0 else None
            parts.append(element("path", d=f"M{LEFT} {y:.1f}H{RIGHT}", class_=zero))
            parts.append(element("text", self.up.show(tick), x=LEFT - 7, y=y + 4, class_="end"))
        last = -math.inf
        for tick in self.across.ticks:
            x, shown = self.x(tick), self.across.show(tick)
            if shown and x - last >= CLOSE:
                parts.append(element("path", d=f"M{x:.1f} {BOTTOM}v5"))
                parts.append(element("text", shown, x=x, y=BOTTOM + 19))
                last = x
        parts.append(element("text", self.up.label, x=0, y=12, class_="start"))
        middle = (LEFT + RIGHT) / 2
        parts.append(element("text", self.across.label, x=middle, y=HEIGHT - 6))
        return element("g", join(parts), class_="axes")


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Numbers 1, 2 or 5 times a power of ten apart, around `low` to `high`; about `most`."""
    if not high - low > SAME:
        low, high = low - abs(low) / 10 - 0.01, high + abs(high) / 10 + 0.01
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(own * power for own in (1, 2, 5, 10) if own * power >= rough)
    places = range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)
    return [round(place * step, 10) for place in places]


def share(value: float) -> str:
    """A measure or its change, as papers write it: .62, −.05, 0."""
    if value == 0:
        return "0"
    text = f"{abs(value):.3f}".removesuffix("0") if abs(value) < 1 else f"{abs(value):.2f}"
    return ("−" if value < 0 else "") + text.removeprefix("0")


def thousands(value: float) -> str:
    """What is not small: a whole number, or tenths below 10."""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def ms(value: float) -> str:
    """Milliseconds."""
    return f"{thousands(value)} ms"
