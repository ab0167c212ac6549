"""The tables of an evaluation: figures by depth, every measure against chance, weights. Pure."""

from collections.abc import Iterable, Sequence

from resift.evaluation.advice import chance_alone, short
from resift.evaluation.report.axes import thousands
from resift.evaluation.report.markup import Markup, element, join
from resift.evaluation.result import Evaluation, Row, SystemResult


def by_depth(found: Evaluation) -> Markup:
    """The first stage and each system at each depth: all measures, and what a query costs."""
    names = list(found.first)
    timed = any(row.latency for own in found.systems for row in own.rows)
    costs = [*(("p50 ms", "p95 ms", "timed") if timed else ()), "pairs", "tokens"]
    rows = []
    if names:
        empty = [""] * len(costs)
        rows.append(_row("first stage", [short(found.first[name]) for name in names] + empty))
    for system in found.systems:
        if len(found.systems) > 1:
            label = element("th", system.label, scope="rowgroup", colspan=1 + len(names + costs))
            rows.append(element("tr", label, class_="of"))
        for row in system.rows:
            cells = [short(row.measures[name]) for name in names]
            cells += [*(_timed(row) if timed else ()), f"{row.pairs:.0f}", f"{row.tokens:,.0f}"]
            advised = system.advice is not None and row.depth == system.advice.depth
            rows.append(_row(f"depth {row.depth}", cells, "advised" if advised else None))
    return table("Figures by depth", ["", *names, *costs], rows)


def against_chance(system: SystemResult) -> Markup:
    """Every measure at the greatest depth, beside the first stage's."""
    head = ["", "first stage", "reranked", "change", "95 % band", "p bootstrap", "p randomisation",
            "better", "worse", "equal"]  # fmt: skip
    rows = (
        _row(
            name,
            [
                short(own.before),
                short(own.after),
                signed(own.difference),
                f"{signed(own.low)} to {signed(own.high)}",
                chance_alone(own.p_bootstrap),
                chance_alone(own.p_randomisation),
                *map(str, (own.better, own.worse, own.equal)),
            ],
        )
        for name, own in system.compared.items()
    )
    return table(f"Measures of {system.label} at depth {system.rows[-1].depth}", head, rows)


def by_weight(system: SystemResult, measure: str) -> Markup:
    """The main measure by weight of the first stage's scores."""
    chosen = system.advice.fusion_weight if system.advice else None
    cells = [
        element("td", short(own), class_="advised" if weight == chosen else None)
        for weight, own in system.weights.items()
    ]
    head = ["fusion_weight", *(f"{weight:g}" for weight in system.weights)]
    row = element("tr", element("th", measure, scope="row"), *cells)
    return table(f"{measure} of {system.label} by weight of the first stage", head, [row])


def table(label: str, head: Sequence[str], rows: Iterable[Markup]) -> Markup:
    """A table that scrolls where it is wider than the page, by keyboard as well."""
    top = element("tr", join(element("th", name, scope="col") for name in head))
    inside = element("table", element("thead", top), element("tbody", *rows))
    return element("div", inside, class_="wide", role="region", tabindex=0, aria_label=label)


def signed(value: float) -> str:
    """A change of a measure: +.058, −.005."""
    text = f"{abs(value):.3f}"
    sign = "" if float(text) == 0 else "−" if value < 0 else "+"
    return sign + (text.removeprefix("0") if abs(value) < 1 else text)


def _row(name: str, cells: Sequence[str], class_: str | None = None) -> Markup:
    head = element("th", name, scope="row")
    return element("tr", head, *(element("td", own) for own in cells), class_=class_)


def _timed(row: Row) -> tuple[str, str, str]:
    if row.latency is None:
        return ("", "", "")
    return (
        thousands(row.latency.p50),
        thousands(row.latency.p95),
        str(row.latency.queries),
    )
