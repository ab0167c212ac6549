"""The input of a reranker: documents and candidates. All types are frozen and hashable."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Document:
    """A text with an id. `metadata` is passed through unchanged."""

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Precomputed:
    """Tokens and token states of a document without a query, made by `Reranker.precompute`.

    `model` is the model's fingerprint, `text_hash` a hash of text, tokens and states. Where they do
    not match (another model, another text, damaged bytes), the document is encoded again.
    `tokens` are token ids (4 bytes each, little endian), `states` the token states of a
    late-interaction model, empty if they were not computed.
    """

    model: str
    text_hash: bytes = field(repr=False)
    tokens: bytes = field(repr=False)
    states: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Citation:
    """The source of a passage of an index.

    The text is characters `start` to `end` of the document `doc_id` in the object at `uri`, whose
    ETag was `etag` when it was read. `row` is the line or row in the file of a document that is
    one of its rows, `page` the page, and `line` the line in which the passage of a text file or of
    code begins, all from 1.
    """

    uri: str
    doc_id: str
    start: int
    end: int
    etag: str | None = None
    object_version: str | None = None
    heading: str = ""
    page: int | None = None
    row: int | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate(Document):
    """A document with its first-stage result: `rank` counts from 1, a higher `score` is better.

    `precomputed` saves the reranker work. `citation` is passed through unchanged.
    """

    rank: int | None = None
    score: float | None = None
    precomputed: Precomputed | None = field(default=None, repr=False, compare=False)
    citation: Citation | None = None
