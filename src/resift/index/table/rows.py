"""A passage as the index stores it, and its conversion to and from Arrow. Does not use Lance."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.extras import require
from resift.index.analysis.analyser import Analyser, open_analyser
from resift.index.analysis.spec import read_spec
from resift.index.normalisation import searchable
from resift.types import Precomputed

# Characters of one value, and of all values of a document, that are searched.
_MAX_VALUE, _MAX_METADATA = 100, 500


@dataclass(frozen=True, slots=True)
class Origin:
    """The object that passages come from, in the state in which it was read.

    `content` is a hash of its bytes, `made_by` the fingerprint of the parser and the chunker.
    `attempt` is the id of the sync that read it: passages of a later attempt replace those of an
    earlier one. `object_version` is the store's version id, if it keeps versions.
    """

    uri: str
    etag: str
    size: int
    content: bytes
    made_by: str
    attempt: str
    object_version: str | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """A slice ``start:end`` of a document's text, with its origin.

    `passages` is the number of passages of its object. `after` is the text without visible
    characters between it and the next passage of its document, empty if that is long. `page`,
    `row` and `line` (as in `Citation`) count from 1, in formats that have them. `precomputed` saves
    the reranker work. A passage read from the index holds no token states; `has_states` says
    whether the index has them.
    """

    id: str
    origin: Origin
    passages: int
    doc_id: str
    title: str
    heading: str
    text: str
    start: int
    end: int
    page: int | None
    row: int | None
    ordinal: int
    after: str = ""
    line: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    precomputed: Precomputed | None = field(default=None, repr=False)
    has_states: bool = False

    @property
    def search_text(self) -> str:
        """The text that is embedded: title, heading and text, normalised.

        A passage from the middle of a document often does not name its subject; the title does.
        BM25 over one field needs no field weights.
        """
        parts = (self.title, self.heading, self.text)
        return searchable("\n".join(part for part in parts if part))

    @property
    def searched_metadata(self) -> str:
        """What is analysed beside `search_text`: a row's id, and short values of its metadata.

        People search for an order number or a name that stands in a column of its own.
        """
        values: list[str] = []
        if self.row is not None and self.doc_id != f"row-{self.row}" and not self.doc_id.isdigit():
            values.append(self.doc_id)
        for value in self.metadata.values():
            parts = value if isinstance(value, list) else [value]
            values += (str(part) for part in parts if _is_short(part))
        return " ".join(values)[:_MAX_METADATA]


def _is_short(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_VALUE
    return isinstance(value, int | float) and not isinstance(value, bool)


_ORIGIN_TYPES = {
    "uri": str,
    "etag": str,
    "size": int,
    "content": bytes,
    "made_by": str,
    "attempt": str,
    "object_version": str,
}
_PASSAGE_TYPES = {
    "id": str,
    "passages": int,
    "doc_id": str,
    "title": str,
    "heading": str,
    "text": str,
    "start": int,
    "end": int,
    "page": int,
    "row": int,
    "ordinal": int,
    "after": str,
    "line": int,
}
_NULLABLE = ("object_version", "page", "row", "line")
HASH_BYTES = 16
TERMS, EXACT_TERMS = "terms", "exact_terms"
"""The columns of the full-text indexes, as `Analyser.document` writes them."""
PRECOMPUTED_BY, HAS_STATES, STATES = "precomputed_by", "has_states", "states"
_PRECOMPUTED = (PRECOMPUTED_BY, "precomputed_hash", "precomputed_tokens", HAS_STATES, STATES)

ORIGIN_COLUMNS = tuple(_ORIGIN_TYPES)
READ_COLUMNS = (*_ORIGIN_TYPES, *_PASSAGE_TYPES, "metadata", *_PRECOMPUTED[:-1])
"""The columns that `from_row` needs."""


def search_hash(search_text: str) -> bytes:
    """Identifies a text that has been embedded, which the table does not store."""
    return blake2b(search_text.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()


def schema(dim: int, metadata: Mapping[str, str]) -> Any:
    """Make the table's Arrow schema, for vectors of `dim` numbers.

    `metadata` names the analyser that makes the terms; `analyser_of` reads it.
    """
    arrow = require("pyarrow", "index")
    arrow_types = {str: arrow.string(), int: arrow.int64(), bytes: arrow.binary()}
    fields = [
        arrow.field(name, arrow_types[kind], name in _NULLABLE)
        for name, kind in (_ORIGIN_TYPES | _PASSAGE_TYPES).items()
    ]
    fields += [
        arrow.field("metadata", arrow.json_(), nullable=False),
        arrow.field("search_hash", arrow.binary(HASH_BYTES), nullable=False),
        arrow.field(TERMS, arrow.string(), nullable=False),
        arrow.field(EXACT_TERMS, arrow.string(), nullable=False),
        arrow.field("vector", arrow.list_(arrow.float32(), dim), nullable=False),
    ]
    precomputed_types = (
        arrow.string(), arrow.binary(), arrow.binary(), arrow.bool_(), arrow.large_binary()
    )  # fmt: skip
    fields += map(arrow.field, _PRECOMPUTED, precomputed_types)
    return arrow.schema(fields, metadata=dict(metadata))


def analyser_of(table_schema: Any) -> Analyser:
    """Open the analyser that makes the terms of a table with this schema."""
    return open_analyser(read_spec(table_schema.metadata[b"analyser"].decode()))


def to_arrow(passages: Sequence[Passage], vectors: NDArray[np.float32], table_schema: Any) -> Any:
    """Convert passages and their vectors, ``(n, dim)``, to one Arrow record batch."""
    arrow = require("pyarrow", "index")
    columns: dict[str, Any] = {n: [getattr(p, n) for p in passages] for n in _PASSAGE_TYPES}
    columns |= {name: [getattr(p.origin, name) for p in passages] for name in ORIGIN_COLUMNS}
    texts = [p.search_text for p in passages]
    columns["search_hash"] = [search_hash(text) for text in texts]
    analyser = analyser_of(table_schema)
    added = (p.searched_metadata for p in passages)
    terms = [analyser.document(f"{text} {more}") for text, more in zip(texts, added, strict=True)]
    columns |= {TERMS: [line for line, _ in terms], EXACT_TERMS: [line for _, line in terms]}
    precomputed = [_precomputed_values(p.precomputed) for p in passages]
    columns |= {name: [row[i] for row in precomputed] for i, name in enumerate(_PRECOMPUTED)}
    documents = [json.dumps(dict(p.metadata), ensure_ascii=False) for p in passages]
    columns["metadata"] = arrow.ExtensionArray.from_storage(
        arrow.json_(), arrow.array(documents, arrow.string())
    )
    flat = arrow.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    columns["vector"] = arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    arrays = [
        column if isinstance(column := columns[field.name], arrow.Array)
        else arrow.array(column, field.type)
        for field in table_schema
    ]  # fmt: skip
    return arrow.record_batch(arrays, schema=table_schema)


def from_row(row: Mapping[str, Any]) -> Passage:
    """Make the passage of a row that was read with `READ_COLUMNS`."""
    model, text, tokens, has_states = (row[name] for name in _PRECOMPUTED[:-1])
    return Passage(
        **{name: row[name] for name in _PASSAGE_TYPES},
        origin=Origin(**{name: row[name] for name in ORIGIN_COLUMNS}),
        metadata=json.loads(row["metadata"]),
        precomputed=None if model is None else Precomputed(model, text, tokens),
        has_states=bool(has_states),
    )


def _precomputed_values(precomputed: Precomputed | None) -> tuple[str | bytes | bool | None, ...]:
    if precomputed is None:
        return (None,) * len(_PRECOMPUTED)
    states = precomputed.states
    return (
        precomputed.model,
        precomputed.text_hash,
        precomputed.tokens,
        bool(states),
        states or None,
    )
