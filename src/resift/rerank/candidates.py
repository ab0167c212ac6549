"""What callers hand in, as candidates, and the text of them that a model reads."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from resift.errors import InputError, QueryError
from resift.rerank.outcome import is_text
from resift.types import Candidate, Document


def as_candidates(documents: Sequence[Any]) -> list[Candidate]:
    """Strings, documents and candidates as candidates, in order; their texts may still be none."""
    return [_candidate(index, given) for index, given in enumerate(documents)]


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


def is_finite(value: object) -> bool:
    """Whether a value is a number that can be reckoned with."""
    return isinstance(value, int | float | np.number) and math.isfinite(value)


def check_query(query: object) -> None:
    """Raise `QueryError` for what is no query."""
    if not isinstance(query, str):
        raise QueryError(f"query: expected text, got {type(query).__name__}")
    if not query.strip():
        raise QueryError("query: empty; say what to look for")
    if not is_text(query):
        raise QueryError("query: has lone surrogates, so it is no text; decode its bytes again")


def check_documents(documents: object) -> None:
    """Raise `InputError` for what is no list of documents."""
    if isinstance(documents, str | bytes | Mapping) or not isinstance(documents, Iterable):
        raise InputError(f"documents: expected a list of them, got {type(documents).__name__}")


def _candidate(index: int, given: Any) -> Candidate:
    if isinstance(given, Candidate):
        return given
    if isinstance(given, Document):
        return Candidate(given.id, given.text, given.title, given.metadata)
    return Candidate(id=str(index), text=given)
