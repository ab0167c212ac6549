"""Print a ranking: a table with sources and best sentences, JSON, explanations, the receipt."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from resift.cli import as_json
from resift.cli.best_sentences import best_sentences
from resift.cli.hits import print_hits_for_people
from resift.cli.marks import LANGUAGE
from resift.cli.output import (
    print_json,
    print_line,
    print_note,
    print_status,
    print_table,
    print_text,
    printable,
)
from resift.cli.passages import passage
from resift.cli.streams import PASSAGE_TABLE
from resift.errors import InputError
from resift.rerank.explain import make_comparison
from resift.types import Calibrated, Explanation, Hit, Part, Ranking

ExplainOption = Annotated[
    int | None,
    typer.Option("--explain", metavar="N", help="Explain the positions of the first N hits."),
]

NUMBERED = 3  # parts of a hit whose effect is printed as a number
STRONG, WEAK = 0.5, 0.15  # shares of the strongest effect: bold from the first, no colour below

CALIBRATIONS: Mapping[Calibrated, str] = {
    "none": "scores are not calibrated",
    "model": "calibrated by the model's maker",
    "judged": "calibrated on judgments",
    "judged_other_depth": "calibrated on judgments of lists of another depth",
    "rank": "scores are ranks only",
}


@dataclass(frozen=True, slots=True)
class RankingFormat:
    """How to print a ranking: as one JSON document, a JSON object per hit, or for people.

    The first `explain` hits are explained. `budget_ms` is the call's: a terminal's best sentences
    are chosen within the rest of it. Raises `InputError` for options that exclude each other.
    """

    as_json: bool = False
    as_lines: bool = False
    explain: int | None = None
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        count = self.explain
        if self.as_json and self.as_lines:
            raise InputError("--json and --jsonl: expected one of them; leave one out")
        if count is not None and count < 1:
            raise InputError(f"explain={count}: expected 1 hit or more")


def print_ranking(ranking: Ranking, output: RankingFormat, language: str = LANGUAGE) -> None:
    """Print a ranking in this format, with its first hits explained.

    `language` is that of the query's words, whose stems are marked.
    """
    explanations = _explanations(ranking, output.explain or 0)
    if ranking.abstained:
        print_status("no candidate is relevant enough: the best score is below --abstain-below")
    extra = [{"explanation": explanation} for explanation in explanations]
    if output.as_json:
        print_json(as_json.document(ranking, extra))
    elif output.as_lines:
        for line in as_json.lines(ranking, extra):
            print(as_json.text(line))
        _print_reasons(ranking)
    else:
        _print_reasons(ranking, "bold yellow")
        if sys.stdout.isatty() and len(ranking):
            _print_for_people(ranking, output.budget_ms, language)
        else:
            print_hits(ranking)
        _print_explanations(ranking, explanations)


def _print_reasons(ranking: Ranking, style: str | None = None) -> None:
    """Print why a ranking is partial, and the notes of one without hits, which may tell why."""
    if ranking.receipt.partial:
        print_note(f"partial: {ranking.receipt.reason}", style=style)
    for note in () if len(ranking) else ranking.receipt.notes:
        print_note(note)


def _explanations(ranking: Ranking, count: int) -> list[Explanation | None]:
    """Explain the first hits; None for a hit that could not be read."""
    if count and ranking.explainer is None:
        print_status(f"nothing to explain: {ranking.receipt.reason or 'nothing was reranked'}")
        return []
    readable = ("ok", "cut", "late", "not_reranked")
    return [
        ranking.explain(index) if hit.status in readable else None
        for index, hit in enumerate(ranking[:count])
    ]


def _print_for_people(ranking: Ranking, budget_ms: float | None, language: str) -> None:
    total_ms = ranking.receipt.timings_ms.get("total", 0.0)
    left_ms = None if budget_ms is None else budget_ms - total_ms
    start = time.perf_counter()
    best = best_sentences(ranking, left_ms)
    ms = (time.perf_counter() - start) * 1000
    print_hits_for_people(ranking, best, language)
    print_note(
        f"{receipt_line(ranking, has_reasons=False)} · best sentences {ms:.0f} ms", style="dim"
    )


def print_hits(ranking: Ranking) -> None:
    """Print a table of hits, and the receipt as a line."""
    table = Table(show_edge=False, pad_edge=False, box=None, expand=True)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("was", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("passage", ratio=1, overflow="fold")
    for hit in ranking:
        score = hit.status if hit.score is None else f"{hit.score:.4f}"
        table.add_row(str(hit.rank), str(hit.first_stage_rank), score, passage(ranking.query, hit))
    if len(ranking):
        print_table(table, PASSAGE_TABLE)
    else:
        print_line("nothing to show", style="dim")
    print_note(receipt_line(ranking, has_reasons=False), style="dim")


def receipt_line(ranking: Ranking, *, has_reasons: bool = True) -> str:
    """The receipt as one line: scored candidates, model, timings, and exceptions.

    Without `has_reasons` it leaves out what `_print_reasons` has printed already.
    """
    receipt = ranking.receipt
    reason = f"partial: {receipt.reason}" if has_reasons else "partial"
    parts = [
        reason if receipt.partial else "",
        f"{receipt.scored} of {receipt.depth} scored",
        f"{receipt.tokens:,} tokens",
        f"{receipt.model} on {receipt.runtime}",
        ", ".join(milliseconds(receipt.timings_ms)),
    ]
    optional = (
        (receipt.cut, f"{receipt.cut} cut"),
        (receipt.windows, f"{receipt.windowed} long, read in {receipt.windows} windows"),
        (receipt.skipped, f"{receipt.skipped} unreadable"),
        (
            receipt.query_unknown_share,
            f"{receipt.query_unknown_share:.0%} of the query unknown",
        ),
        (receipt.mostly_unknown, f"{receipt.mostly_unknown} mostly unknown"),
        (receipt.query_prompt, f"prompt {receipt.query_prompt!r}"),
        (receipt.fusion_weight, f"first-stage weight {receipt.fusion_weight:g}"),
        (
            receipt.first_stage_left_out,
            f"first-stage scores not used: {receipt.first_stage_left_out}",
        ),
        (receipt.feedback_weight, f"feedback weight {receipt.feedback_weight:g}"),
        (receipt.scored, CALIBRATIONS[receipt.calibration]),
        (receipt.below_min_score, f"{receipt.below_min_score} below min_score"),
        (receipt.collapsed, f"{receipt.collapsed} further passages of the same documents"),
        (receipt.version is not None, f"version {receipt.version}"),
        (receipt.requests, f"{receipt.requests} requests, {receipt.bytes / 1e6:.1f} MB"),
    )
    parts += [part for is_shown, part in optional if is_shown]
    parts += receipt.notes if has_reasons or len(ranking) else ()
    return " · ".join(part for part in parts if part)


def milliseconds(timings_ms: Mapping[str, float]) -> Sequence[str]:
    """Timings of 0.5 ms or more."""
    return [f"{name} {ms:.0f} ms" for name, ms in timings_ms.items() if ms >= 0.5]


def _print_explanations(ranking: Ranking, explanations: list[Explanation | None]) -> None:
    """Print each explained hit, and why it ranks above the next."""
    explained = list(zip(ranking[: len(explanations)], explanations, strict=True))
    for hit, explanation in explained:
        print_text(Text("\n").append(explained_text(hit, explanation)))
    for (above, above_explained), (below, below_explained) in pairwise(explained):
        summary = make_comparison(above, below, above_explained, below_explained).summary
        print_text(Text(f"\nwhy: {printable(summary)}"))


def explained_text(hit: Hit, explanation: Explanation | None) -> Text:
    """A hit's title and text; colours and numbers show the effect of each part on its logit."""
    text = Text(f"{hit.rank}. ", style="bold")
    if explanation is None:
        return text.append(f"{printable(hit.id)}: nothing to explain: {hit.status}", "not bold")
    text.append(f"logit {explanation.logit:+.2f}  ", "dim not bold")
    numbered = explanation.strongest(NUMBERED)
    strongest = max((abs(part.effect or 0.0) for part in explanation.parts), default=0.0)
    for part in explanation.parts:
        words = " ".join(printable(part.text).split())
        text.append(words, _style(part, strongest))
        if any(part is strong for strong in numbered):
            text.append(f" [{part.effect:+.2f}]", "not bold")
        text.append("\n" if part.where == "title" else " ")
    if len(explanation.parts) == 1:
        text.append("(the only part, so it has no effect to measure) ", "dim not bold")
    if explanation.unread:
        text.append(f"… {explanation.unread:,} characters were not read", "dim not bold")
    return text


def _style(part: Part, strongest: float) -> str:
    """Green for a part that raises the logit, red for a part that lowers it."""
    share = (part.effect or 0.0) / strongest if strongest else 0.0
    if abs(share) < WEAK:
        return "not bold"
    colour = "green" if share > 0 else "red"
    return f"bold {colour}" if abs(share) >= STRONG else f"not bold {colour}"
