"""Prints which files of a source are not in its index, and why."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from resift.cli.output import print_status

if TYPE_CHECKING:
    from resift.index.plan import SyncPlan
    from resift.index.report import SyncReport

_MAX_SKIPPED = 20  # names of skipped files that are printed
_MAX_ALIKE = 3  # files with the same reason that are named; more are counted
_MAX_KINDS = 12
_LIST = "--list-skipped names them"


def print_skipped(report: "SyncReport | SyncPlan", list_all: bool = False) -> None:
    """Print the skipped files and their reasons on stderr, or with `list_all` every one of them."""
    lines = [*_lines(report, list_all)]
    shown = lines if list_all else lines[:_MAX_SKIPPED]
    for line in shown:
        print_status(line)
    if len(lines) > len(shown):
        print_status(f"and {len(lines) - len(shown):,} more; {_LIST}")
    if list_all:
        for uri, kind in report.not_documents:
            print_status(f"not read {uri}: {_reason(kind)}")
    elif report.passed_over:
        print_status(f"{_kinds(report.passed_over)}; {_LIST}")


def report_as_json(report: "SyncReport | SyncPlan", list_all: bool = False) -> dict[str, Any]:
    """Convert a report to JSON types; the names of files that are no documents need `list_all`."""
    values = asdict(report)
    if not list_all:
        del values["not_documents"]
    return values


def _lines(report: "SyncReport | SyncPlan", list_all: bool) -> Iterator[str]:
    """Yield a line for each skipped file; of many with the same reason, one line for all."""
    partly = {*report.partly_read}
    counts = Counter(reason for uri, reason in report.skipped if uri not in partly)
    alike = {} if list_all else {r: n for r, n in counts.items() if n > _MAX_ALIKE}
    for uri, reason in report.skipped:
        if uri in partly:
            yield f"note {uri}: {reason}"
        elif reason not in counts:
            continue
        elif reason in alike:
            yield f"skipped {alike[reason]:,} files, such as {uri}: {reason}"
            del counts[reason]
        else:
            yield f"skipped {uri}: {reason}"


def _kinds(passed_over: Mapping[str, int]) -> str:
    """Count the files and folders that are no documents, by kind, the most frequent first."""
    from resift.index.sources.source import FOLDER_KINDS

    files = {kind: n for kind, n in passed_over.items() if kind not in FOLDER_KINDS}
    folders = {kind: n for kind, n in passed_over.items() if kind in FOLDER_KINDS}
    texts = []
    if files:
        total = sum(files.values())
        noun = "file" if total == 1 else "files"
        texts.append(f"{total:,} {noun} of kinds that are not read: {_counts(files)}")
    if folders:
        texts.append(f"folders that are not read: {_counts(folders)}")
    return "; ".join(texts)


def _counts(kinds: Mapping[str, int]) -> str:
    ordered = sorted(kinds.items(), key=lambda entry: (-entry[1], entry[0]))
    texts = [f"{kind} {count:,}" for kind, count in ordered[:_MAX_KINDS]]
    others = len(ordered) - len(texts)
    if others:
        texts.append(f"{others:,} other {'kind' if others == 1 else 'kinds'}")
    return ", ".join(texts)


def _reason(kind: str) -> str:
    from resift.index.sources.source import FOLDER_KINDS, INDEX

    if kind == INDEX:
        return "an index, not documents"
    if kind in FOLDER_KINDS:
        return f"installed packages; --include '{kind}/' reads them"
    return f"{kind}: not a kind of document that is read"
