"""What a citation claims: a text at a position in a document; and what its verification says."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from resift.errors import InputError
from resift.index.parsing.documents import ChunkedDocument
from resift.index.sources.listing import Fetched
from resift.index.table.rows import Passage
from resift.types import Candidate, Citation, ContextSource, Hit

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


def claim_of_passage(passage: Passage) -> Claim:
    """Make the claim of a passage of the index."""
    return Claim(passage.id, passage.text, citation_of(passage), passage.origin.made_by)


def claim_of(given: Cited | Mapping[str, Any], parser_of: Callable[[str], str]) -> Claim:
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


def wrong_field(claim: Claim, document: ChunkedDocument) -> str | None:
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


def _field(values: Mapping[str, Any], name: str, kind: type, *default: Any) -> Any:
    value = values.get(name)
    if value is None and default:
        return default[0]
    if type(value) is not kind:
        raise InputError(f"{name}: expected {kind.__name__}, got {type(value).__name__}")
    return value
