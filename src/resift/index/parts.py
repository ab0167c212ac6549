"""Parts of a sync that other processes did, and their commits.

A worker writes the rows of its objects to files that no version of the table has yet
(`part_work`). The process that syncs commits these files, so the table has all passages of an
object or none of them.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from resift.index.manifest import Entry
from resift.index.sources.listing import SourceObject
from resift.index.table.store import Fragment, Problems, Store
from resift.index.writer import COMMIT_PASSAGES, COMMIT_SECONDS


@dataclass(frozen=True)
class PartResult:
    """What a worker did with some objects, `items`: other fields as in `SyncRun` and `Writer`.

    `fragments` are the files with the rows of the `committed` entries.
    """

    items: tuple[SourceObject, ...]
    fragments: tuple[Fragment, ...] = ()
    problems: Problems = field(default_factory=dict)
    committed: Mapping[str, Entry] = field(default_factory=dict)
    skipped: Mapping[str, Entry] = field(default_factory=dict)
    reread: Mapping[str, Entry] = field(default_factory=dict)
    unread: tuple[tuple[str, str], ...] = ()
    vanished: tuple[str, ...] = ()
    embedded: int = 0
    reused: int = 0
    precomputed_bytes: int = 0

    @property
    def bytes(self) -> int:
        """The size of all objects."""
        return sum(item.size for item in self.items)


@dataclass
class PartCommitter:
    """Commits the rows that workers wrote. Fields as in `Writer`."""

    store: Store
    indexed: dict[str, Entry]
    attempt: str
    committed: dict[str, Entry] = field(default_factory=dict)
    embedded: int = 0
    reused: int = 0
    precomputed_bytes: int = 0
    bytes: int = 0
    _pending: list[PartResult] = field(default_factory=list)
    _passages: int = 0
    _since: float = field(default_factory=time.monotonic)

    @property
    def written(self) -> int:
        """The number of passages that have vectors."""
        return self.embedded + self.reused

    @property
    def is_full(self) -> bool:
        """Whether it is time to commit."""
        is_late = time.monotonic() - self._since > COMMIT_SECONDS
        return self._passages >= COMMIT_PASSAGES or (is_late and self._passages > 0)

    def add(self, part: PartResult) -> None:
        """Add the rows of a part."""
        self.embedded += part.embedded
        self.reused += part.reused
        self.precomputed_bytes += part.precomputed_bytes
        self.bytes += part.bytes
        if part.fragments:
            self._pending.append(part)
            self._passages += sum(entry.passages for entry in part.committed.values())

    def commit(self, report_progress: Callable[[], None] = lambda: None) -> None:
        """Commit everything pending, in one commit."""
        if self._pending:
            problems = {key: texts for p in self._pending for key, texts in p.problems.items()}
            fragments = [fragment for part in self._pending for fragment in part.fragments]
            self.store.commit(fragments, problems)
            for part in self._pending:
                self.committed |= part.committed
            self._pending, self._passages = [], 0
        self._since = time.monotonic()
        report_progress()
