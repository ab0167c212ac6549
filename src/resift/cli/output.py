"""Printing: results on stdout, progress and errors on stderr."""

import logging
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from resift.cli import as_json
from resift.cli.width import FIGURE_TABLE, PASSAGE_TABLE
from resift.settings import debugging
from resift.types import Calibrated, Ranking

console = Console(highlight=False)
errors = Console(stderr=True)

_WIDTHLESS = {"Cf": ""}
SNIPPET = 160  # characters of a passage

MEANINGS: Mapping[Calibrated, str] = {
    "none": "scores are not calibrated",
    "model": "calibrated by the model's maker",
    "judged": "calibrated on judgments",
    "judged_other_depth": "calibrated on judgments of lists of another depth",
}


def say(line: str, style: str | None = None) -> None:
    """Print one line on stderr, without markup."""
    errors.print(printable(line), markup=False, highlight=False, soft_wrap=True, style=style)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print each warning as one line on stderr, without the source line."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: say(str(message))
        yield


class _Lines(logging.Handler):
    """Prints log records as lines on stderr; tracebacks only with ``RESIFT_DEBUG``."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())
        if record.exc_info and debugging():
            trace = logging.Formatter().formatException(record.exc_info)
            errors.print(trace, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def logged() -> Iterator[None]:
    """Print log records of level warning and above on stderr."""
    logger, lines = logging.getLogger("resift"), _Lines(logging.WARNING)
    logger.addHandler(lines)
    try:
        yield
    finally:
        logger.removeHandler(lines)


def printable(text: str) -> str:
    """The text without control characters: a document must not steer the terminal.

    Characters without width (soft hyphens, direction marks) are dropped; other
    control characters become spaces.
    """
    if text.isprintable():
        return text
    shown = (char if char.isprintable() else _WIDTHLESS.get(unicodedata.category(char), " ")
             for char in text)  # fmt: skip
    return "".join(shown)


def print_table(table: Table, least: int = FIGURE_TABLE) -> None:
    """Print a table at least `least` columns wide; a narrower terminal wraps its lines."""
    if console.width < least:
        natural = console.measure(table, options=console.options.update_width(least)).maximum
        table.width = least if table.expand else min(natural, least)
    console.print(table, crop=False)


def print_text(text: RenderableType) -> None:
    """Print text; a terminal too narrow for a table wraps it by itself."""
    console.print(text, soft_wrap=console.width < PASSAGE_TABLE)


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
    """Print one JSON document on stdout."""
    print(as_json.text(value, indent=2))


def snippet(text: str, characters: int = SNIPPET) -> str:
    """The beginning of a text on one line."""
    line = " ".join(printable(text[: 4 * characters]).split())
    return line if len(line) <= characters else line[: characters - 1].rstrip() + "…"


def receipt_line(ranking: Ranking) -> str:
    """The receipt as one line: scored candidates, model, timings, what was left out."""
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
    for counts, what in (
        (receipt.fusion_weight, f"first-stage weight {receipt.fusion_weight:g}"),
        (
            receipt.first_stage_left_out,
            f"first-stage scores not used: {receipt.first_stage_left_out}",
        ),
        (receipt.feedback_weight, f"feedback weight {receipt.feedback_weight:g}"),
    ):
        if counts:
            parts.append(what)
    if receipt.scored:
        parts.append(MEANINGS[receipt.calibration])
    if receipt.below_min_score:
        parts.append(f"{receipt.below_min_score} below min_score")
    if receipt.version is not None:
        parts.append(f"version {receipt.version}")
    if receipt.requests:
        parts.append(f"{receipt.requests} requests, {receipt.bytes / 1e6:.1f} MB")
    parts.extend(receipt.notes)
    if receipt.partial:
        parts.append(f"partial: {receipt.reason}")
    return " · ".join(part for part in parts if part)


def milliseconds(timings_ms: Mapping[str, float]) -> Sequence[str]:
    """Timings of at least half a millisecond."""
    return [f"{name} {ms:.0f} ms" for name, ms in timings_ms.items() if ms >= 0.5]
