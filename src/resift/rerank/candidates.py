"""What callers hand in, read as candidates: what is odd about one of them costs itself at most."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from resift.errors import InputError, QueryError
from resift.rerank.remedies import refuse_all, refuse_collection
from resift.rerank.values import is_missing, is_text, number, string, whole
from resift.types import Candidate, Citation, Document, Hit, Precomputed

FIELDS = ("id", "_id", "title", "score", "rank", "metadata")
"""What is read of a mapping beside its text; all else in it is metadata."""

LAST_RANK = 2**53
"""As far as ranks stay apart as floats."""


def as_candidates(documents: object) -> list[Candidate]:
    """Documents of any kind as candidates of plain Python, in order.

    A string, `Document`, `Candidate` or mapping with ``text`` is a document, a `Hit` the candidate
    that it was. What is none of these becomes a candidate without a text, and so does a mapping
    whose reading raises. Ids that are missing are places, other ids their text; titles that are no
    text, ranks below 1, scores that are no numbers and what else a field cannot be are left out. An
    iterable is read once, and what it raises goes through. Raises `InputError` for what is no list
    of documents, and where none of several things, or the only one, is a document.
    """
    refuse_collection(documents)
    every = list(iterated(documents))
    read = [as_candidate(str(place), document) for place, document in enumerate(every)]
    if every and not any(read):
        raise refuse_all(every)
    return [candidate_of(str(place), candidate) for place, candidate in enumerate(read)]


def candidate_of(place: str, candidate: Candidate | None) -> Candidate:
    """What is no document is a candidate without a text."""
    return Candidate(place, None) if candidate is None else candidate  # type: ignore[arg-type]


def said_rank(given: Any) -> int | None:
    """The first stage's rank of what may be a document, where it says one: nothing else is read."""
    kind = type(given)
    if kind is Candidate:
        return _rank(given.rank)
    if kind is dict:
        return _rank(given.get("rank")) if "rank" in given else None
    read = None if kind in (str, Document) else as_candidate("", given)
    return read.rank if read else None


def from_fields(place: str, fields: Mapping[Any, Any], text: str = "text") -> Candidate:
    """A document out of a mapping with its field `text`, named `place` where it has no id.

    ``_id`` is an id, as in BEIR; what is no known field becomes metadata.
    """
    name = fields.get("id")
    metadata = _metadata(fields.get("metadata"))
    more = {key: part for key, part in fields.items() if key not in FIELDS and key != text}
    return _clean(
        place,
        Candidate(
            id=fields.get("_id") if is_missing(name) else name,  # type: ignore[arg-type]
            text=fields[text],
            title=fields.get("title", "") if text != "title" else "",
            metadata={**metadata, **more} if more else metadata,
            rank=fields.get("rank"),
            score=fields.get("score"),
        ),
    )


def full_text(candidate: Candidate) -> object:
    """What the model reads: the title, then the text. Not a string where the text is none."""
    if not isinstance(candidate.text, str) or not candidate.title:
        return candidate.text
    return title_part(candidate.title) + candidate.text


def title_part(title: str) -> str:
    """What stands before the text."""
    return f"{title}\n" if title else ""


def first_rank(index: int, candidate: Candidate) -> int:
    """The first stage's rank, from 1; the place in the list where it did not say."""
    return candidate.rank if candidate.rank is not None else index + 1


def check_query(query: object) -> str:
    """The query as plain text; raise `QueryError` for what is no query."""
    text = string(query)
    if text is None:
        raise QueryError(f"query: expected text, got {type(query).__name__}")
    if not text.strip():
        raise QueryError("query: empty; say what to look for")
    if not is_text(text):
        raise QueryError(
            "query: has lone surrogates, so it is no text: its bytes are in another encoding than "
            "they were read in; decode them again, on a command line with the locale of the "
            "terminal, such as LC_ALL=C.UTF-8"
        )
    return text


def iterated(documents: object) -> Iterator[Any]:
    """An iterator over them; raise `InputError` for what has none."""
    if isinstance(documents, Iterable):
        with suppress(TypeError):  # an array without a dimension says only here that it is no list
            return iter(documents)
    raise InputError(f"documents: expected a list of them, got {type(documents).__name__}")


def as_candidate(place: str, given: Any) -> Candidate | None:
    """One document, named `place` where it has no id; None for what is no document."""
    kind = type(given)  # what it says of its class itself may raise, or be no more than a promise
    if issubclass(kind, str):
        return Candidate(place, string(given) or "")
    if issubclass(kind, Candidate):
        return _clean(place, given)
    if issubclass(kind, Document):
        return _clean(place, Candidate(given.id, given.text, given.title, given.metadata))
    if issubclass(kind, Hit):
        without = string(given.status) == "not_text" and string(given.text) == ""
        text = None if without else given.text
        rank, score = given.first_stage_rank, given.first_stage_score
        was = Candidate(given.id, text, given.title, given.metadata, rank, score)  # type: ignore[arg-type]
        return _clean(place, replace(was, citation=given.citation))
    return _from_mapping(place, given)


def _from_mapping(place: str, given: Any) -> Candidate | None:
    """What has keys and gives values for them: a dict, a database's row, a row of a table."""
    kind = type(given)
    if not (hasattr(kind, "keys") and hasattr(kind, "__getitem__")):
        return None
    try:
        fields = given if kind is dict else dict(given)
    except Exception:  # a foreign mapping runs foreign code, and costs itself
        return None
    return from_fields(place, fields) if "text" in fields else None


def _clean(place: str, given: Candidate) -> Candidate:
    """The same in plain Python, without what its fields cannot be."""
    text, title = string(given.text), string(given.title)
    return Candidate(
        id=_name(given.id, place),
        text=given.text if text is None else text,
        title=title if title and is_text(title) else "",
        metadata=_metadata(given.metadata),
        rank=_rank(given.rank),
        score=_score(given.score),
        precomputed=_kept(given.precomputed),
        citation=given.citation if isinstance(given.citation, Citation) else None,
    )


def _rank(given: object) -> int | None:
    rank = whole(given, text=True)
    return rank if rank is not None and 1 <= rank <= LAST_RANK else None


def _score(given: object) -> float | None:
    """A number, None where none is given, NaN for what is none: then the receipt says so."""
    score = number(given, text=True)
    return math.nan if score is None and given is not None else score


def _name(given: object, place: str) -> str:
    """An id as text: its own, or the place where it has none that can be said."""
    if isinstance(given, str):
        return str.__str__(given)
    if is_missing(given):
        return place
    try:
        return given.decode("utf-8", "backslashreplace") if isinstance(given, bytes) else str(given)
    except Exception:  # a foreign __str__, or a number of too many digits
        return place


def _metadata(given: Any) -> Mapping[str, Any]:
    """What is no mapping is kept under a name of its own."""
    if isinstance(given, Mapping):
        return given
    return {} if is_missing(given) else {"metadata": given}


def _kept(given: Any) -> Precomputed | None:
    """What can be a `Precomputed`; whose it is, `kept.unpack` sees."""
    if not isinstance(given, Precomputed) or not isinstance(given.model, str):
        return None
    parts = (given.text, given.tokens, given.states)
    return given if all(isinstance(part, bytes) for part in parts) else None
