"""An evaluation as one HTML file: verdicts, plots, tables, queries. Asks the network for nothing.

What is shown is in `report`; this says in which order, and writes the file.
"""

from datetime import UTC, datetime
from pathlib import Path
from string import Template

import resift
from resift.evaluation.advice import chance, first_cost, in_words, short
from resift.evaluation.report.figures import figures
from resift.evaluation.report.markup import Markup, element, join
from resift.evaluation.report.queries import changed
from resift.evaluation.report.tables import against_chance, by_depth, by_weight, signed
from resift.evaluation.result import Evaluation, SystemResult
from resift.files import check_output, output

TEMPLATE = Path(__file__).parent / "report" / "report.html"
WHAT = "a page that resift eval wrote"
MARK = b'<meta name="generator" content="resift eval">'


def check_page(file: Path) -> None:
    """Raise `OutputError` where `write_page` could not write, before minutes of work are lost."""
    check_output(file, WHAT, is_own_page)


def write_page(file: Path, found: Evaluation) -> None:
    """Write the page as a whole: the file is there complete or not at all; ``-`` is stdout.

    Raises `OutputError` where it cannot be written, or would replace what is no such page.
    """
    text = page(found)
    with output(file, WHAT, is_own_page) as out:
        out.write(text.encode())


def is_own_page(head: bytes) -> bool:
    """Whether a file that begins like this is a page that was written here."""
    return head.startswith(b"<!doctype html>") and MARK in head


def page(found: Evaluation) -> str:
    """The page's text."""
    made = f"resift {resift.__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        collection=join([found.collection]),
        verdicts=join(map(_verdict, found.systems)),
        measured=_measured(found),
        notes=_notes(found),
        figures=figures(found),
        by_depth=by_depth(found),
        systems=join(_system(found, own) for own in found.systems),
        made=join([f"{made}, in {found.seconds:,.0f} s"]),
    )


def _verdict(system: SystemResult) -> Markup:
    """Its first part is the answer, the rest says more."""
    answer, _, more = system.verdict.partition("; ")
    parts = [element("p", system.label, class_="label"), element("p", answer, class_="answer")]
    if more:
        parts.append(element("p", more))
    if system.advice:
        parts.append(element("p", element("b", "Advice: "), in_words(system.advice)))
    return element("div", *parts, class_="verdict")


def _measured(found: Evaluation) -> Markup:
    cost = first_cost(found)
    judged = f"{found.queries:,}, {found.judged:,} of them judged" if found.judged else (
        f"{found.queries:,}, none judged"
    )  # fmt: skip
    facts = {
        "Collection": found.collection,
        "First stage": found.first_stage + (f" ({cost})" if cost else ""),
        "Queries": judged,
    }
    said = (join([element("dt", name), element("dd", value)]) for name, value in facts.items())
    return element("dl", *said, *map(_reranker, found.systems))


def _reranker(system: SystemResult) -> Markup:
    fingerprint = element("code", system.fingerprint)
    name = system.model if system.label == system.model else f"{system.label}: {system.model}"
    return join([element("dt", "Reranker"), element("dd", f"{name} ", fingerprint)])


def _notes(found: Evaluation) -> Markup:
    notes = [element("li", note) for note in found.notes]
    return element("ul", *notes, class_="notes") if notes else Markup()


def _system(found: Evaluation, system: SystemResult) -> Markup:
    """What is said of one system alone."""
    parts = [element("h2", f"{system.label} against the first stage"),
             element("p", f"{system.replaced:.1f} of a query's first ten documents are new, on the "
                          "mean.")]  # fmt: skip
    if system.compared:
        parts.append(against_chance(system))
    if own := system.against:
        p = chance(max(own.p_bootstrap, own.p_randomisation))
        parts.append(element("p", f"Against {found.systems[0].label}: {found.main_measure} "
                                  f"{signed(own.difference)}, {p}."))  # fmt: skip
    if system.weights:
        parts.append(element("h3", "Weight of the first stage's scores"))
        parts.append(element("p", _own_weight(system, found.main_measure)))
        parts.append(by_weight(system, found.main_measure))
    if system.changes:
        parts += [element("h3", "Queries"), changed(system)]
    return element("section", *parts)


def _own_weight(system: SystemResult, measure: str) -> str:
    depth = (system.advice and system.advice.depth) or system.rows[-1].depth
    row = next(own for own in system.rows if own.depth == depth)
    return f"At depth {depth}, where {system.label} itself gives {short(row.measures[measure])}:"
