"""Verifies citations: reads the cited object again and looks for the cited text in it.

A citation is verified by its own text, position and ETag, not by the index. Only for a bare id the
passage with that id is looked up in the index.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args

from resift.errors import InputError, SourceError, shown
from resift.index.claims import (
    CitationStatus,
    Cited,
    Claim,
    Verdict,
    claim_of,
    claim_of_passage,
    wrong_field,
)
from resift.index.manifest import Entry
from resift.index.parsing.documents import ChunkedDocument
from resift.index.parsing.options import ParseLimits, ParseOptions, columns_from_fingerprint
from resift.index.parsing.pool import ParserPool
from resift.index.sources.folder import kind_of
from resift.index.sources.listing import Fetched
from resift.index.sources.source import Source, open_object
from resift.index.storage.location import locate_object
from resift.index.table.rows import Passage
from resift.index.table.sharded import OpenVersion
from resift.index.versions.published import Versions
from resift.settings import StorageSettings

_CACHED_OBJECTS = 8  # hits in the same object are mostly verified one after the other
_BEST_FIRST = get_args(CitationStatus)


class CitationVerifier:
    """Verifies citations of one index, one after the other.

    `read` calls a function with the open version of the index and returns its result.
    """

    def __init__(
        self, versions: Versions, read: Callable[[Callable[[OpenVersion], Any]], Any]
    ) -> None:
        self._storage = versions.location.storage
        self._versions = versions
        self._read = read
        self._entries: dict[str, Entry] | None = None
        self._objects: OrderedDict[tuple[str, str], _SourceDocument] = OrderedDict()

    def verify(self, citation: Cited | Mapping[str, Any] | str) -> Verdict:
        """Verify a cited text, the same as JSON, or a passage's id; anything else is malformed."""
        if isinstance(citation, str):
            return self._verify_id(citation)
        if not isinstance(citation, Cited | Mapping):
            detail = "expected a hit, a source of a context, either as JSON, or a passage's id"
            return Verdict(shown(citation), "", "malformed", detail)
        try:
            return self._verify(claim_of(citation, self._parser_of))
        except InputError as error:
            name = str(citation.get("id", "")) if isinstance(citation, Mapping) else citation.id
            return Verdict(name, "", "malformed", str(error))

    def _verify_id(self, id_: str) -> Verdict:
        """Verify the passage with this id. Of several, the best verdict counts and names itself."""
        passages: list[Passage] = self._read(lambda snapshot: snapshot.view().find([id_]))
        if not passages:
            return Verdict(id_, "", "unknown", "no such passage in this version")
        # The table has no order; equal verdicts are told apart by what they cite.
        passages.sort(key=lambda passage: (passage.origin.uri, passage.doc_id, passage.start))
        verdicts = [self._verify(claim_of_passage(passage)) for passage in passages]
        best = min(verdicts, key=lambda verdict: _BEST_FIRST.index(verdict.status))
        if len(verdicts) == 1:
            return best
        others = ", ".join(
            f"{verdict.uri} {verdict.status}" for verdict in verdicts if verdict is not best
        )
        detail = f"{best.detail}; {len(verdicts)} passages have this id, this is {best.uri}"
        return replace(best, detail=f"{detail} (not {others})")

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
            if wrong := wrong_field(claim, document) or source.wrong_version(claim):
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
