"""The HTML report: verdicts, facts, plots, tables and queries, in this order."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from string import Template

import resift
from resift.evaluation.advice import (
    format_advice,
    format_first_stage_cost,
    format_measure,
    format_p,
    format_p_cell,
)
from resift.evaluation.report.drawing import format_number
from resift.evaluation.report.markup import Markup, element, join, shortened
from resift.evaluation.report.plots import figures
from resift.evaluation.result import (
    Evaluation,
    Latency,
    MovedDocument,
    QueryChange,
    SystemResult,
)
from resift.files import check_output, output

TEMPLATE = Path(__file__).parent / "report.html"
KIND = "a page that resift eval wrote"
MARK = b'<meta name="generator" content="resift eval">'
MAX_QUERIES = 25  # helped, and hurt
QUERY_CHARACTERS, TITLE_CHARACTERS = 240, 120


def check_page(file: Path) -> None:
    """Raise `OutputError` if `write_page` could not write; call it before minutes of work."""
    check_output(file, KIND, is_page)


def write_page(file: Path, evaluation: Evaluation) -> None:
    """Write the page; ``-`` is stdout. The file is written whole or not at all.

    Raises `OutputError` if the file cannot be written, or exists and is not a page of resift.
    """
    text = page(evaluation)
    with output(file, KIND, is_page) as out:
        out.write(text.encode())


def is_page(head: bytes) -> bool:
    """Whether these first bytes are those of a page of `write_page`."""
    return head.startswith(b"<!doctype html>") and MARK in head


def page(evaluation: Evaluation) -> str:
    """The text of the page."""
    footer = f"resift {resift.__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        collection=join([evaluation.collection]),
        verdicts=join(map(_verdict, evaluation.systems)),
        measured=_facts(evaluation),
        notes=_notes(evaluation),
        figures=figures(evaluation),
        by_depth=_depth_table(evaluation),
        systems=join(_system(evaluation, system) for system in evaluation.systems),
        made=join([f"{footer}, in {evaluation.seconds:,.0f} s"]),
    )


def _verdict(system: SystemResult) -> Markup:
    """The verdict, with the first part of its sentence as a headline."""
    headline, _, rest = system.verdict.partition("; ")
    parts = [element("p", system.label, class_="label"), element("p", headline, class_="answer")]
    if rest:
        parts.append(element("p", rest))
    if system.advice:
        parts.append(element("p", element("b", "Advice: "), format_advice(system.advice)))
    return element("div", *parts, class_="verdict")


def _facts(evaluation: Evaluation) -> Markup:
    cost = format_first_stage_cost(evaluation)
    judged = f"{evaluation.judged:,} of them" if evaluation.judged else "none"
    facts: list[tuple[str, Sequence[str]]] = [
        ("Collection", [evaluation.collection]),
        ("First stage", [evaluation.first_stage + (f" ({cost})" if cost else "")]),
        ("Queries", [f"{evaluation.queries:,}, {judged} judged"]),
    ]
    for system in evaluation.systems:
        is_named = system.label == system.model
        name = system.model if is_named else f"{system.label}: {system.model}"
        facts.append(("Reranker", [f"{name} ", element("code", system.fingerprint)]))
    entries = (join([element("dt", name), element("dd", *value)]) for name, value in facts)
    return element("dl", *entries)


def _notes(evaluation: Evaluation) -> Markup:
    notes = [element("li", note) for note in evaluation.notes]
    return element("ul", *notes, class_="notes") if notes else Markup()


def _system(evaluation: Evaluation, system: SystemResult) -> Markup:
    """The section of one system."""
    measure = evaluation.main_measure
    replaced = f"{system.replaced:.1f} of a query's first ten documents are new, on average."
    parts = [element("h2", f"{system.label} against the first stage"), element("p", replaced)]
    if system.compared:
        parts.append(_significance_table(system))
    if system.against:
        change, p = format_change(system.against.difference), format_p(system.against.p)
        label = evaluation.systems[0].label
        parts.append(element("p", f"Against {label}: {measure} {change}, {p}."))
    if system.weights:
        depth = (system.advice and system.advice.depth) or system.rows[-1].depth
        value = next(row.measures[measure] for row in system.rows if row.depth == depth)
        default = f"At depth {depth}, where {system.label} itself gives {format_measure(value)}:"
        parts.append(element("h3", "Weight of the first stage's scores"))
        parts += [element("p", default), _weight_table(system, measure)]
    if system.changes:
        parts.append(element("h3", "Queries"))
        parts += [_query_list("Hurt", system.hurt()), _query_list("Helped", system.helped())]
    return element("section", *parts)


def _depth_table(evaluation: Evaluation) -> Markup:
    """All measures and the cost per query, for the first stage and each system and depth."""
    names = list(evaluation.first)
    costs = ["pairs", "tokens"]
    if evaluation.is_timed:
        costs = ["p50 ms", "p95 ms", "timed", *costs]
    rows = []
    if names:
        values = [format_measure(evaluation.first[name]) for name in names]
        rows.append(_row("first stage", values + [""] * len(costs)))
    for system in evaluation.systems:
        if len(evaluation.systems) > 1:
            label = element("th", system.label, scope="rowgroup", colspan=1 + len(names + costs))
            rows.append(element("tr", label, class_="of"))
        for row in system.rows:
            cells = [format_measure(row.measures[name]) for name in names]
            cells += _latency_cells(row.latency) if evaluation.is_timed else []
            cells += [f"{row.pairs:.0f}", f"{row.tokens:,.0f}"]
            advised = system.advice is not None and row.depth == system.advice.depth
            rows.append(_row(f"depth {row.depth}", cells, "advised" if advised else None))
    return _table("Figures by depth", ["", *names, *costs], rows)


def _latency_cells(latency: Latency | None) -> list[str]:
    if latency is None:
        return ["", "", ""]
    return [format_number(latency.p50), format_number(latency.p95), str(latency.queries)]


def _significance_table(system: SystemResult) -> Markup:
    """Every measure at the greatest depth, compared with the first stage."""
    head = ["", "first stage", "reranked", "change", "95 % band", "p bootstrap", "p randomisation",
            "better", "worse", "equal"]  # fmt: skip
    rows = (
        _row(
            name,
            [
                format_measure(test.before),
                format_measure(test.after),
                format_change(test.difference),
                f"{format_change(test.low)} to {format_change(test.high)}",
                format_p_cell(test.p_bootstrap),
                format_p_cell(test.p_randomisation),
                *map(str, (test.better, test.worse, test.equal)),
            ],
        )
        for name, test in system.compared.items()
    )
    return _table(f"Measures of {system.label} at depth {system.rows[-1].depth}", head, rows)


def _weight_table(system: SystemResult, measure: str) -> Markup:
    advised = system.advice.fusion_weight if system.advice else None
    cells = [
        element("td", format_measure(value), class_="advised" if weight == advised else None)
        for weight, value in system.weights.items()
    ]
    head = ["fusion_weight", *(f"{weight:g}" for weight in system.weights)]
    row = element("tr", element("th", measure, scope="row"), *cells)
    return _table(f"{measure} of {system.label} by weight of the first stage", head, [row])


def _table(label: str, head: Sequence[str], rows: Iterable[Markup]) -> Markup:
    """A table that scrolls, also by keyboard, if it is wider than the page."""
    top = element("tr", *(element("th", name, scope="col") for name in head))
    table = element("table", element("thead", top), element("tbody", *rows))
    return element("div", table, class_="wide", role="region", tabindex=0, aria_label=label)


def _row(name: str, cells: Iterable[str], class_: str | None = None) -> Markup:
    head = element("th", name, scope="row")
    return element("tr", head, *(element("td", cell) for cell in cells), class_=class_)


def _query_list(title: str, changes: Sequence[QueryChange]) -> Markup:
    """The queries that changed most, with the documents that moved."""
    if not changes:
        return Markup()
    count = len(changes)
    head = f"{title} most: {MAX_QUERIES} of {count}" if count > MAX_QUERIES else f"{title}: {count}"
    return join([element("h4", head), *map(_query_change, changes[:MAX_QUERIES])])


def _query_change(change: QueryChange) -> Markup:
    delta = change.after - change.before
    before, after = format_measure(change.before), format_measure(change.after)
    summary = element(
        "summary",
        element("b", format_change(delta), class_="helped" if delta > 0 else "hurt"),
        element("span", f"{before} → {after}", class_="change"),
        element("span", shortened(change.query, QUERY_CHARACTERS), class_="query", dir="auto"),
        element("small", shortened(change.query_id, TITLE_CHARACTERS)),
    )
    names = ("grade", "was", "now", "document")
    head = element("tr", *(element("th", name, scope="col") for name in names))
    documents = element("tbody", *map(_moved_document, change.moved))
    return element("details", summary, element("table", element("thead", head), documents))


def _moved_document(moved: MovedDocument) -> Markup:
    name: list[str] = [shortened(moved.doc_id, TITLE_CHARACTERS)]
    if moved.title:
        title = element("span", shortened(moved.title, TITLE_CHARACTERS), dir="auto")
        name = [title, " ", element("small", *name)]
    return element(
        "tr",
        element("td", "?" if moved.grade is None else str(moved.grade)),
        element("td", str(moved.rank_before or "–")),
        element("td", str(moved.rank_after or "–")),
        element("td", *name),
        class_="relevant" if (moved.grade or 0) > 0 else None,
    )


def format_change(value: float) -> str:
    """A change of a measure: +.058, −.005."""
    text = f"{abs(value):.3f}"
    sign = "" if float(text) == 0 else "−" if value < 0 else "+"
    return sign + (text.removeprefix("0") if abs(value) < 1 else text)
