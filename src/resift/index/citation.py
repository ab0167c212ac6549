"""Verifies citations: reads the cited object again and looks for the cited text in it.

A citation is verified by its own text, position and ETag, not by the index. Only for a bare id the
passage with that id is looked up in the index.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from resift.errors import InputError, SourceError, shown
from resift.index.manifest import Entry
from resift.index.parsing.documents import ChunkedDocument
from resift.index.parsing.options import ParseLimits, ParseOptions, columns_from_fingerprint
from resift.index.parsing.pool import ParserPool
from resift.index.sources.folder import kind_of
from resift.index.sources.listing import Fetched
from resift.index.sources.source import Source, open_object
from resift.index.storage.location import locate_object
from resift.index.table.rows import Passage
from resift.index.table.snapshot import Snapshot
from resift.index.versions.published import Versions
from resift.settings import StorageSettings
from resift.types import Candidate, Citation, ContextSource, Hit

_CACHED_OBJECTS = 8  # hits in the same object are mostly verified one after the other
# The type of each field of a citation, and the default of an optional one.
_FIELDS: dict[str, tuple[Any, ...]] = {
    "uri": (str,),
    "doc_id": (str, ""),
    "start": (int,),
    "end": (int,),
    "etag": (str, None),
    "object_version": (str, None),
    "heading": (str, ""),
    "page": (int, None),
    "row": (int, None),
    "line": (int, None),
}

Cited = Hit | Candidate | ContextSource
"""Types with a text and its citation."""

CitationStatus = Literal[
    "verified",
    "still_there",
    "replaced",
    "changed",
    "gone",
    "unverified",
    "unknown",
    "unreachable",
    "malformed",
]
"""The result of verifying a citation.

``verified``: the object has the cited ETag (and version, if cited) and the text at the position.
``still_there``: the object has the text, but at another position or with another ETag.
``replaced``: the object has changed or is gone; the store still has the cited version and its text.
``changed``: the object has changed and no longer has the text.
``gone``: the object, or the row in it, does not exist any more.
``unverified``: the object has the cited ETag but not the text: the citation's text, page, row,
heading or version was altered, or another parser reads the object differently.
``unknown``: this version of the index has no passage with that id.
``unreachable``: the source could not be read. ``malformed``: this is not a citation.
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A citation to verify: the cited span of a document is `text`.

    `made_by` is the fingerprint of the parser that read the object, or empty. It names the table
    columns to read; it is not compared.
    """

    passage_id: str
    text: str
    citation: Citation
    made_by: str

    def is_in(self, document: ChunkedDocument) -> bool:
        """Whether the document has the text at the cited position."""
        return (document.text or "")[self.citation.start : self.citation.end] == self.text

    def is_of_version(self, fetched: Fetched) -> bool:
        """Whether a store returned the cited version; some return the current one instead."""
        cited = self.citation
        return fetched.version == cited.object_version and cited.etag in (None, fetched.etag)

    def verdict(
        self, status: CitationStatus, detail: str, span: tuple[int, int] | None = None
    ) -> "Verdict":
        """Make a verdict on this claim."""
        return Verdict(self.passage_id, self.citation.uri, status, detail, span)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for one citation. `span` is the text's current position in the document."""

    passage_id: str
    uri: str
    status: CitationStatus
    detail: str
    span: tuple[int, int] | None = None

    @property
    def is_confirmed(self) -> bool:
        """Whether the source has the cited text now."""
        return self.status in ("verified", "still_there")


class CitationVerifier:
    """Verifies citations of one index, one after the other.

    `read` calls a function with the open version of the index and returns its result.
    """

    def __init__(
        self, versions: Versions, read: Callable[[Callable[[Snapshot], Any]], Any]
    ) -> None:
        self._storage = versions.location.storage
        self._versions = versions
        self._read = read
        self._entries: dict[str, Entry] | None = None
        self._objects: OrderedDict[tuple[str, str], _SourceDocument] = OrderedDict()

    def verify(self, citation: Cited | Mapping[str, Any] | str) -> Verdict:
        """Verify a cited text, the same as JSON, or a passage's id; anything else is malformed."""
        if isinstance(citation, str):
            ids = [citation]
            passages: list[Passage] = self._read(lambda snapshot: snapshot.view().find(ids))
            if not passages:
                return Verdict(citation, "", "unknown", "no such passage in this version")
            passage = passages[0]
            claim = Claim(passage.id, passage.text, citation_of(passage), passage.origin.made_by)
            return self._verify(claim)
        if not isinstance(citation, Cited | Mapping):
            detail = "expected a hit, a source of a context, either as JSON, or a passage's id"
            return Verdict(shown(citation), "", "malformed", detail)
        try:
            return self._verify(_claim_of(citation, self._parser_of))
        except InputError as error:
            name = str(citation.get("id", "")) if isinstance(citation, Mapping) else citation.id
            return Verdict(name, "", "malformed", str(error))

    def _parser_of(self, uri: str) -> str:
        """Return the fingerprint of the parser that read an object; empty if it is not indexed."""
        if self._entries is None:
            self._entries = self._read(lambda snapshot: self._versions.entries(snapshot.version))
        return self._entries[uri].origin.made_by if uri in self._entries else ""

    def _verify(self, claim: Claim) -> Verdict:
        try:
            return self._compare(claim)
        except (SourceError, InputError) as error:  # the latter for an invalid URI
            return claim.verdict("unreachable", str(error))

    def _compare(self, claim: Claim) -> Verdict:
        cited = claim.citation
        if not claim.text.strip():
            return claim.verdict("unverified", "the citation has no text")
        source = self._source_document(claim)
        if source is None:
            return self._replaced(claim, "the object is not there any more", "gone")
        is_same = cited.etag == source.fetched.etag
        document = source.document(claim)
        if isinstance(document, str):
            return claim.verdict("unverified" if is_same else "gone", document)
        changed = "the object has changed" if cited.etag else "the citation has no ETag"
        if claim.is_in(document):
            span = (cited.start, cited.end)
            if not is_same:
                return claim.verdict("still_there", f"{changed}; same position", span)
            if wrong := _wrong_field(claim, document) or source.wrong_version(claim):
                return claim.verdict("unverified", f"the text is there, but {wrong}", span)
            version = f", version {cited.object_version}" if cited.object_version else ""
            return claim.verdict("verified", f"ETag {cited.etag}{version}, same position", span)
        start = (document.text or "").find(claim.text)
        if start >= 0:
            span = (start, start + len(claim.text))
            detail = "the citation's position is wrong" if is_same else changed
            return claim.verdict("still_there", f"{detail}; at another position", span)
        if is_same:
            return claim.verdict("unverified", "the object is the same and does not have the text")
        return self._replaced(claim, "the object has changed and lacks the text", "changed")

    def _replaced(self, claim: Claim, detail: str, otherwise: CitationStatus) -> Verdict:
        """Look for the text in the cited version, because the current object does not have it."""
        version = claim.citation.object_version
        source, key = _open(claim.citation.uri, self._storage) if version else (None, "")
        old = source.find(key, version) if source else None
        if old and claim.is_of_version(old):
            document = _pick(claim, _parse(claim, old.data))
            if isinstance(document, ChunkedDocument) and claim.is_in(document):
                return claim.verdict("replaced", f"{detail}; its version {version} has it")
        return claim.verdict(otherwise, detail)

    def _source_document(self, claim: Claim) -> "_SourceDocument | None":
        key = (claim.citation.uri, claim.made_by)
        if key not in self._objects:
            source, name = _open(claim.citation.uri, self._storage)
            fetched = source.find(name) if source else None
            if source is None or fetched is None:
                return None
            self._objects[key] = _SourceDocument(source, name, fetched)
            if len(self._objects) > _CACHED_OBJECTS:
                self._objects.popitem(last=False)
        return self._objects[key]


class _SourceDocument:
    """The current state of an object, parsed once."""

    def __init__(self, source: Source, key: str, fetched: Fetched) -> None:
        self.source, self.key, self.fetched = source, key, fetched
        self._documents: tuple[ChunkedDocument, ...] | str | None = None

    def document(self, claim: Claim) -> ChunkedDocument | str:
        """Return the cited document as it reads now, or the reason why there is none."""
        if self._documents is None:
            self._documents = _parse(claim, self.fetched.data)
        return _pick(claim, self._documents)

    def wrong_version(self, claim: Claim) -> str | None:
        """Return why the cited version is not this object; None if it is."""
        version = claim.citation.object_version
        if version in (None, self.fetched.version):
            return None
        if self.source.numbers_every_write and self.fetched.etag == claim.citation.etag:
            return None  # the same content, written again
        old = self.source.find(self.key, version)
        if old and claim.is_of_version(old):
            return None
        return f"the store has no version {version!r} of it with that ETag"


def citation_of(passage: Passage) -> Citation:
    """Make the citation of a passage."""
    return Citation(
        uri=passage.origin.uri,
        doc_id=passage.doc_id,
        start=passage.start,
        end=passage.end,
        etag=passage.origin.etag,
        object_version=passage.origin.object_version,
        heading=passage.heading,
        page=passage.page,
        row=passage.row,
        line=passage.line,
    )


def _claim_of(given: Cited | Mapping[str, Any], parser_of: Callable[[str], str]) -> Claim:
    """Make the claim of a text; raise `InputError` if its citation is missing or malformed."""
    if not isinstance(given, Mapping):
        citation = given.citation and asdict(given.citation)
        given = {"id": given.id, "text": given.text, "citation": citation}
    cited = given.get("citation")
    if not isinstance(cited, Mapping):
        raise InputError("citation: expected where the text comes from, as a search gives it")
    text = _field(given, "text", str)
    fields = {name: _field(cited, name, *rule) for name, rule in _FIELDS.items()}
    citation = Citation(**fields)
    if not 0 <= citation.start <= citation.end:
        raise InputError(
            f"start={citation.start}, end={citation.end}: expected characters of a document"
        )
    name = str(given.get("id", citation.uri))
    return Claim(name, text, citation, parser_of(citation.uri))


def _field(values: Mapping[str, Any], name: str, kind: type, *default: Any) -> Any:
    value = values.get(name)
    if value is None and default:
        return default[0]
    if type(value) is not kind:
        raise InputError(f"{name}: expected {kind.__name__}, got {type(value).__name__}")
    return value


def _open(uri: str, storage: StorageSettings) -> tuple[Source | None, str]:
    parent, name = locate_object(uri)
    if parent.bucket is None and kind_of(parent.child(name)) != "file":
        return None, ""  # missing or not a file: reading a pipe would block
    return open_object(uri, storage)


def _parse(claim: Claim, data: bytes) -> tuple[ChunkedDocument, ...] | str:
    """Return the documents of a file, or the reason why it cannot be parsed."""
    # The file was indexed once, so a size limit must not reject it.
    limits = ParseLimits(max_bytes=max(ParseLimits().max_bytes, len(data)))
    options = ParseOptions(columns_from_fingerprint(claim.made_by), limits, with_text=True)
    with ParserPool(options, processes=1) as parsers:
        [(_, parsed)] = parsers.map([(None, claim.citation.uri.rpartition("/")[2], data)])
    return str(parsed) if isinstance(parsed, SourceError) else tuple(parsed.documents)


def _pick(claim: Claim, documents: tuple[ChunkedDocument, ...] | str) -> ChunkedDocument | str:
    """Return the cited one of a file's documents, or the reason why there is none."""
    if isinstance(documents, str):
        return documents
    if claim.citation.row is None:
        return documents[0] if documents else "no text in it"
    for document in documents:
        if document.id == claim.citation.doc_id:
            return document
    return f"no row {claim.citation.doc_id} in it any more"


def _wrong_field(claim: Claim, document: ChunkedDocument) -> str | None:
    """Return which other field of a citation with the right text and position is wrong."""
    cited = claim.citation
    if document.row is None and cited.doc_id and not f"/{cited.uri}".endswith(f"/{cited.doc_id}"):
        return f"the object is not the document {cited.doc_id!r}"
    actual: dict[str, object] = {"row": document.row}
    chunk = next((p for p in document.chunks if p.start <= cited.start < p.end), None)
    if chunk is not None:
        actual |= {"page": chunk.page, "heading": chunk.heading}
        if cited.line is not None:
            lines = chunk.text.count("\n", 0, cited.start - chunk.start)
            actual["line"] = None if chunk.line is None else chunk.line + lines
    for name, value in actual.items():
        if getattr(cited, name) != value:
            return f"its {name} is {value!r} and not {getattr(cited, name)!r}"
    return None
