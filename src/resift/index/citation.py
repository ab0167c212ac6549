"""Is a passage still in its source? The source is read again, and what it says is compared.

A citation is proved by what it says itself, its text, its place and its object's ETag, never by its
id: an id names whatever stands at that place in the index by now.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from resift.errors import InputError, SourceError
from resift.index.parsing.documents import ChunkedDocument
from resift.index.parsing.options import ParseLimits, ParseOptions, columns_from_fingerprint
from resift.index.parsing.pool import ParserPool
from resift.index.sources.folder import kind_of
from resift.index.sources.listing import Fetched
from resift.index.sources.source import Source, open_object
from resift.index.storage.location import locate_object
from resift.index.table.rows import Passage
from resift.settings import StorageSettings
from resift.types import Hit

# Objects that are kept as they were read: hits of one object mostly come one after the other.
_OBJECTS = 8

Standing = Literal[
    "proved",
    "still_there",
    "replaced",
    "changed",
    "gone",
    "unproved",
    "unknown",
    "unasked",
    "malformed",
]
"""How a citation stands.

``proved``: the object is the one that was cited, by its ETag and by its version where the citation
names one, and has the text where the citation says.
``still_there``: the text is there, at another place or in an object that has changed since.
``replaced``: the object has changed or is gone; the version that was cited is kept and has it.
``changed``: the object has changed and does not have it any more. ``gone``: no such object, or no
such document in it. ``unproved``: the object is the one that was cited and does not say so: the
text, its page, row, heading or version was altered, or another parser reads it otherwise.
``unknown``: an id that this version of the index does not have. ``unasked``: the source could not
be asked. ``malformed``: no citation.
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be proved: that characters `start` to `end` of a document are `text`.

    `etag` is of the object at `uri` when it was read; None where the citation does not say.
    `made_by` is the parser's fingerprint, where it is known: the columns of tables are in it.
    """

    passage_id: str
    uri: str
    text: str
    start: int
    end: int
    doc_id: str = ""
    row: int | None = None
    etag: str | None = None
    object_version: str | None = None
    made_by: str = ""
    page: int | None = None
    heading: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a citation. `span` is where the text is in the document now."""

    passage_id: str
    uri: str
    standing: Standing
    detail: str
    span: tuple[int, int] | None = None

    @property
    def is_good(self) -> bool:
        """Whether the source says today what the citation says."""
        return self.standing in ("proved", "still_there")


def of_passage(passage: Passage) -> Claim:
    """The citation of a passage, as the index has it."""
    origin = passage.origin
    return Claim(
        passage.id,
        origin.uri,
        passage.text,
        passage.start,
        passage.end,
        passage.doc_id,
        passage.row,
        origin.etag,
        origin.object_version,
        origin.made_by,
        passage.page,
        passage.heading,
    )


def of_hit(hit: Hit | Mapping[str, Any], made_by: Callable[[str], str]) -> Claim:
    """The citation of a search's hit, or of the same as JSON; raise `InputError` for what is none.

    `made_by` gives the parser's fingerprint of an object, by its URI.
    """
    if isinstance(hit, Hit):
        citation = hit.citation and asdict(hit.citation)
        hit = {"id": hit.id, "text": hit.text, "citation": citation}
    place = hit.get("citation")
    if not isinstance(place, Mapping):
        raise InputError("citation: expected where the hit comes from, as a search gives it")
    start, end = _field(place, "start", int), _field(place, "end", int)
    if not 0 <= start <= end:
        raise InputError(f"start={start}, end={end}: expected characters of a document")
    uri = _field(place, "uri", str)
    return Claim(
        str(hit.get("id", uri)),
        uri,
        _field(hit, "text", str),
        start,
        end,
        _field(place, "doc_id", str, ""),
        _field(place, "row", int, None),
        _field(place, "etag", str, None),
        _field(place, "object_version", str, None),
        made_by(uri),
        _field(place, "page", int, None),
        _field(place, "heading", str, ""),
    )


class Verifier:
    """Reads sources again, each object once for all citations of it that come near each other."""

    def __init__(self, storage: StorageSettings) -> None:
        self._storage = storage
        self._read: OrderedDict[tuple[str, str], _Now] = OrderedDict()

    def verify(self, citation: Claim) -> Verdict:
        """Interpolation how a citation stands; raises nothing for a source that cannot be asked."""
        try:
            return self._verify(citation)
        except (SourceError, InputError) as error:  # the latter for a URI that is none
            return _verdict(citation, "unasked", str(error))

    def _verify(self, citation: Claim) -> Verdict:
        if not citation.text.strip():
            return _verdict(citation, "unproved", "the citation has no text")
        now = self._now(citation)
        if now is None:
            return self._replaced(citation, "the object is not there any more", "gone")
        is_same = citation.etag == now.fetched.etag
        document = now.document(citation)
        if isinstance(document, str):
            return _verdict(citation, "unproved" if is_same else "gone", document)
        text = document.text or ""
        if text[citation.start : citation.end] == citation.text:
            span = (citation.start, citation.end)
            if is_same and (wrong := _misplaced(citation, document) or now.not_version(citation)):
                return _verdict(citation, "unproved", f"the text is there, but {wrong}", span)
            if is_same:
                version = f", version {citation.object_version}" if citation.object_version else ""
                detail = f"ETag {citation.etag}{version}, same place"
                return _verdict(citation, "proved", detail, span)
            return _verdict(citation, "still_there", f"{_changed(citation)}; same place", span)
        at = text.find(citation.text)
        if at >= 0:
            span = (at, at + len(citation.text))
            what = "the citation's place is wrong" if is_same else _changed(citation)
            return _verdict(citation, "still_there", f"{what}; at another place", span)
        if is_same:
            return _verdict(citation, "unproved", "the object is the same and does not say so")
        return self._replaced(citation, "the object has changed and does not say so", "changed")

    def _replaced(self, citation: Claim, detail: str, otherwise: Standing) -> Verdict:
        """Whether the version that was cited has the text, where the object has not."""
        version = citation.object_version
        source, key = _open(citation.uri, self._storage) if version else (None, "")
        old = source.find(key, version) if source else None
        if old and _is_cited(citation, old) and _has_it(citation, old):
            return _verdict(citation, "replaced", f"{detail}; its version {version} has it")
        return _verdict(citation, otherwise, detail)

    def _now(self, citation: Claim) -> "_Now | None":
        name = (citation.uri, citation.made_by)
        if name not in self._read:
            source, key = _open(citation.uri, self._storage)
            fetched = source.find(key) if source else None
            if source is None or fetched is None:
                return None
            self._read[name] = _Now(source, key, fetched)
            if len(self._read) > _OBJECTS:
                self._read.popitem(last=False)
        return self._read[name]


class _Now:
    """An object as it is today, parsed once."""

    def __init__(self, source: Source, key: str, fetched: Fetched) -> None:
        self.source, self.key, self.fetched = source, key, fetched
        self._documents: tuple[ChunkedDocument, ...] | str | None = None

    def document(self, citation: Claim) -> ChunkedDocument | str:
        """The citation's document as it reads now, or why there is none."""
        if self._documents is None:
            self._documents = _parse(citation, self.fetched.data)
        return _pick(citation, self._documents)

    def not_version(self, citation: Claim) -> str | None:
        """Why the version that the citation names is not the object that it is of."""
        version = citation.object_version
        if version in (None, self.fetched.version):
            return None
        old = self.source.find(self.key, version)
        if old and _is_cited(citation, old):
            return None
        return f"the store has no version {version!r} of it with that ETag"


def _is_cited(citation: Claim, old: Fetched) -> bool:
    # Who keeps no versions gives what there is.
    return old.version == citation.object_version and citation.etag in (None, old.etag)


def _open(uri: str, storage: StorageSettings) -> tuple[Source | None, str]:
    parent, name = locate_object(uri)
    if parent.bucket is None and kind_of(parent.child(name)) != "file":
        return None, ""  # nothing there, or what is no file: a pipe would be waited for
    return open_object(uri, storage)


def _parse(citation: Claim, data: bytes) -> tuple[ChunkedDocument, ...] | str:
    key = citation.uri.rpartition("/")[2]
    # It was read once, however large it is.
    limits = ParseLimits(max_bytes=max(ParseLimits().max_bytes, len(data)))
    options = ParseOptions(columns_from_fingerprint(citation.made_by), limits, with_text=True)
    with ParserPool(options, processes=1) as parsers:
        [(_, outcome)] = parsers.map([(None, key, data)])
    return str(outcome) if isinstance(outcome, SourceError) else tuple(outcome.documents)


def _pick(citation: Claim, documents: tuple[ChunkedDocument, ...] | str) -> ChunkedDocument | str:
    if isinstance(documents, str):
        return documents
    if citation.row is None:
        return documents[0] if documents else "no text in it"
    for document in documents:
        if document.id == citation.doc_id:
            return document
    return f"no row {citation.doc_id} in it any more"


def _has_it(citation: Claim, old: Fetched) -> bool:
    document = _pick(citation, _parse(citation, old.data))
    if isinstance(document, str):
        return False
    return (document.text or "")[citation.start : citation.end] == citation.text


def _misplaced(claim: Claim, document: ChunkedDocument) -> str | None:
    """What the citation says of its place besides the characters, where that is not so."""
    piece = next((p for p in document.chunks if p.start <= claim.start < p.end), None)
    there: dict[str, object] = {"row": document.row}
    if piece is not None:
        there |= {"page": piece.page, "heading": piece.heading}
    if document.row is None and claim.doc_id and not f"/{claim.uri}".endswith(f"/{claim.doc_id}"):
        return f"the object is no document {claim.doc_id!r}"
    for name, value in there.items():
        if getattr(claim, name) != value:
            cited = getattr(claim, name)
            return f"its {name} is {value!r} and not {cited!r}"
    return None


def _changed(citation: Claim) -> str:
    return "the object has changed" if citation.etag else "the citation has no ETag"


def _field(values: Mapping[str, Any], name: str, kind: type, *default: Any) -> Any:
    value = values.get(name)
    if value is None and default:
        return default[0]
    if type(value) is not kind:
        raise InputError(f"{name}: expected {kind.__name__}, got {type(value).__name__}")
    return value


def _verdict(
    citation: Claim, standing: Standing, detail: str, span: tuple[int, int] | None = None
) -> Verdict:
    return Verdict(citation.passage_id, citation.uri, standing, detail, span)
