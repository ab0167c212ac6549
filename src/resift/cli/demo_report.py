"""What the demo prints: the first operations before and after reranking, and the measures.

Judged operations are marked in both columns. Knows grades and titles, and not how a search works.
"""

from itertools import zip_longest

from rich.table import Table
from rich.text import Text

from resift.cli.demo_measures import (
    FIRST,
    FULL_SUCCESS,
    NDCG,
    SUCCESS,
    Comparison,
    operation_ids,
)
from resift.cli.demo_questions import RELEVANT, Question
from resift.cli.output import console, print_line, print_table, printable
from resift.cli.symbols import encodable
from resift.types import DEPTH, Hit, Ranking

FULL, PART = "✓", "~"
LEGEND = (
    f"{FULL} does what is asked   {PART} does a part of it   without a mark: not judged to do it"
)
NARROW = 40  # columns; a narrower terminal wraps the lines of a table
_EMPTY = (Text(), Text())
_STYLES = {FULL: "bold green", PART: "yellow"}
_ROWS = (
    (NDCG, NDCG),
    (f"success@{FIRST}, {FULL} or {PART}", SUCCESS),
    (f"success@{FIRST}, {FULL}", FULL_SUCCESS),
)


def print_question(question: Question, before: Ranking, after: Ranking) -> None:
    """Print a question's first operations in both orders, with marks, and the search's timings."""
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", justify="right", no_wrap=True)
    for name in ("first stage", "reranked"):
        table.add_column("", width=1)
        table.add_column(name, ratio=1, header_style="dim")
    columns = (first_operations(question, before), first_operations(question, after))
    for rank, (left, right) in enumerate(zip_longest(*columns, fillvalue=_EMPTY), 1):
        table.add_row(str(rank), *left, *right)
    console.print(Text(f"{question.id}: {encodable(printable(question.text))}", style="bold"))
    print_table(table, NARROW)
    times = [ranking.receipt.timings_ms["total"] for ranking in (before, after)]
    receipt = after.receipt
    line = f"first stage {times[0]:.0f} ms, with reranking {times[1]:.0f} ms: "
    line += f"{receipt.scored} of {receipt.depth} candidates scored"
    console.print(Text(f"{line}\n", "dim"))


def first_operations(question: Question, ranking: Ranking) -> list[tuple[Text, Text]]:
    """The first operations in a ranking: the mark of the grade, and the title."""
    hits: dict[str, Hit] = {}
    for hit in ranking:
        hits.setdefault(operation_ids([hit])[0], hit)
    return [
        _cells(mark(question.grades.get(name, 0)), hit.title)
        for name, hit in list(hits.items())[:FIRST]
    ]


def mark(grade: int) -> str:
    """The sign of a grade; a blank for an operation that was not judged relevant."""
    return FULL if grade >= RELEVANT else PART if grade > 0 else " "


def is_success(question: Question, ranking: Ranking) -> bool:
    """Whether a judged operation is among the first of a ranking."""
    return any(name in question.grades for name in operation_ids(ranking)[:FIRST])


def print_comparison(comparison: Comparison) -> None:
    """Print the measures before and after reranking."""
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("first stage", justify="right", header_style="dim")
    table.add_column("reranked", justify="right", header_style="dim")
    for name, measure in _ROWS:
        before, after = comparison.before[measure], comparison.after[measure]
        table.add_row(encodable(name), _decimals(before), _decimals(after))
    console.print(
        Text(
            f"All {comparison.questions} judged questions, {DEPTH} candidates each, "
            f"in {comparison.seconds:.0f} s",
            style="bold",
        )
    )
    print_table(table, NARROW)
    print_line("")


def _cells(sign: str, title: str) -> tuple[Text, Text]:
    style = _STYLES.get(sign, "")
    return Text(encodable(sign), style), Text(encodable(printable(title)), style)


def _decimals(value: float) -> str:
    """.407, and 1.000 for the greatest value."""
    return f"{value:.3f}".removeprefix("0")
