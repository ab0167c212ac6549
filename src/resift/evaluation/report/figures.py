"""Plots with what they show in a sentence, and a legend; a sentence where one cannot be. Pure."""

from collections.abc import Iterable, Sequence

from resift.evaluation.advice import first_cost, short
from resift.evaluation.report.markup import Markup, element, join
from resift.evaluation.report.plots import depth_curve, latency_curve, query_deltas, trade_off
from resift.evaluation.report.series import Series, swatch
from resift.evaluation.result import Evaluation, SystemResult

NO_JUDGMENTS = (
    "There are no judgments, so there is no curve of quality, no change by query and no advice."
)
NOT_TIMED = "No query was timed: too few were reranked to know what a depth costs."


def figures(found: Evaluation) -> Markup:
    """All that the data allow."""
    shown = [*_quality(found), *_cost(found)]
    for system in found.systems:
        if system.changes:
            shown.append(_deltas(found, system))
    missing = [] if found.first else [element("p", NO_JUDGMENTS, class_="note")]
    if not any(row.latency for own in found.systems for row in own.rows):
        missing.append(element("p", NOT_TIMED, class_="note"))
    return join([*missing, element("div", *shown, class_="figures") if shown else ""])


def _quality(found: Evaluation) -> list[Markup]:
    if not found.first:
        return []
    name = found.main_measure
    said = (
        f"{name} by how many candidates are reranked, over {found.judged} judged queries. The bar "
        "at the greatest depth is the 95 % band of the change, added to the first stage."
    )
    level = (swatch("level"), f"first stage {short(found.first[name])}")
    drawn = depth_curve(found)
    shown = [_figure("Quality by depth", said, [*_systems(found), level], drawn)]
    if trade := trade_off(found):
        said = f"{name} against the 95th percentile of reranking; each mark says its depth."
        shown.append(_figure("Quality against time", said, [*_systems(found), level], trade))
    return shown


def _cost(found: Evaluation) -> list[Markup]:
    drawn = latency_curve(found)
    if drawn is None:
        return []
    said = "Milliseconds that reranking takes a query, without the first stage"
    cost = first_cost(found)
    said += f" ({cost})." if cost else "."
    legend = [
        (own.swatch(style), f"{own.label}, {name}")
        for own in _series(found)
        for style, name in (("full", "p50"), ("dashed", "p95"))
    ]
    return [_figure("Time by depth", said, legend, drawn)]


def _deltas(found: Evaluation, system: SystemResult) -> Markup:
    title = "Change by query"
    if len(found.systems) > 1:
        title += f": {system.label}"
    said = (
        f"{found.main_measure} at depth {system.rows[-1].depth} less the first stage's, a bar a "
        "judged query; a bar says its query under the pointer."
    )
    own = system.compared[found.main_measure]
    legend = [
        (swatch("hurt"), f"hurt {own.worse}"),
        (swatch("equal"), f"equal {own.equal}"),
        (swatch("helped"), f"helped {own.better}"),
    ]
    return _figure(title, said, legend, query_deltas(system.changes, found.main_measure))


def _systems(found: Evaluation) -> list[tuple[Markup, str]]:
    return [(own.swatch(), own.label) for own in _series(found)]


def _series(found: Evaluation) -> Iterable[Series]:
    return (Series(number, own.label, ()) for number, own in enumerate(found.systems))


def _figure(title: str, said: str, legend: Sequence[tuple[Markup, str]], drawn: Markup) -> Markup:
    entries = (element("li", shown, element("span", name)) for shown, name in legend)
    caption = element("figcaption", element("h3", title), element("p", said))
    return element("figure", caption, element("ul", *entries, class_="legend"), drawn)
