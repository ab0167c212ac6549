"""Print an evaluation on the terminal: the verdict first, then figures, then queries."""

import re
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from resift.cli.output import console, errors, print_table, printable, snippet
from resift.evaluation.advice import (
    format_advice,
    format_first_stage_cost,
    format_measure,
    format_p,
    format_p_cell,
)
from resift.evaluation.result import Evaluation, Latency, QueryChange, SystemResult, Variant

MAX_QUERIES = 5  # of those that are helped, and of those that are hurt
DEPTH_MEASURES = ("nDCG", "RR", "P", "Success")  # the significance table has all
_GRADE = re.compile(r"\(rel=\d+\)")


def print_evaluation(evaluation: Evaluation) -> None:
    """Print verdicts, figures, advice and queries on stdout, notes on stderr."""
    print_notes(evaluation.notes)
    for system in evaluation.systems:
        _print(f"[bold]{escape(system.verdict)}[/]  [dim]({escape(system.label)})[/]")
    cost = format_first_stage_cost(evaluation)
    _print(
        f"{escape(evaluation.collection)}: {evaluation.queries} queries, first stage "
        f"{escape(evaluation.first_stage)}{f' ({cost})' if cost else ''}\n"
    )
    _print_depths(evaluation)
    for system in evaluation.systems:
        if not system.compared:
            replaced = f"{system.replaced:.1f} of a query's first ten are new"
            _print(f"{escape(system.label)}: {replaced}")
            continue
        _print_significance(system, evaluation.systems[0].label)
        if system.advice:
            _print(f"\n[bold]advice:[/] {escape(format_advice(system.advice))}")
        for title, changes in (("hurt most", system.hurt()), ("helped most", system.helped())):
            _print_queries(title, changes)


def print_notes(notes: Sequence[str]) -> None:
    """Print each note as a line on stderr."""
    for note in notes:
        line = f"[yellow]note:[/] {escape(printable(note))}"
        errors.print(line, highlight=False, soft_wrap=True)


def print_ablation(variants: Sequence[Variant]) -> None:
    """Print a table with the quality, latency and requests of each variant."""
    names = [name for name in variants[0].measures if name.startswith(("nDCG", "RR", "R(", "R@"))]
    columns = [*map(_short_name, names), "change", "p", "p50 ms", "p95", "requests"]
    table = _table(["first", "rerank"], columns)
    for variant in variants:
        compared = variant.compared
        table.add_row(
            variant.mode,
            variant.reranking,
            *(format_measure(variant.measures[name]) for name in names),
            f"{compared.difference:+.3f}" if compared else "",
            format_p_cell(compared.p) if compared else "",
            *_latency_cells(variant.latency),
            f"{variant.requests:.1f}",
        )
    print_table(table)


def _print_depths(evaluation: Evaluation) -> None:
    """Print measures, milliseconds, pairs and tokens of the first stage and of each depth."""
    names = [name for name in evaluation.first if name.startswith(DEPTH_MEASURES)]
    if any(_GRADE.search(name) for name in names):
        _print("all measures but nDCG count documents of the grade of --relevant or higher\n")
    for number, system in enumerate(evaluation.systems):
        columns = [*map(_short_name, names), "p50 ms", "p95", "pairs", "tokens"]
        table = _table([""], columns, min_width=len("first stage"))
        if number == 0:
            first = (format_measure(evaluation.first[name]) for name in names)
            table.add_row("first stage", *first, "", "", "", "")
        if len(evaluation.systems) > 1:
            _print(f"{chr(10) if number else ''}[dim]{escape(system.label)}[/]")
        for row in system.rows:
            table.add_row(
                f"depth {row.depth}",
                *(format_measure(row.measures[name]) for name in names),
                *_latency_cells(row.latency),
                f"{row.pairs:.0f}",
                f"{row.tokens:,.0f}",
            )
        print_table(table)


def _print_significance(system: SystemResult, first_label: str) -> None:
    """Print every measure at the greatest depth, compared with the first stage."""
    _print(f"\n[italic]depth {system.rows[-1].depth}[/]  [dim]({escape(system.label)})[/]")
    columns = ["first", "now", "change", "95 %", "p boot", "p rand", "better", "worse"]
    table = _table([""], columns, min_width=len("first stage"))
    for name, test in system.compared.items():
        table.add_row(
            _short_name(name),
            format_measure(test.before),
            format_measure(test.after),
            f"{test.difference:+.3f}",
            f"{test.low:+.3f} {test.high:+.3f}",
            format_p_cell(test.p_bootstrap),
            format_p_cell(test.p_randomisation),
            str(test.better),
            str(test.worse),
        )
    print_table(table)
    if against := system.against:
        change = f"{against.difference:+.3f}, {format_p(against.p)}"
        _print(f"against {escape(first_label)}: {change}")


def _print_queries(title: str, changes: Sequence[QueryChange]) -> None:
    if changes:
        _print(f"\n[bold]{title}[/] ({min(MAX_QUERIES, len(changes))} of {len(changes)})")
    for change in changes[:MAX_QUERIES]:
        before, after = format_measure(change.before), format_measure(change.after)
        query, query_id = escape(snippet(change.query, 100)), _escaped(change.query_id)
        _print(f"{before} → {after}  {query}  [dim]{query_id}[/]")
        for moved in change.moved:
            grade = "  ?" if moved.grade is None else f"{moved.grade:3}"
            ranks = f"{moved.rank_before or '-':>4} → {moved.rank_after or '-'!s:<4}"
            _print(f"  grade {grade}  {ranks} {_escaped(moved.title) or _escaped(moved.doc_id)}")


def _table(names: Sequence[str], numbers: Sequence[str], min_width: int | None = None) -> Table:
    """A table whose columns do not wrap: text, left-aligned, then numbers, right-aligned."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name, no_wrap=True, min_width=min_width)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _short_name(measure: str) -> str:
    """The measure without its lowest relevant grade, which is the same for all."""
    return _GRADE.sub("", measure)


def _latency_cells(latency: Latency | None) -> tuple[str, str]:
    return (f"{latency.p50:.0f}", f"{latency.p95:.0f}") if latency else ("", "")


def _escaped(text: str) -> str:
    return escape(printable(text))


def _print(text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False)
