"""What a sync would take out of an index: most of it, and it asks first. Pure.

A disk that is not mounted, a prefix with a typing error and a column that is not there look like a
source whose documents were all deleted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resift.errors import MassDeletion
from resift.index.diff import Diff
from resift.index.manifest import Entry
from resift.index.sources.listing import SourceObject

_LEAST = 20
_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class DeletionGuard:
    """Watches over the `indexed` entries of one source."""

    source_uri: str
    indexed: Mapping[str, Entry]

    def why_not(
        self, diff: Diff, emptied: Sequence[tuple[Entry, str]] = (), new: int | None = None
    ) -> str | None:
        """One line that says what would go and what to do; None if it is not too much.

        `emptied` are entries whose documents are there and give no text any more, with a reason
        each; `new` is how many documents were added, if that is known. Too much is more than half,
        if that is 20 or more; and everything, however little that is. A document that has moved
        does not count.
        """
        documents = sum(1 for entry in self.indexed.values() if entry.passages)
        gone = _gone(diff)
        lost = len(gone) + len(emptied)
        there = len(diff.added) + len(diff.changed) if new is None else new
        everything = lost == documents and not there
        if not lost or not (everything or (lost >= _LEAST and lost > _SHARE * documents)):
            return None
        parts = []
        if gone:
            parts.append(f"{len(gone):,} are not there any more (like {gone[0].origin.uri})")
        if emptied:
            entry, reason = emptied[0]
            uri = entry.origin.uri
            parts.append(f"{len(emptied):,} give no text any more (like {uri}: {reason})")
        return (
            f"{self.source_uri}: {lost:,} of {documents:,} indexed documents would leave the "
            f"index: {' and '.join(parts)}; check the place and the options, or go on with "
            "--allow-deletes (allow_deletes=True)"
        )


def refuse(reason: str | None) -> None:
    """Raise `MassDeletion` if there is a reason to."""
    if reason:
        raise MassDeletion(reason)


def _gone(diff: Diff) -> list[Entry]:
    """Entries with passages that are gone, but for those that are there under another name."""
    came = Counter(map(_content, diff.added))
    gone = []
    for entry in diff.gone:
        content = (entry.origin.etag, entry.origin.size)
        if not entry.passages:
            continue
        if came[content]:
            came[content] -= 1
        else:
            gone.append(entry)
    return gone


def _content(item: SourceObject) -> tuple[str, int]:
    return item.etag, item.size
