"""What every verb prints with: results on stdout, progress and errors on stderr."""

import json
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain, repeat
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from resift.types import Calibrated, Hit, Ranking

console = Console(highlight=False)
errors = Console(stderr=True)

SNIPPET = 160  # characters of a passage

MEANINGS: Mapping[Calibrated, str] = {
    "none": "scores are not calibrated",
    "model": "calibrated by the model's maker",
    "judged": "calibrated on judgments",
    "judged_otherwise": "calibrated on judgments of lists of another depth",
}


def say(line: str) -> None:
    """One line on stderr, as it is."""
    errors.print(printable(line), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """What is warned of inside is a line each on stderr, without the place in the code."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: say(str(message))
        yield


def printable(text: str) -> str:
    """The text without control characters: a document must not steer the terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def progress() -> Progress:
    """A bar on stderr that vanishes when done; nothing where stderr is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )


def print_json(value: Any) -> None:
    """One document on stdout."""
    print(_json(value, indent=2))


def print_json_lines(hits: Iterable[Hit], more: Iterable[Mapping[str, Any]] = ()) -> None:
    """One object a hit on stdout, in rank order; `more` is for the first of them, beside theirs."""
    for hit, beside in zip(hits, chain(more, repeat({})), strict=False):
        print(_json(asdict(hit) | dict(beside)))


def _json(value: Any, indent: int | None = None) -> str:
    """As people read it where stdout can show that, else in ASCII; lone surrogates need it."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent, default=str)
    return text


def print_ranking(ranking: Ranking) -> None:
    """A table of hits, and the receipt in a line."""
    table = Table(show_edge=False, pad_edge=False, box=None, expand=True)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("was", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("passage", ratio=1)
    for hit in ranking:
        score = hit.status if hit.score is None else f"{hit.score:.4f}"
        table.add_row(str(hit.rank), str(hit.first_stage_rank), score, passage(hit))
    console.print(table)
    errors.print(f"[dim]{escape(receipt_line(ranking))}[/]", highlight=False, soft_wrap=True)


def passage(hit: Hit) -> str:
    """Title in bold, then the beginning of the text, as markup."""
    text = str(hit.text) if hit.text is not None else ""
    short = snippet(text)
    title = escape(printable(hit.title))
    return f"[bold]{title}[/]  {escape(short)}" if title else escape(short)


def snippet(text: str, characters: int = SNIPPET) -> str:
    """The beginning of a text on one line."""
    line = " ".join(printable(text[: 4 * characters]).split())
    return line if len(line) <= characters else line[: characters - 1].rstrip() + "…"


def receipt_line(ranking: Ranking) -> str:
    """The receipt for people: what was read, by what, how long it took, what was left out."""
    receipt = ranking.receipt
    parts = [
        f"{receipt.scored} of {receipt.depth} scored",
        f"{receipt.tokens:,} tokens",
        f"{receipt.model} on {receipt.runtime}",
        ", ".join(milliseconds(receipt.timings_ms)),
    ]
    for count, what in ((receipt.cut, "cut"), (receipt.skipped, "unreadable")):
        if count:
            parts.append(f"{count} {what}")
    if receipt.fusion_weight:
        parts.append(f"first stage weighs {receipt.fusion_weight:g}")
    if receipt.feedback_weight:
        parts.append(f"likeness to the leaders {receipt.feedback_weight:g}")
    if receipt.scored:
        parts.append(MEANINGS[receipt.calibration])
    if receipt.below_min_score:
        parts.append(f"{receipt.below_min_score} below the least score")
    if receipt.version is not None:
        parts.append(f"version {receipt.version}")
    if receipt.requests:
        parts.append(f"{receipt.requests} requests, {receipt.bytes / 1e6:.1f} MB")
    parts.extend(receipt.notes)
    if receipt.partial:
        parts.append(f"partial: {receipt.reason}")
    return " · ".join(part for part in parts if part)


def milliseconds(timings_ms: Mapping[str, float]) -> Sequence[str]:
    """Stages worth naming: half a millisecond and more."""
    return [f"{name} {ms:.0f} ms" for name, ms in timings_ms.items() if ms >= 0.5]
