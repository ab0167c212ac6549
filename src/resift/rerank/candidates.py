"""A caller's documents as candidates. An unusable document does not affect the others."""

import inspect
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from resift.errors import InputError, QueryError, shown
from resift.rerank.values import is_missing, is_text, number, string, whole
from resift.types import Candidate, Citation, Document, Hit, Precomputed

FIELDS = ("id", "_id", "title", "score", "rank", "metadata")
"""The fields of a mapping besides its text; other keys are metadata."""

LAST_RANK = 2**53
"""The highest rank: floats beyond it cannot express every whole number."""

_EXPECTED = 'expected str, Document, Candidate, Hit or a mapping with "text"'
_TEXT_FIELDS = ("page_content", "text", "content", "contents", "passage", "body", "chunk")
_TABLES = {"to_dicts": "to_dicts()", "to_dict": 'to_dict("records")', "to_pylist": "to_pylist()"}
_KEYS_SHOWN = 8


def as_candidates(documents: object) -> list[Candidate]:
    """Documents of any kind as candidates with fields of plain Python types, in order.

    A document is a string, `Document`, `Candidate`, `Hit` or a mapping with ``text``. Anything else
    becomes a candidate without a text, and so does a mapping that raises when it is read. A missing
    id becomes the index; an id that is not text becomes its text. Fields of a wrong type are left
    out, such as a title that is not text or a rank below 1. An iterable is read once; its
    exceptions are raised. Raises `InputError` if `documents` is not a list of documents, or if none
    of its items is a document.
    """
    refuse_collection(documents)
    items = list(iterate(documents))
    candidates = [as_candidate(str(index), item) for index, item in enumerate(items)]
    if items and not any(candidates):
        raise no_documents_error(items)
    return [candidate_or_empty(str(index), item) for index, item in enumerate(candidates)]


def candidate_or_empty(name: str, candidate: Candidate | None) -> Candidate:
    """The candidate; for None one without a text."""
    return Candidate(name, None) if candidate is None else candidate  # type: ignore[arg-type]


def rank_of(document: Any) -> int | None:
    """A document's first-stage rank, None without one; reads no other field if possible."""
    kind = type(document)
    if kind is Candidate:
        return _rank(document.rank)
    if kind is dict:
        return _rank(document.get("rank")) if "rank" in document else None
    candidate = None if kind in (str, Document) else as_candidate("", document)
    return candidate.rank if candidate else None


def from_fields(name: str, fields: Mapping[Any, Any], text: str = "text") -> Candidate:
    """A candidate from a mapping; the field `text` holds its text. `name` is its default id.

    ``_id`` is an id, as in BEIR; unknown fields become metadata.
    """
    id_ = fields.get("id")
    metadata = _metadata(fields.get("metadata"))
    others = {key: value for key, value in fields.items() if key not in FIELDS and key != text}
    return _clean(
        name,
        Candidate(
            id=fields.get("_id") if is_missing(id_) else id_,  # type: ignore[arg-type]
            text=fields[text],
            title=fields.get("title", "") if text != "title" else "",
            metadata={**metadata, **others} if others else metadata,
            rank=fields.get("rank"),
            score=fields.get("score"),
        ),
    )


def full_text(candidate: Candidate) -> object:
    """The title, then the text, as the model reads them; not a string if the text is not one."""
    if not isinstance(candidate.text, str) or not candidate.title:
        return candidate.text
    return title_part(candidate.title) + candidate.text


def title_part(title: str) -> str:
    """The part of `full_text` before the text."""
    return f"{title}\n" if title else ""


def first_rank(index: int, candidate: Candidate) -> int:
    """The first-stage rank, from 1; by default the position in the list."""
    return candidate.rank if candidate.rank is not None else index + 1


def check_query(query: object) -> str:
    """The query as plain text. Raises `QueryError` if it is not text or empty."""
    text = string(query)
    if text is None:
        raise QueryError(f"query: expected text, got {type(query).__name__}")
    if not text.strip():
        raise QueryError("query: empty; enter what to look for")
    if not is_text(text):
        raise QueryError(
            "query: has lone surrogates, so it is not text: its bytes were decoded with the wrong "
            "encoding; decode them again, on a command line with the locale of the terminal, such "
            "as LC_ALL=C.UTF-8"
        )
    return text


def iterate(items: object, argument: str = "documents") -> Iterator[Any]:
    """An iterator over the items. Raises `InputError` if they are not iterable."""
    if isinstance(items, Iterable):
        with suppress(TypeError):  # an array of no dimensions is an Iterable in name only
            return iter(items)
    raise InputError(f"{argument}: expected a list of them, got {type(items).__name__}")


def as_candidate(name: str, document: Any) -> Candidate | None:
    """One document as a candidate, `name` its default id; None if it is not a document."""
    kind = type(document)  # not __class__: a proxy's may raise or be wrong
    if issubclass(kind, str):
        return Candidate(name, string(document) or "")
    if issubclass(kind, Candidate):
        return _clean(name, document)
    if issubclass(kind, Document):
        return _clean(
            name, Candidate(document.id, document.text, document.title, document.metadata)
        )
    if issubclass(kind, Hit):
        had_no_text = string(document.status) == "not_text" and string(document.text) == ""
        candidate = Candidate(
            id=document.id,
            text=None if had_no_text else document.text,  # type: ignore[arg-type]
            title=document.title,
            metadata=document.metadata,
            rank=document.first_stage_rank,
            score=document.first_stage_score,
            citation=document.citation,
        )
        return _clean(name, candidate)
    return _from_mapping(name, document)


def _from_mapping(name: str, document: Any) -> Candidate | None:
    """A candidate from anything with keys: a dict, a row of a database or of a table."""
    kind = type(document)
    if not (hasattr(kind, "keys") and hasattr(kind, "__getitem__")):
        return None
    try:
        fields = document if kind is dict else dict(document)
    except Exception:  # a foreign mapping runs foreign code
        return None
    return from_fields(name, fields) if "text" in fields else None


def _clean(name: str, candidate: Candidate) -> Candidate:
    """The candidate with fields of plain Python types, without fields of a wrong type."""
    text, title = string(candidate.text), string(candidate.title)
    citation = candidate.citation
    return Candidate(
        id=_id(candidate.id, name),
        text=candidate.text if text is None else text,
        title=title if title and is_text(title) else "",
        metadata=_metadata(candidate.metadata),
        rank=_rank(candidate.rank),
        score=_score(candidate.score),
        precomputed=_precomputed(candidate.precomputed),
        citation=citation if isinstance(citation, Citation) else None,
    )


def _rank(value: object) -> int | None:
    rank = whole(value, text=True)
    return rank if rank is not None and 1 <= rank <= LAST_RANK else None


def _score(value: object) -> float | None:
    """A number or None; NaN for a value that is not a number, which the receipt reports."""
    score = number(value, text=True)
    return math.nan if score is None and value is not None else score


def _id(value: object, name: str) -> str:
    """The id as text; `name` if it is missing or cannot be converted."""
    if isinstance(value, str):
        return str.__str__(value)
    if is_missing(value):
        return name
    try:
        return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    except Exception:  # a foreign __str__, or a number of too many digits
        return name


def _metadata(value: Any) -> Mapping[str, Any]:
    """A mapping; any other value becomes the value of its key ``metadata``."""
    if isinstance(value, Mapping):
        return value
    return {} if is_missing(value) else {"metadata": value}


def _precomputed(value: Any) -> Precomputed | None:
    """A `Precomputed` with fields of the right type; `unpack` checks whether it matches."""
    if not isinstance(value, Precomputed) or not isinstance(value.model, str):
        return None
    parts = (value.text_hash, value.tokens, value.states)
    return value if all(isinstance(part, bytes) for part in parts) else None


def refuse_collection(documents: object) -> None:
    """Raise `InputError` for an iterable that is not a list of documents."""
    name = type(documents).__name__
    if isinstance(documents, str | Document):
        raise InputError(f"documents: expected a list of them, got one {name}: use [document]")
    if isinstance(documents, bytes | bytearray | memoryview):
        raise InputError(f"documents: expected a list of texts, got {name}: decode and split it")
    if isinstance(documents, Mapping):
        use = "[document]" if "text" in (_keys(documents) or ()) else "[Document(id, text), …]"
        raise InputError(f"documents: expected a list of them, got {name}: use {use}")
    if isinstance(documents, set | frozenset):
        raise InputError(f"documents: a {name} has no order: use sorted(documents) or a list")
    if _has(documents, "columns"):
        for method, call in _TABLES.items():
            if _has(documents, method):
                raise InputError(
                    f"documents: a {name} is a table: use its rows, documents.{call}, "
                    'with a column "text"'
                )


def no_documents_error(items: Sequence[Any]) -> InputError:
    """The error for a list without documents; describes the first item."""
    first, count = items[0], len(items)
    subject = "it is" if count == 1 else f"the first of {count} is"
    return InputError(f"documents: {subject} {_description(first)}; {_EXPECTED}{_remedy(first)}")


def _description(document: object) -> str:
    if issubclass(type(document), Mapping):
        keys = _keys(document)
        if keys is None or "text" in keys:
            return f"a {type(document).__name__} that cannot be read"
        names = ", ".join(shown(key) for key in keys[:_KEYS_SHOWN]) or "no keys"
        others = ", …" if len(keys) > _KEYS_SHOWN else ""
        return f'a mapping without "text" (it has {names}{others})'
    return "None" if document is None else f"of type {type(document).__name__}"


def _remedy(document: object) -> str:
    if issubclass(type(document), bytes | bytearray):
        return ": use document.decode()"
    if issubclass(type(document), Mapping):
        named = next((field for field in _TEXT_FIELDS if field in (_keys(document) or ())), None)
        return f': use Document(id, document["{named}"])' if named else ""
    if _has(document, "as_py"):
        return ": use documents.to_pylist()"
    named = next((field for field in _TEXT_FIELDS if _has(document, field)), None)
    if named:
        return f": use Document(id, document.{named})"
    return ": use Document(id, text)" if issubclass(type(document), tuple | list) else ""


def _keys(mapping: Any) -> list[Any] | None:
    """A mapping's keys; None if iterating over it raises."""
    try:
        return list(mapping)
    except Exception:
        return None


def _has(value: object, name: str) -> bool:
    """Whether the value has an attribute, without running its code."""
    missing = object()
    return inspect.getattr_static(value, name, missing) is not missing
