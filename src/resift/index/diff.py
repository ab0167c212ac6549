"""A listing against a manifest: what is to be read, what is gone. Pure."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from resift.index.manifest import Entry
from resift.index.sources.listing import SourceObject


@dataclass(frozen=True, slots=True)
class Diff:
    """What a source and an index differ in.

    `added` and `changed` objects are to be read. `gone` entries are in the index and no longer in
    the source; `unchanged` are as they should be, those of which nothing could be indexed as well.
    Of `unseen` entries nothing is known: they, or a folder above them, could not be looked at.
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
    """How an entry must have been made to be good still.

    `made_by` names the parser of a key; `limits`, and which parsers are installed, decide what was
    skipped; `precomputed_by` is the model whose states are wanted, if they are. `may_exceed` says of what
    is indexed whether the limits of now might skip it: then it is read again.
    """

    made_by: Callable[[str], str]
    limits: str = ""
    precomputed_by: str | None = None
    may_exceed: Callable[[SourceObject], bool] = lambda item: False

    def of(self, key: str, passages: int) -> str:
        """What `Origin.made_by` is for an object of so many passages."""
        # What was skipped may have been so by a limit, or for want of a parser: another try.
        return self.made_by(key) if passages else f"{self.made_by(key)} {self.limits}"


def compare(
    objects: Sequence[SourceObject],
    entries: Mapping[str, Entry],
    expected: Expected,
    unseen: Sequence[str] = (),
) -> Diff:
    """Compare by URI, ETag, size and by what has parsed the object and kept its states.

    `unseen` are the URIs of what could not be looked at; nothing is known of what is below them.
    """
    added, changed, unchanged = [], [], []
    for item in objects:
        entry = entries.get(item.uri)
        if entry is None:
            added.append(item)
        elif _is_good(item, entry, expected):
            unchanged.append(entry)
        else:
            changed.append(item)
    listed = {item.uri for item in objects}
    missing = {uri: entry for uri, entry in entries.items() if uri not in listed}
    unknown = {uri.rstrip("/") for uri in unseen}
    gone = tuple(entry for uri, entry in missing.items() if not lies_below(uri, unknown))
    kept = tuple(entry for uri, entry in missing.items() if lies_below(uri, unknown))
    return Diff(tuple(added), tuple(changed), gone, tuple(unchanged), kept)


def lies_below(uri: str, places: Set[str]) -> str | None:
    """The one of these places, without slash at its end, that something is or lies below."""
    while uri and uri not in places:
        uri = uri.rpartition("/")[0]
    return uri or None


def below(root: str, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The entries of one source."""
    prefix = root.rstrip("/") + "/"
    return {uri: own for uri, own in entries.items() if uri == root or uri.startswith(prefix)}


def is_new(entry: Entry, published: Mapping[str, Entry]) -> bool:
    """Whether these are other passages than those that readers were given of the object."""
    before = published.get(entry.origin.uri)
    return before is None or before.origin.attempt != entry.origin.attempt


def is_made_so(entry: Entry, expected: Expected, key: str) -> bool:
    """Whether an entry was made as it is expected to be, whatever it was made of."""
    if entry.origin.made_by != expected.of(key, entry.passages):
        return False
    return (
        not (expected.precomputed_by and entry.passages)
        or entry.precomputed_by == expected.precomputed_by
    )


def _is_good(item: SourceObject, entry: Entry, expected: Expected) -> bool:
    origin = entry.origin
    if (origin.etag, origin.size) != (item.etag, item.size):
        return False
    if entry.passages and expected.may_exceed(item):
        return False
    return is_made_so(entry, expected, item.key)
