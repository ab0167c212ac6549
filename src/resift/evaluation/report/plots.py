"""The plots of an evaluation as inline SVG: quality by depth and by query, what it costs. Pure."""

from collections.abc import Callable, Iterable, Sequence

from resift.evaluation.advice import short
from resift.evaluation.report.axes import Axis, Plane, ms, round_ticks, share, thousands
from resift.evaluation.report.markup import Markup, element, shortened
from resift.evaluation.report.series import Point, Series, level
from resift.evaluation.result import Evaluation, Latency, QueryChange, Row, SystemResult

GAP = 0.2  # of a bar's room
THIN = 3  # the least that shows of a bar


def depth_curve(found: Evaluation) -> Markup:
    """The main measure over depth, with the 95 % band at the greatest. Needs judgments."""
    name, first = found.main_measure, found.first[found.main_measure]
    bands = [
        (first + own.compared[name].low, first + own.compared[name].high) for own in found.systems
    ]
    curves = [
        Series(number, own.label, [
            Point(row.depth, row.measures[name], f"depth {row.depth}: {short(row.measures[name])}")
            for row in own.rows
        ])
        for number, own in enumerate(found.systems)
    ]  # fmt: skip
    plane = Plane(_depths(found), _quality(found, [end for band in bands for end in band]))
    drawn = [level(plane, first, f"first stage: {short(first)}")]
    for curve, (low, high) in zip(curves, bands, strict=True):
        drawn.append(curve.band(plane, low, high, f"95 % band: {short(low)} to {short(high)}"))
        drawn.append(curve.drawn(plane))
    return plane.drawing(f"{name} by depth; first stage: {short(first)}; {_told(curves)}", *drawn)


def latency_curve(found: Evaluation) -> Markup | None:
    """Median and 95th percentile over depth; None where nothing was timed."""
    timed = [_timed(own) for own in found.systems]
    if not any(timed):
        return None
    medians = _milliseconds(found, "p50", lambda latency: latency.p50)
    slow = _milliseconds(found, "p95", lambda latency: latency.p95)
    plane = Plane(_depths(found), Axis("ms a query", _from_zero(timed), thousands))
    drawn = [curve.drawn(plane, "dashed") for curve in slow]
    drawn += [curve.drawn(plane) for curve in medians]
    return plane.drawing(f"Milliseconds by depth; {_told([*medians, *slow])}", *drawn)


def trade_off(found: Evaluation) -> Markup | None:
    """The main measure over the 95th percentile, a mark a depth. Needs judgments.

    None where nothing was timed.
    """
    name, first = found.main_measure, found.first[found.main_measure]
    timed = [_timed(own) for own in found.systems]
    if not any(timed):
        return None
    curves = [
        Series(number, own.label, [
            Point(latency.p95, row.measures[name],
                  f"depth {row.depth}: {short(row.measures[name])} at {ms(latency.p95)}")
            for row, latency in rows
        ])
        for number, (own, rows) in enumerate(zip(found.systems, timed, strict=True))
    ]  # fmt: skip
    plane = Plane(Axis("p95, ms a query", _from_zero(timed), thousands), _quality(found))
    drawn = [level(plane, first, f"first stage: {short(first)}")]
    drawn += [curve.drawn(plane) for curve in curves]
    drawn += [
        curve.labels(plane, [str(row.depth) for row, _ in rows])
        for curve, rows in zip(curves, timed, strict=True)
    ]
    return plane.drawing(
        f"{name} against p95; first stage: {short(first)}; {_told(curves)}", *drawn
    )


def query_deltas(changes: Sequence[QueryChange], measure: str) -> Markup:
    """A bar a query, in the order given: up where it was helped, down where it was hurt."""
    deltas = [own.after - own.before for own in changes]
    across = Axis(f"{len(changes)} judged queries", (0, len(changes)), lambda _: "")
    up = Axis(f"change in {measure}", round_ticks(min(0, *deltas), max(0, *deltas)), share)
    plane = Plane(across, up)
    bars = (_bar(plane, place, change) for place, change in enumerate(changes))
    helped, hurt = sum(own > 0 for own in deltas), sum(own < 0 for own in deltas)
    said = f"change in {measure} by query: {helped} of {len(deltas)} helped, {hurt} hurt"
    return plane.drawing(said, *bars)


def _bar(plane: Plane, place: int, change: QueryChange) -> Markup:
    delta = change.after - change.before
    zero, end = plane.y(0), plane.y(delta)
    tall = max(abs(end - zero), THIN)
    query = shortened(change.query, 120)
    return element(
        "rect",
        element("title", f"{short(change.before)} → {short(change.after)}  {query}"),
        x=f"{plane.x(place + GAP / 2):.2f}",
        y=zero - tall / 2 if not delta else zero - tall if delta > 0 else zero,
        width=f"{(plane.x(1) - plane.x(0)) * (1 - GAP):.2f}",
        height=tall,
        class_="bar " + ("helped" if delta > 0 else "hurt" if delta else "equal"),
    )


def _depths(found: Evaluation) -> Axis:
    return Axis("depth", [row.depth for row in found.systems[0].rows], thousands, log=True)


def _quality(found: Evaluation, also: Sequence[float] = ()) -> Axis:
    name = found.main_measure
    values = [row.measures[name] for own in found.systems for row in own.rows]
    values += [found.first[name], *also]
    return Axis(name, round_ticks(min(values), max(values)), share)


def _timed(system: SystemResult) -> list[tuple[Row, Latency]]:
    return [(row, row.latency) for row in system.rows if row.latency]


def _milliseconds(found: Evaluation, name: str, read: Callable[[Latency], float]) -> list[Series]:
    return [
        Series(number, own.label, [
            Point(row.depth, read(latency), f"depth {row.depth}: {name} {ms(read(latency))}")
            for row, latency in _timed(own)
        ])
        for number, own in enumerate(found.systems)
    ]  # fmt: skip


def _from_zero(timed: Sequence[Sequence[tuple[Row, Latency]]]) -> list[float]:
    return round_ticks(0, max(latency.p95 for rows in timed for _, latency in rows))


def _told(curves: Iterable[Series]) -> str:
    return "; ".join(curve.told() for curve in curves)
