"""An evaluation for the terminal: the verdict first, then figures, then queries."""

import re
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from resift.cli.output import console, errors, print_table, printable, snippet
from resift.evaluation.ablation import Variant
from resift.evaluation.advice import chance, chance_alone, first_cost, in_words, short
from resift.evaluation.result import Evaluation, Latency, Moved, QueryChange, SystemResult

MOST = 5  # queries helped and hurt
_GRADE = re.compile(r"\(rel=\d+\)")
SHOWN = ("nDCG", "RR", "P", "Success")  # by depth; all are shown against chance


def print_evaluation(found: Evaluation) -> None:
    """Everything that a person needs to decide; notes go to stderr."""
    print_notes(found.notes)
    for system in found.systems:
        _line(f"[bold]{escape(system.verdict)}[/]  [dim]({escape(system.label)})[/]")
    cost = first_cost(found)
    _line(
        f"{escape(found.collection)}: {found.queries} queries, first stage "
        f"{escape(found.first_stage)}{f' ({cost})' if cost else ''}\n"
    )
    _figures(found)
    for system in found.systems:
        if system.compared:
            _significance(system, found.systems[0].label)
            if system.advice:
                _line(f"\n[bold]advice:[/] {escape(in_words(system.advice))}")
            _queries(system)
        else:
            _line(f"{escape(system.label)}: {system.replaced:.1f} of a query's first ten are new")


def print_notes(notes: Sequence[str]) -> None:
    """What is missing or odd, a line each on stderr."""
    for note in notes:
        line = f"[yellow]note:[/] {escape(printable(note))}"
        errors.print(line, highlight=False, soft_wrap=True)


def print_ablation(parts: Sequence[Variant]) -> None:
    """A table: what each way to search is worth, how long it takes, what it asks of the store."""
    names = [name for name in parts[0].measures if name.startswith(("nDCG", "RR", "R(", "R@"))]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("first", no_wrap=True)
    table.add_column("rerank", no_wrap=True)
    for name in [*map(_short_name, names), "change", "p", "p50 ms", "p95", "requests"]:
        table.add_column(name, justify="right", no_wrap=True)
    for part in parts:
        own = part.compared
        table.add_row(
            part.mode,
            part.second,
            *(short(part.measures[name]) for name in names),
            f"{own.difference:+.3f}" if own else "",
            chance_alone(max(own.p_bootstrap, own.p_randomisation)) if own else "",
            *_milliseconds(part.latency),
            f"{part.requests:.1f}",
        )
    print_table(table)


def _figures(found: Evaluation) -> None:
    """First stage and each depth: measures, milliseconds, pairs and tokens."""
    names = [name for name in found.first if name.startswith(SHOWN)]
    if any(_GRADE.search(name) for name in names):
        _line("all but nDCG count documents of the grade that --relevant names, and more\n")
    for number, system in enumerate(found.systems):
        table = _table(["", *map(_short_name, names), "p50 ms", "p95", "pairs", "tokens"])
        if number == 0:
            first = (short(found.first[name]) for name in names)
            table.add_row("first stage", *first, "", "", "", "")
        if len(found.systems) > 1:
            _line(f"{chr(10) if number else ''}[dim]{escape(system.label)}[/]")
        for row in system.rows:
            table.add_row(
                f"depth {row.depth}",
                *(short(row.measures[name]) for name in names),
                *_milliseconds(row.latency),
                f"{row.pairs:.0f}",
                f"{row.tokens:,.0f}",
            )
        print_table(table)


def _table(heads: Sequence[str]) -> Table:
    """Names on the left and numbers on the right, whole; names are as wide in every table."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(heads[0], no_wrap=True, min_width=len("first stage"))
    for name in heads[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _short_name(measure: str) -> str:
    """Without the grade that counts, which is the same for all."""
    return _GRADE.sub("", measure)


def _milliseconds(latency: Latency | None) -> tuple[str, str]:
    return (f"{latency.p50:.0f}", f"{latency.p95:.0f}") if latency else ("", "")


def _significance(system: SystemResult, first: str) -> None:
    """Every measure at the greatest depth against the first stage."""
    _line(f"\n[italic]depth {system.rows[-1].depth}[/]  [dim]({escape(system.label)})[/]")
    table = _table(["", "first", "now", "change", "95 %", "p boot", "p rand", "better", "worse"])
    for name, own in system.compared.items():
        table.add_row(
            _short_name(name),
            short(own.before),
            short(own.after),
            f"{own.difference:+.3f}",
            f"{own.low:+.3f} {own.high:+.3f}",
            chance_alone(own.p_bootstrap),
            chance_alone(own.p_randomisation),
            str(own.better),
            str(own.worse),
        )
    print_table(table)
    if system.against:
        own = system.against
        _line(
            f"against {escape(first)}: {own.difference:+.3f}, "
            f"{chance(max(own.p_bootstrap, own.p_randomisation))}"
        )


def _queries(system: SystemResult) -> None:
    for title, changes in (("hurt most", system.hurt()), ("helped most", system.helped())):
        if changes:
            _line(f"\n[bold]{title}[/] ({min(MOST, len(changes))} of {len(changes)})")
        for change in changes[:MOST]:
            _change(change)


def _change(change: QueryChange) -> None:
    query = escape(snippet(change.query, 100))
    _line(
        f"{short(change.before)} → {short(change.after)}  {query}  [dim]{_safe(change.query_id)}[/]"
    )
    _documents(change.moved)


def _documents(moved: Sequence[Moved]) -> None:
    for own in moved:
        grade = "  ?" if own.grade is None else f"{own.grade:3}"
        was, now = own.was or "-", own.now or "-"
        _line(f"  grade {grade}  {was:>4} → {now!s:<4} {_safe(own.title) or _safe(own.doc_id)}")


def _safe(text: str) -> str:
    return escape(printable(text))


def _line(text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False)
