"""``resift index --every`` and ``--watch``: sync again and again, one line for each change."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Self

import typer

from resift.cli import as_json
from resift.cli.output import print_line, print_status, printable, sync_progress
from resift.cli.skipped import print_skipped, report_as_json
from resift.cli.stop_signals import StopSignals
from resift.errors import InputError

if TYPE_CHECKING:
    from resift.index.follow import SyncFailure
    from resift.index.report import SyncReport
    from resift.index.run import Progress, ProgressCallback
    from resift.index.source_options import SourceOptions
    from resift.search.index import Index

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_INTERVAL = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) *([smhd]?)")


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """When to sync: every so many seconds (None: not given), and when files change."""

    every_s: float | None
    watch: bool

    def __bool__(self) -> bool:
        return self.watch or self.every_s is not None


def interval(text: str | None) -> float | None:
    """The seconds in "30s", "5m", "2h", "1d" or a number of seconds; raises `InputError`."""
    from resift.index.follow import MAX_EVERY_S

    if text is None:
        return None
    match = _INTERVAL.fullmatch(text.strip().lower())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 1 <= seconds <= MAX_EVERY_S:
        raise InputError(
            f"--every {text}: expected a time from 1s to {MAX_EVERY_S / 86_400:.0f}d, such as 30s, "
            "5m, 2h or 1d"
        )
    return seconds


class _Bars:
    """A progress bar for each sync: opened before it or at its first progress, closed after it."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._show: ProgressCallback | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> "ProgressCallback":
        """Open the bar of the sync that runs, unless it is open."""
        if self._show is None:
            self._show = self._open.enter_context(sync_progress())
        return self._show

    def show(self, state: "Progress") -> None:
        """Show the progress of the sync that runs."""
        self.open()(state)

    def close(self) -> None:
        """Remove the bar of a sync that has ended."""
        self._show = None
        self._open.close()


def follow_source(
    target: "Index",
    source: str,
    read_options: "Callable[[], SourceOptions]",
    options: FollowOptions,
    lines_as_json: bool,
    *,
    token_states: bool,
    allow_unsafe: bool,
) -> None:
    """Sync until SIGTERM (exit code 0), Ctrl-C (130) or an error that no later sync can mend."""
    log = ChangeLog(lines_as_json)
    with StopSignals() as signals, _Bars() as bars:

        def add_failure(failure: "SyncFailure") -> None:
            bars.close()
            log.add_failure(failure)

        def first_options() -> "SourceOptions":
            source_options = read_options()  # prints lines, which a bar would break
            bars.open()  # the first listing may take long; later syncs mostly find nothing new
            return source_options

        reports = target.follow(
            source,
            every_s=options.every_s,
            watch=options.watch,
            stop=signals.stop,
            progress=bars.show,
            on_failure=add_failure,
            source_options=first_options,
            token_states=token_states,
            allow_unsafe=allow_unsafe,
        )
        print_status(f"{source}: {_when(options)}; Ctrl-C ends")
        for report in reports:
            bars.close()
            log.add(report)
    if signals.stop.is_set():
        raise typer.Exit(signals.exit_code)


class ChangeLog:
    """Prints a line for each sync that changed something, and for each failure."""

    def __init__(self, lines_as_json: bool = False) -> None:
        """Print a change as a line of text or of JSON."""
        self._as_json = lines_as_json
        self._skipped: frozenset[tuple[str, str]] = frozenset()
        self._is_first = True

    def add(self, report: "SyncReport") -> None:
        """Print what a sync has changed, and the files that it is the first to skip."""
        if not self._as_json:
            skipped = tuple(line for line in report.skipped if line not in self._skipped)
            passed_over = report.passed_over if self._is_first else {}
            print_skipped(replace(report, skipped=skipped, passed_over=passed_over))
            self._skipped, self._is_first = frozenset(report.skipped), False
        if not has_changes(report):
            return
        now = datetime.now().astimezone()
        if self._as_json:
            entry = {"time": now.isoformat(timespec="seconds"), **report_as_json(report)}
            print(as_json.text(entry), flush=True)
        else:
            print_line(f"{now:%H:%M:%S}  {change_line(report)}")

    def add_failure(self, failure: "SyncFailure") -> None:
        """Print a failed sync, and when the next one is."""
        print_status(f"{datetime.now():%H:%M:%S}  {printable(str(failure))}")


def has_changes(report: "SyncReport") -> bool:
    """Whether a sync changed which documents are searched, or the remembered options."""
    changes = report.added, report.changed, report.deleted, report.emptied
    return any(changes) or report.options_changed


def change_line(report: "SyncReport") -> str:
    """A sync in a line: "+3 ~1 -0, 1,204 documents, version 17, 2.1 s"."""
    documents = report.added + report.changed + report.unchanged + report.unread
    unread = f", {report.unread:,} unreadable" if report.unread else ""
    options = ", changed options" if report.options_changed else ""
    return (
        f"+{report.added:,} ~{report.changed:,} -{report.deleted + report.emptied:,}, "
        f"{documents:,} documents{unread}{options}, version {report.version}, "
        f"{report.seconds:.1f} s"
    )


def _when(options: FollowOptions) -> str:
    every = "" if options.every_s is None else f"every {duration(options.every_s)}"
    if options.watch:
        return f"syncs when files change{f', and {every}' if every else ''}"
    return f"syncs {every}"


def duration(seconds: float) -> str:
    """Seconds in the largest unit that gives a whole number: "5m", "90s"."""
    unit = max((unit for unit in "smhd" if seconds % _UNITS[unit] == 0), key=_UNITS.__getitem__,
               default="s")  # fmt: skip
    return f"{seconds / _UNITS[unit]:g}{unit}"
