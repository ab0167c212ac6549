"""How a source differs from an index: what is to be read, what is gone, and whether too much is."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from resift.errors import MassDeletion
from resift.index.manifest import Entry
from resift.index.source_options import SourceOptions
from resift.index.sources.listing import SourceObject
from resift.index.sources.source import Listing
from resift.index.versions.record import Version

_MIN_LOST = 20
_LOST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Diff:
    """The difference between a listing and the entries of an index.

    `added` and `changed` objects are to be read. `gone` entries are not in the source any more;
    `unchanged` ones need nothing, including those of which nothing could be indexed. `unseen`
    entries, or a folder above them, could not be listed, so nothing is known of them.
    """

    added: tuple[SourceObject, ...]
    changed: tuple[SourceObject, ...]
    gone: tuple[Entry, ...]
    unchanged: tuple[Entry, ...]
    unseen: tuple[Entry, ...] = ()

    @property
    def to_read(self) -> tuple[SourceObject, ...]:
        """Added and changed objects, by key."""
        return tuple(sorted(self.added + self.changed, key=lambda item: item.key))

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.gone)


@dataclass(frozen=True, slots=True)
class Expected:
    """How an entry must have been made to need no reading.

    `made_by` names the parser of a key. `limits`, and which parsers are installed, decide what was
    skipped. `precomputed_by` is the model whose token states are wanted, if any. `may_exceed` says
    whether an indexed object might be over the current limits: then it is read again.
    """

    made_by: Callable[[str], str]
    limits: str = ""
    precomputed_by: str | None = None
    may_exceed: Callable[[SourceObject], bool] = lambda item: False

    def fingerprint(self, key: str, passages: int) -> str:
        """What `Origin.made_by` is for an object with so many passages."""
        # A skipped object may have been over a limit, or its parser was not installed.
        return self.made_by(key) if passages else f"{self.made_by(key)} {self.limits}"

    def matches(self, key: str, entry: Entry) -> bool:
        """Whether an entry was made as expected, whatever its object's content."""
        if entry.origin.made_by != self.fingerprint(key, entry.passages):
            return False
        wanted = self.precomputed_by
        return not (wanted and entry.passages) or entry.precomputed_by == wanted


def compare(
    objects: Sequence[SourceObject],
    entries: Mapping[str, Entry],
    expected: Expected,
    unseen: Sequence[str] = (),
) -> Diff:
    """Compare by URI, ETag, size, parser and precomputing model.

    `unseen` are the URIs of what could not be listed; nothing is known of what is below them.
    """
    added, changed, unchanged = [], [], []
    for item in objects:
        entry = entries.get(item.uri)
        if entry is None:
            added.append(item)
        elif _is_current(item, entry, expected):
            unchanged.append(entry)
        else:
            changed.append(item)
    listed = {item.uri for item in objects}
    missing = {uri: entry for uri, entry in entries.items() if uri not in listed}
    unknown = {uri.rstrip("/") for uri in unseen}
    gone = tuple(entry for uri, entry in missing.items() if not ancestor(uri, unknown))
    retained = tuple(entry for uri, entry in missing.items() if ancestor(uri, unknown))
    return Diff(tuple(added), tuple(changed), gone, tuple(unchanged), retained)


def ancestor(uri: str, uris: Set[str]) -> str | None:
    """The one of `uris`, which have no slash at the end, that is `uri` or a folder above it."""
    while uri and uri not in uris:
        uri = uri.rpartition("/")[0]
    return uri or None


def below(root: str, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The entries of one source."""
    prefix = root.rstrip("/") + "/"
    return {uri: entry for uri, entry in entries.items() if uri == root or uri.startswith(prefix)}


def is_new(entry: Entry, published: Mapping[str, Entry]) -> bool:
    """Whether its passages differ from those that are published of the object."""
    before = published.get(entry.origin.uri)
    return before is None or before.origin.attempt != entry.origin.attempt


def _is_current(item: SourceObject, entry: Entry, expected: Expected) -> bool:
    origin = entry.origin
    if (origin.etag, origin.size) != (item.etag, item.size):
        return False
    if entry.passages and expected.may_exceed(item):
        return False
    return expected.matches(item.key, entry)


@dataclass(frozen=True, slots=True)
class SourceComparison:
    """What is known before anything is read.

    `before` is the newest version and `published` its entries; `changes` is how `listing` differs
    from those.
    """

    source_uri: str
    before: Version | None
    published: Mapping[str, Entry]
    source_options: SourceOptions
    expected: Expected
    listing: Listing
    changes: Diff = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "changes", self.diff(self.published))

    def diff(self, entries: Mapping[str, Entry]) -> Diff:
        """How the listing differs from these entries."""
        unseen = [uri for uri, _ in self.listing.unseen]
        entries = below(self.source_uri, entries)
        return compare(self.listing.objects, entries, self.expected, unseen)

    def refusal(
        self, emptied: Sequence[tuple[Entry, str]] = (), new: int | None = None
    ) -> str | None:
        """One line that says which documents would leave the index; None if not too many would.

        `emptied` are published entries whose objects now give no text, with a reason each; `new`
        is how many documents were added, if that is known. Too many are more than half, if that is
        20 or more, and all, however few. A document that was moved does not count. An unmounted
        disk, a mistyped prefix and a missing column all look like deleted documents.
        """
        indexed = below(self.source_uri, self.published)
        documents = sum(1 for entry in indexed.values() if entry.passages)
        changes = self.changes
        gone = _not_moved(changes)
        lost = len(gone) + len(emptied)
        remaining = len(changes.added) + len(changes.changed) if new is None else new
        everything = lost == documents and not remaining
        if not lost or not (everything or (lost >= _MIN_LOST and lost > _LOST_SHARE * documents)):
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
            f"index: {' and '.join(parts)}; check the source and the options, or go on with "
            "--allow-deletes (allow_deletes=True)"
        )

    def check_deletions(
        self, emptied: Sequence[tuple[Entry, str]] = (), new: int | None = None
    ) -> None:
        """Raise `MassDeletion` if there is a `refusal`."""
        reason = self.refusal(emptied, new)
        if reason:
            raise MassDeletion(reason)


def _not_moved(changes: Diff) -> list[Entry]:
    """Gone entries with passages, except those whose content was added under another name."""
    added = Counter((item.etag, item.size) for item in changes.added)
    gone = []
    for entry in changes.gone:
        content = (entry.origin.etag, entry.origin.size)
        if not entry.passages:
            continue
        if added[content]:
            added[content] -= 1
        else:
            gone.append(entry)
    return gone
