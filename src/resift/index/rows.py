"""A passage as the index keeps it, and its way to Arrow. Knows nothing of LanceDB."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.extras import require
from resift.types import Kept


@dataclass(frozen=True, slots=True)
class Passage:
    """A slice ``start:end`` of a document's text, with where it comes from.

    `passages` is how many its whole object has: rows are written in batches, and this is how a
    later run sees that an object was left half-written. `kept` is what the reranker need not read
    again; a passage that was read back has no states in it, and `has_states` says whether the index
    has them.
    """

    id: str
    uri: str
    etag: str
    size: int
    passages: int
    doc_id: str
    title: str
    heading: str
    text: str
    start: int
    end: int
    page: int | None
    ordinal: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    kept: Kept | None = field(default=None, repr=False)
    has_states: bool = False

    @property
    def search_text(self) -> str:
        """What both arms search: the text under its title and heading.

        A passage from deep inside a document often never says what it is about; its title does.
        One text for both, and BM25 over one field, whose scores need no weights to be added.
        """
        return "\n".join(part for part in (self.title, self.heading, self.text) if part)


def schema(dim: int, metadata: Mapping[str, str]) -> Any:
    """The table's Arrow schema, for vectors of `dim` numbers."""
    arrow = require("pyarrow", "index")
    text = {name: arrow.string() for name in _TEXTS}
    numbers = {name: arrow.int64() for name in _NUMBERS}
    fields = [arrow.field(name, kind, False) for name, kind in (text | numbers).items()]
    fields.append(arrow.field("page", arrow.int64(), True))
    fields.append(arrow.field("vector", arrow.list_(arrow.float32(), dim), False))
    kinds = (arrow.string(), arrow.binary(), arrow.binary(), arrow.bool_(), arrow.large_binary())
    fields += [arrow.field(name, kind, True) for name, kind in zip(_KEPT, kinds, strict=True)]
    return arrow.schema(fields, metadata=dict(metadata))


def to_arrow(passages: Sequence[Passage], vectors: NDArray[np.float32], table_schema: Any) -> Any:
    """Passages and their vectors, shape (n, dim), as one Arrow table."""
    arrow = require("pyarrow", "index")
    plain = (*_TEXTS[:-2], *_NUMBERS, "page")
    columns: dict[str, Any] = {name: [getattr(p, name) for p in passages] for name in plain}
    columns["metadata"] = [json.dumps(dict(p.metadata), ensure_ascii=False) for p in passages]
    columns["search_text"] = [p.search_text for p in passages]
    flat = np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1)
    columns["vector"] = arrow.FixedSizeListArray.from_arrays(arrow.array(flat), vectors.shape[1])
    kept = [_kept_columns(p.kept) for p in passages]
    columns |= {name: [own[place] for own in kept] for place, name in enumerate(_KEPT)}
    ordered = {name: columns[name] for name in table_schema.names}
    return arrow.table(ordered, schema=table_schema)


def from_row(row: Mapping[str, Any]) -> Passage:
    """A row that was read with the columns `READ`."""
    values = {name: row[name] for name in READ if name not in _KEPT}
    model, text, tokens, has_states = (row[name] for name in _KEPT[:-1])
    values["metadata"] = json.loads(row["metadata"])
    kept = None if model is None else Kept(model, text, tokens)
    return Passage(**values, kept=kept, has_states=bool(has_states))


def _kept_columns(kept: Kept | None) -> tuple[str | bytes | bool | None, ...]:
    if kept is None:
        return (None,) * len(_KEPT)
    return kept.model, kept.text, kept.tokens, bool(kept.states), kept.states or None


_TEXTS = ("id", "uri", "etag", "doc_id", "title", "heading", "text", "metadata", "search_text")
_NUMBERS = ("size", "passages", "start", "end", "ordinal")
STATES, HAS_STATES, KEPT_BY = "kept_states", "kept_whole", "kept_by"
_KEPT = (KEPT_BY, "kept_text", "kept_tokens", HAS_STATES, STATES)
READ = (*_TEXTS[:-1], *_NUMBERS, "page", *_KEPT[:-1])
