"""Is a passage still in its source? The source is read again, and what it says is compared."""

from dataclasses import dataclass
from typing import Literal

from resift.errors import SourceError
from resift.index.parsing.columns import columns_of
from resift.index.parsing.cut import CutDocument
from resift.index.parsing.limits import Limits
from resift.index.parsing.parsers import Parsers
from resift.index.rows import Passage
from resift.index.source import Fetched, Source, open_object
from resift.settings import StorageSettings

Standing = Literal["proved", "still_there", "replaced", "changed", "gone", "unproved"]
"""How a citation stands.

``proved``: the object is the one that was indexed, and has the text where the citation says.
``still_there``: the object has changed since, and has the text (`Verdict.span` says where).
``replaced``: the object has changed and does not have it any more; the store's old version does.
``changed``: the object has changed and does not have it any more. ``gone``: no such object, or no
such document in it. ``unproved``: the object is the one that was indexed and reads otherwise now.
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a passage. `span` is where the text is in the document as it reads now."""

    passage_id: str
    uri: str
    standing: Standing
    detail: str
    span: tuple[int, int] | None = None

    @property
    def is_good(self) -> bool:
        """Whether the source says today what the passage says."""
        return self.standing in ("proved", "still_there")


def verify(passage: Passage, storage: StorageSettings) -> Verdict:
    """Read a passage's object again; raise `SourceError` if it cannot be asked at all."""
    origin = passage.origin
    source, key = open_object(origin.uri, storage)
    fetched = source.find(key)
    if fetched is None:
        return _verdict(passage, "gone", "the object is not there any more")
    is_same = fetched.etag == origin.etag
    document = _document(passage, fetched.data)
    if isinstance(document, str):
        return _verdict(passage, "gone" if not is_same else "unproved", document)
    text = document.text or ""
    if text[passage.start : passage.end] == passage.text:
        span = (passage.start, passage.end)
        if is_same:
            return _verdict(passage, "proved", f"ETag {origin.etag}, at the same place", span)
        return _verdict(passage, "still_there", "the object has changed; at the same place", span)
    at = text.find(passage.text)
    if at >= 0:
        moved = (at, at + len(passage.text))
        return _verdict(passage, "still_there", "the object has changed; at another place", moved)
    if is_same:
        return _verdict(passage, "unproved", "the same object reads otherwise: another parser?")
    if _old_version_has_it(passage, source, key):
        detail = f"the object has changed; its version {origin.object_version} has it"
        return _verdict(passage, "replaced", detail)
    return _verdict(passage, "changed", "the object has changed and does not say so any more")


def _document(passage: Passage, data: bytes) -> CutDocument | str:
    """The passage's document as it reads now, or why there is none."""
    key = passage.origin.uri.rpartition("/")[2]
    # It was read once, however large it is.
    limits = Limits(max_bytes=max(Limits().max_bytes, len(data)))
    columns = columns_of(passage.origin.made_by)
    with Parsers(limits, columns, processes=1, with_text=True) as parsers:
        [(_, outcome)] = parsers.map([(None, key, data)])
    if isinstance(outcome, SourceError):
        return str(outcome)
    if passage.row is None:
        return outcome.documents[0] if outcome.documents else "no text in it"
    found = [document for document in outcome.documents if document.id == passage.doc_id]
    return found[0] if found else f"no row {passage.doc_id} in it any more"


def _old_version_has_it(passage: Passage, source: Source, key: str) -> bool:
    if passage.origin.object_version is None:
        return False
    old: Fetched | None = source.find(key, passage.origin.object_version)
    document = _document(passage, old.data) if old else "not kept"
    if isinstance(document, str):
        return False
    return (document.text or "")[passage.start : passage.end] == passage.text


def _verdict(
    passage: Passage, standing: Standing, detail: str, span: tuple[int, int] | None = None
) -> Verdict:
    return Verdict(passage.id, passage.origin.uri, standing, detail, span)
