"""Print results on stdout, progress and errors on stderr."""

import logging
import threading
import time
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from resift.cli import as_json
from resift.cli.streams import FIGURE_TABLE, PASSAGE_TABLE
from resift.settings import debugging

if TYPE_CHECKING:
    from resift.index.run import Progress as SyncProgress

console = Console(highlight=False, emoji=False)  # names are shown as they are, :smile: too
errors = Console(stderr=True, emoji=False)

SNIPPET = 160  # characters
BAR_AFTER_S = 2.0
"""Seconds after which a progress bar appears; shorter work shows none."""


def print_status(line: str, style: str | None = None) -> None:
    """Print one line on stderr, without markup."""
    errors.print(printable(line), markup=False, highlight=False, soft_wrap=True, style=style)


def print_note(line: str, style: str | None = None) -> None:
    """`print_status` for prose, such as a receipt or a warning: a terminal wraps it at words."""
    is_line = not errors.is_terminal
    errors.print(printable(line), markup=False, highlight=False, soft_wrap=is_line, style=style)


def print_line(line: str, style: str | None = None) -> None:
    """Print one line on stdout, without markup; long lines are not wrapped."""
    console.print(printable(line), markup=False, soft_wrap=True, style=style)


def print_traceback(error: BaseException | None) -> None:
    """With ``RESIFT_DEBUG``, print the traceback of an error on stderr."""
    if error is not None and debugging():
        trace = "".join(traceback.format_exception(error))
        errors.print(trace, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print each warning as one line on stderr, without the source line."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: print_note(str(message))
        yield


class _StderrHandler(logging.Handler):
    """Prints log records as lines on stderr; tracebacks only with ``RESIFT_DEBUG``."""

    def emit(self, record: logging.LogRecord) -> None:
        print_note(record.getMessage())
        if record.exc_info:
            print_traceback(record.exc_info[1])


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Print log records of level warning and above on stderr."""
    logger, handler = logging.getLogger("resift"), _StderrHandler(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def printable(text: str) -> str:
    """Remove control characters, so that a document cannot control the terminal.

    Characters without width (soft hyphens, direction marks) are dropped; other control characters
    become spaces.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else "" if unicodedata.category(char) == "Cf" else " "
        for char in text
    )


def print_table(table: Table, min_width: int = FIGURE_TABLE) -> None:
    """Print a table at least `min_width` columns wide; a narrower terminal wraps its lines."""
    if console.width < min_width:
        natural = console.measure(table, options=console.options.update_width(min_width)).maximum
        table.width = min_width if table.expand else min(natural, min_width)
    console.print(table, crop=False)


def print_text(text: RenderableType) -> None:
    """Print text; a terminal that is too narrow for a table wraps its lines itself."""
    console.print(text, soft_wrap=console.width < PASSAGE_TABLE)


class _TimeColumn(ProgressColumn):
    """The time left; the time elapsed while the amount of work is unknown."""

    max_refresh = 0.5

    def __init__(self) -> None:
        super().__init__()
        self._left, self._elapsed = TimeRemainingColumn(), TimeElapsedColumn()

    def render(self, task: Task) -> Text:
        return (self._elapsed if task.total is None else self._left).render(task)


class _LateProgress(Progress):
    """A `Progress` that appears `BAR_AFTER_S` after ``with`` began, unless the work is done."""

    def __enter__(self) -> Self:
        self._timer = threading.Timer(BAR_AFTER_S, self.start)
        self._timer.daemon = True
        if not self.disable:
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if self._timer.is_alive():  # it may be starting the bar just now
            self._timer.join()
        self.stop()


def progress() -> Progress:
    """A bar on stderr, for a ``with`` statement; it appears late and disappears at the end.

    It shows the time left, or the time elapsed for a task without a total. Nothing is shown if
    stderr is not a terminal, or is one that cannot redraw a line.
    """
    return _LateProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}"),
        _TimeColumn(),
        console=errors,
        transient=True,
        redirect_stdout=console.is_terminal,  # else it would send a pipe's lines to stderr
        disable=not errors.is_interactive,
    )


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """A bar with the time elapsed, for work of unknown length: loading a model, one request."""
    with progress() as bar:
        bar.add_task(printable(what), total=None, note="")
        yield


@contextmanager
def sync_progress() -> Iterator[Callable[["SyncProgress"], None]]:
    """A progress bar with documents, passages and megabytes."""
    started = time.monotonic()
    with progress() as bar:
        task = bar.add_task("indexing", total=None, note="")

        def show(state: "SyncProgress") -> None:
            seconds = max(time.monotonic() - started, 0.1)
            note = (
                f"{state.done_objects:,}/{state.total_objects:,} documents, "
                f"{state.passages:,} passages ({state.passages / seconds:,.0f}/s), "
                f"{state.bytes / 1e6:.1f} MB"
            )
            bar.update(task, completed=state.work, total=1.0, note=note)

        yield show


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    print(as_json.text(value, indent=2))


def snippet(text: str, characters: int = SNIPPET) -> str:
    """The beginning of a text on one line."""
    line = " ".join(printable(text[: 4 * characters]).split())
    return line if len(line) <= characters else line[: characters - 1].rstrip() + "…"
