"""Compares a source with an index: which objects to read, which are gone, and are they too many."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from resift.errors import MassDeletion
from resift.index.manifest import Entry
from resift.index.source_options import SourceOptions
from resift.index.sources.listing import SourceObject
from resift.index.sources.source import Listing
from resift.index.versions.record import Version

_MIN_LOST = 20
_LOST_SHARE = 0.5
NOTHING_READ: Mapping[str, bytes] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Diff:
    """The difference between a listing and the entries of an index.

    `added` and `changed` objects must be read. `gone` entries are no longer in the source.
    `unchanged` entries need no work, also those that have no passages. `unseen` entries, or a
    folder above them, could not be listed, so they may or may not have changed.
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

    @property
    def uris(self) -> Iterator[str]:
        """The URIs of all objects that differ."""
        yield from (item.uri for item in self.added + self.changed)
        yield from (entry.origin.uri for entry in self.gone)

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.gone)


@dataclass(frozen=True, slots=True)
class Expected:
    """The properties of an entry that is up to date, so that its object need not be read.

    `made_by` returns the fingerprint of a key's parser. `limits` holds the limits and the installed
    parsers, which decide which objects are skipped. `precomputed_by` is the model whose token
    states the index stores, if any. `may_exceed` says whether an indexed object may be over the
    current limits; such an object is read again.
    """

    made_by: Callable[[str], str]
    limits: str = ""
    precomputed_by: str | None = None
    may_exceed: Callable[[SourceObject], bool] = lambda item: False

    def fingerprint(self, key: str, passages: int) -> str:
        """Return the expected `Origin.made_by` of an object with this number of passages."""
        # A skipped object may have been over a limit, or its parser was not installed.
        return self.made_by(key) if passages else f"{self.made_by(key)} {self.limits}"

    def matches(self, key: str, entry: Entry) -> bool:
        """Whether parser and precomputing model are as expected; the content is not compared."""
        if entry.origin.made_by != self.fingerprint(key, entry.passages):
            return False
        model = self.precomputed_by
        return not (model and entry.passages) or entry.precomputed_by == model


def compare(
    objects: Sequence[SourceObject],
    entries: Mapping[str, Entry],
    expected: Expected,
    unseen: Sequence[str] = (),
) -> Diff:
    """Compare by URI, ETag, size, parser and precomputing model.

    `unseen` are the URIs of files and folders that could not be listed.
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
    unseen_uris = {uri.rstrip("/") for uri in unseen}
    missing = [entry for uri, entry in entries.items() if uri not in listed]
    gone = tuple(entry for entry in missing if not ancestor(entry.origin.uri, unseen_uris))
    unseen_entries = tuple(entry for entry in missing if ancestor(entry.origin.uri, unseen_uris))
    return Diff(tuple(added), tuple(changed), gone, tuple(unchanged), unseen_entries)


def ancestor(uri: str, uris: Set[str]) -> str | None:
    """Return the first of `uri` and the folders above it that is in `uris`; None if none is.

    `uris` end without a slash.
    """
    while uri and uri not in uris:
        uri = uri.rpartition("/")[0]
    return uri or None


def entries_below(root: str, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Select the entries of the source at `root`."""
    prefix = root.rstrip("/") + "/"
    return {uri: entry for uri, entry in entries.items() if uri == root or uri.startswith(prefix)}


def is_new(entry: Entry, published: Mapping[str, Entry]) -> bool:
    """Whether an entry's passages differ from the published passages of its object."""
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
    """A source's listing compared with the newest version of an index, before any object is read.

    `before` is the newest version, `published` its entries, and `changes` the difference between
    these and `listing`.
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

    @property
    def stored_options(self) -> dict[str, Any]:
        """The options of the source, as a version stores them."""
        return {self.source_uri: self.source_options.to_json()}

    @property
    def is_published(self) -> bool:
        """Whether the newest version already has all of this."""
        before = self.before
        if before is None or self.changes:
            return False
        return self.stored_options.items() <= before.source_options.items()

    def diff(self, entries: Mapping[str, Entry]) -> Diff:
        """Compare the listing with these entries."""
        unseen = [uri for uri, _ in self.listing.unseen]
        entries = entries_below(self.source_uri, entries)
        return compare(self.listing.objects, entries, self.expected, unseen)

    def refusal(
        self,
        emptied: Sequence[tuple[Entry, str]] = (),
        contents: Mapping[str, bytes] = NOTHING_READ,
    ) -> str | None:
        """Return in one line which documents a sync would remove; None if they are not too many.

        Too many are all documents, whatever is new, or more than half if these are 20 or more.
        Moved documents do not count. An unmounted disk, a mistyped prefix and a missing column all
        look like deleted documents. `emptied` are published entries whose objects have no text now,
        with a reason each. `contents` has the hash of each added object that was read, by URI, or
        nothing if it has no passages. An object that was not read may be a moved document if its
        size is that of one, because a copy has another ETag.
        """
        indexed = entries_below(self.source_uri, self.published)
        documents = sum(1 for entry in indexed.values() if entry.passages)
        changes = self.changes
        gone = _gone_unless_moved(changes, contents)
        lost = len(gone) + len(emptied)
        are_most_lost = lost >= _MIN_LOST and lost > _LOST_SHARE * documents
        if not lost or not (lost == documents or are_most_lost):
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
        self,
        emptied: Sequence[tuple[Entry, str]] = (),
        contents: Mapping[str, bytes] = NOTHING_READ,
    ) -> None:
        """Raise `MassDeletion` if `refusal` gives a reason."""
        reason = self.refusal(emptied, contents)
        if reason:
            raise MassDeletion(reason)


def _gone_unless_moved(changes: Diff, contents: Mapping[str, bytes]) -> list[Entry]:
    """Return gone entries with passages, except those whose content was added elsewhere.

    `contents` as in `SourceComparison.refusal`.
    """
    hashes = Counter(contents[item.uri] for item in changes.added if contents.get(item.uri))
    sizes = Counter(item.size for item in changes.added if item.uri not in contents)
    gone = []
    for entry in changes.gone:
        origin = entry.origin
        if not entry.passages:
            continue
        if hashes[origin.content]:
            hashes[origin.content] -= 1
        elif sizes[origin.size]:
            sizes[origin.size] -= 1
        else:
            gone.append(entry)
    return gone
