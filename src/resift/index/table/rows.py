"""A passage as the index keeps it, and its way to Arrow. Knows nothing of Lance."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.extras import require
from resift.index.normalisation import searchable
from resift.types import Precomputed


@dataclass(frozen=True, slots=True)
class Origin:
    """The object that passages come from, as it was when it was read.

    `content` is a hash of its bytes, `made_by` names the parser and the chunker, and `attempt` the
    run that read it: a later run's passages replace an earlier one's, however they were written.
    `object_version` is the store's own version id, where it keeps versions.
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
    """A slice ``start:end`` of a document's text, with where it comes from.

    `passages` is how many its whole object has. `page` and `row` count from 1, where the format
    has some. `precomputed` is what the reranker need not read again; a passage that was read back has no
    states in it, and `has_states` says whether the index has them.
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
    metadata: Mapping[str, Any] = field(default_factory=dict)
    precomputed: Precomputed | None = field(default=None, repr=False)
    has_states: bool = False

    @property
    def search_text(self) -> str:
        """What both arms search: the text under its title and heading.

        A passage from deep inside a document often never says what it is about; its title does.
        One text for both, and BM25 over one field, whose scores need no weights to be added. It is
        normalised: `text` is the document's, character by character.
        """
        parts = (self.title, self.heading, self.text)
        return searchable("\n".join(part for part in parts if part))


def schema(dim: int, metadata: Mapping[str, str]) -> Any:
    """The table's Arrow schema, for vectors of `dim` numbers."""
    arrow = require("pyarrow", "index")
    kinds = {
        str: arrow.string(),
        int: arrow.int64(),
        bytes: arrow.binary(),
        bool: arrow.bool_(),
        dict: arrow.json_(),
        "large": arrow.large_binary(),
        "vector": arrow.list_(arrow.float32(), dim),
    }
    fields = [arrow.field(name, kinds[kind], null) for name, (kind, null) in _COLUMNS.items()]
    return arrow.schema(fields, metadata=dict(metadata))


def to_arrow(passages: Sequence[Passage], vectors: NDArray[np.float32], table_schema: Any) -> Any:
    """Passages and their vectors, shape (n, dim), as one Arrow record batch."""
    arrow = require("pyarrow", "index")
    columns: dict[str, Any] = {name: [getattr(p, name) for p in passages] for name in _OWN}
    columns |= {name: [getattr(p.origin, name) for p in passages] for name in ORIGIN}
    columns["metadata"] = [json.dumps(dict(p.metadata), ensure_ascii=False) for p in passages]
    columns["search_text"] = [p.search_text for p in passages]
    kept = [_precomputed_columns(p.precomputed) for p in passages]
    columns |= {name: [own[place] for own in kept] for place, name in enumerate(_PRECOMPUTED)}
    flat = arrow.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    columns["vector"] = arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    arrays = [_array(arrow, columns[own.name], own.type) for own in table_schema]
    return arrow.record_batch(arrays, schema=table_schema)


def from_row(row: Mapping[str, Any]) -> Passage:
    """A row that was read with the columns `READ`."""
    values = {name: row[name] for name in _OWN}
    model, text, tokens, has_states = (row[name] for name in _PRECOMPUTED[:-1])
    kept = None if model is None else Precomputed(model, text, tokens)
    origin = Origin(**{name: row[name] for name in ORIGIN})
    return Passage(
        **values,
        origin=origin,
        metadata=json.loads(row["metadata"]),
        precomputed=kept,
        has_states=bool(has_states),
    )


def _array(arrow: Any, values: Any, kind: Any) -> Any:
    if isinstance(values, arrow.Array):
        return values
    if kind == arrow.json_():
        return arrow.ExtensionArray.from_storage(kind, arrow.array(values, kind.storage_type))
    return arrow.array(values, kind)


def _precomputed_columns(kept: Precomputed | None) -> tuple[str | bytes | bool | None, ...]:
    if kept is None:
        return (None,) * len(_PRECOMPUTED)
    return kept.model, kept.text, kept.tokens, bool(kept.states), kept.states or None


ORIGIN = ("uri", "etag", "size", "content", "made_by", "attempt", "object_version")
_OWN = (
    "id", "passages", "doc_id", "title", "heading", "text", "start", "end", "page", "row", "ordinal"
)  # fmt: skip
STATES, HAS_STATES, KEPT_BY = "kept_states", "kept_whole", "precomputed_by"
_PRECOMPUTED = (KEPT_BY, "kept_text", "kept_tokens", HAS_STATES, STATES)
READ = (*ORIGIN, *_OWN, "metadata", *_PRECOMPUTED[:-1])
# Name → (kind, whether it may be missing).
_COLUMNS: dict[str, tuple[type | str, bool]] = {
    "id": (str, False),
    "uri": (str, False),
    "etag": (str, False),
    "size": (int, False),
    "content": (bytes, False),
    "made_by": (str, False),
    "attempt": (str, False),
    "object_version": (str, True),
    "passages": (int, False),
    "doc_id": (str, False),
    "title": (str, False),
    "heading": (str, False),
    "text": (str, False),
    "start": (int, False),
    "end": (int, False),
    "page": (int, True),
    "row": (int, True),
    "ordinal": (int, False),
    "metadata": (dict, False),
    "search_text": (str, False),
    "vector": ("vector", False),
    KEPT_BY: (str, True),
    "kept_text": (bytes, True),
    "kept_tokens": (bytes, True),
    HAS_STATES: (bool, True),
    STATES: ("large", True),
}
