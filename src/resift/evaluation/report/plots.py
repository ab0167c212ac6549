"""The plots of an evaluation, with captions and legends: quality, cost, and change by query."""

from collections.abc import Callable, Iterable, Sequence

from resift.evaluation.advice import format_first_stage_cost, format_measure
from resift.evaluation.report.drawing import (
    Axis,
    Plane,
    Point,
    Series,
    bar_legend,
    format_number,
    format_share,
    level_legend,
    round_ticks,
)
from resift.evaluation.report.markup import Markup, element, join, shortened
from resift.evaluation.result import Evaluation, QueryChange, Row, SystemResult

BAR_GAP = 0.2  # of the width of a bar
MIN_BAR_HEIGHT = 3
TOOLTIP_CHARACTERS = 120
NO_JUDGMENTS = "Without judgments there is no curve of quality, no change by query and no advice."
NOT_TIMED = "No query was timed, because too few were reranked to measure the cost of a depth."

Legend = Sequence[tuple[Markup, str]]


def figures(evaluation: Evaluation) -> Markup:
    """All plots that the data allow, and a note for each kind that is missing."""
    notes = [
        *([] if evaluation.first else [NO_JUDGMENTS]),
        *([] if evaluation.is_timed else [NOT_TIMED]),
    ]
    drawn = [*_quality_figures(evaluation), *_latency_figures(evaluation)]
    drawn += [_delta_figure(evaluation, system) for system in evaluation.systems if system.changes]
    return join(
        [
            *(element("p", note, class_="note") for note in notes),
            element("div", *drawn, class_="figures") if drawn else "",
        ]
    )


def _quality_figures(evaluation: Evaluation) -> list[Markup]:
    if not evaluation.first:
        return []
    name = evaluation.main_measure
    legend = [(curve.legend(), curve.label) for curve in _curves(evaluation, lambda _: None)]
    legend.append((level_legend(), f"first stage {format_measure(evaluation.first[name])}"))
    caption = (
        f"{name} by the number of reranked candidates, over {evaluation.judged} judged queries. "
        "The bar at the greatest depth is the 95 % band of the change, added to the first stage."
    )
    drawn = [_figure("Quality by depth", caption, legend, depth_curve(evaluation))]
    if evaluation.is_timed:
        caption = (
            f"{name} against the 95th percentile of reranking; marks are labelled with depths."
        )
        drawn.append(_figure("Quality against time", caption, legend, trade_off(evaluation)))
    return drawn


def _latency_figures(evaluation: Evaluation) -> list[Markup]:
    if not evaluation.is_timed:
        return []
    cost = format_first_stage_cost(evaluation)
    caption = "Milliseconds of reranking per query, without the first stage"
    caption += f" ({cost})." if cost else "."
    legend = [
        (curve.legend(style), f"{curve.label}, {name}")
        for curve in _curves(evaluation, lambda _: None)
        for style, name in (("full", "p50"), ("dashed", "p95"))
    ]
    return [_figure("Time by depth", caption, legend, latency_curve(evaluation))]


def _delta_figure(evaluation: Evaluation, system: SystemResult) -> Markup:
    title = "Change by query"
    if len(evaluation.systems) > 1:
        title += f": {system.label}"
    name = evaluation.main_measure
    caption = (
        f"{name} at depth {system.rows[-1].depth} minus the first stage's, a bar per judged query; "
        "point at a bar to see its query."
    )
    compared = system.compared[name]
    legend = [
        (bar_legend("hurt"), f"hurt {compared.worse}"),
        (bar_legend("equal"), f"equal {compared.equal}"),
        (bar_legend("helped"), f"helped {compared.better}"),
    ]
    return _figure(title, caption, legend, query_deltas(system.changes, name))


def _figure(title: str, caption: str, legend: Legend, plot: Markup) -> Markup:
    entries = (element("li", symbol, element("span", label)) for symbol, label in legend)
    text = element("figcaption", element("h3", title), element("p", caption))
    return element("figure", text, element("ul", *entries, class_="legend"), plot)


def depth_curve(evaluation: Evaluation) -> Markup:
    """The primary measure by depth, with error bars at the greatest. Needs judgments."""
    name, first = evaluation.main_measure, evaluation.first[evaluation.main_measure]
    tests = [system.compared[name] for system in evaluation.systems]
    bars = [(first + test.low, first + test.high) for test in tests]

    def point(row: Row) -> Point:
        value = row.measures[name]
        return Point(row.depth, value, f"depth {row.depth}: {format_measure(value)}")

    curves = _curves(evaluation, point)
    vertical = _quality_axis(evaluation, [end for bar in bars for end in bar])
    plane = Plane(_depth_axis(evaluation), vertical)
    drawn = [plane.level(first, f"first stage: {format_measure(first)}")]
    for curve, (low, high) in zip(curves, bars, strict=True):
        title = f"95 % band: {format_measure(low)} to {format_measure(high)}"
        drawn += [curve.error_bar(plane, low, high, title), curve.drawing(plane)]
    return plane.drawing(
        f"{name} by depth; first stage: {format_measure(first)}; {_description(curves)}", *drawn
    )


def latency_curve(evaluation: Evaluation) -> Markup:
    """Median and 95th percentile of latency by depth. Needs latencies."""

    def percentile(name: str) -> Callable[[Row], Point | None]:
        def point(row: Row) -> Point | None:
            if row.latency is None:
                return None
            ms = row.latency.p50 if name == "p50" else row.latency.p95
            return Point(row.depth, ms, f"depth {row.depth}: {name} {format_number(ms)} ms")

        return point

    medians = _curves(evaluation, percentile("p50"))
    p95 = _curves(evaluation, percentile("p95"))
    plane = Plane(_depth_axis(evaluation), _latency_axis("ms a query", evaluation))
    drawn = [curve.drawing(plane, "dashed") for curve in p95]
    drawn += [curve.drawing(plane) for curve in medians]
    return plane.drawing(f"Milliseconds by depth; {_description([*medians, *p95])}", *drawn)


def trade_off(evaluation: Evaluation) -> Markup:
    """The primary measure by p95 latency, with a mark per depth. Needs judgments and latencies."""
    name, first = evaluation.main_measure, evaluation.first[evaluation.main_measure]

    def point(row: Row) -> Point | None:
        if row.latency is None:
            return None
        value, p95 = row.measures[name], row.latency.p95
        title = f"depth {row.depth}: {format_measure(value)} at {format_number(p95)} ms"
        return Point(p95, value, title, str(row.depth))

    curves = _curves(evaluation, point)
    plane = Plane(_latency_axis("p95, ms a query", evaluation), _quality_axis(evaluation))
    return plane.drawing(
        f"{name} against p95; first stage: {format_measure(first)}; {_description(curves)}",
        plane.level(first, f"first stage: {format_measure(first)}"),
        *(curve.drawing(plane) for curve in curves),
        *(curve.labels(plane) for curve in curves),
    )


def query_deltas(changes: Sequence[QueryChange], measure: str) -> Markup:
    """A bar per query, in this order: up if it was helped, down if it was hurt."""
    deltas = [change.after - change.before for change in changes]
    horizontal = Axis(f"{len(changes)} judged queries", (0, len(changes)), lambda _: "")
    ticks = round_ticks(min(0, *deltas), max(0, *deltas))
    plane = Plane(horizontal, Axis(f"change in {measure}", ticks, format_share))
    helped, hurt = sum(delta > 0 for delta in deltas), sum(delta < 0 for delta in deltas)
    label = f"change in {measure} by query: {helped} of {len(deltas)} helped, {hurt} hurt"
    return plane.drawing(label, *(_bar(plane, *numbered) for numbered in enumerate(changes)))


def _bar(plane: Plane, index: int, change: QueryChange) -> Markup:
    delta = change.after - change.before
    zero, end = plane.y(0), plane.y(delta)
    height = max(abs(end - zero), MIN_BAR_HEIGHT)
    before, after = format_measure(change.before), format_measure(change.after)
    query = shortened(change.query, TOOLTIP_CHARACTERS)
    return element(
        "rect",
        element("title", f"{before} → {after}  {query}"),
        x=f"{plane.x(index + BAR_GAP / 2):.2f}",
        y=zero - height / 2 if not delta else zero - height if delta > 0 else zero,
        width=f"{(plane.x(1) - plane.x(0)) * (1 - BAR_GAP):.2f}",
        height=height,
        class_="bar " + ("helped" if delta > 0 else "hurt" if delta else "equal"),
    )


def _curves(evaluation: Evaluation, point: Callable[[Row], Point | None]) -> list[Series]:
    """A series per system, of the rows that have a point."""
    return [
        Series(number, system.label, [p for row in system.rows if (p := point(row))])
        for number, system in enumerate(evaluation.systems)
    ]


def _depth_axis(evaluation: Evaluation) -> Axis:
    depths = [row.depth for row in evaluation.systems[0].rows]
    return Axis("depth", depths, format_number, log=True)


def _quality_axis(evaluation: Evaluation, also: Sequence[float] = ()) -> Axis:
    """An axis for all values of the primary measure and for the values in `also`."""
    name = evaluation.main_measure
    values = [row.measures[name] for system in evaluation.systems for row in system.rows]
    values += [evaluation.first[name], *also]
    return Axis(name, round_ticks(min(values), max(values)), format_share)


def _latency_axis(label: str, evaluation: Evaluation) -> Axis:
    rows = (row for system in evaluation.systems for row in system.rows)
    greatest = max(row.latency.p95 for row in rows if row.latency)
    return Axis(label, round_ticks(0, greatest), format_number)


def _description(curves: Iterable[Series]) -> str:
    return "; ".join(curve.description() for curve in curves)
