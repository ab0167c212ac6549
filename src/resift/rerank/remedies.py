"""What to tell a caller whose documents are no documents: what they are, and what to hand in."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from resift.errors import InputError
from resift.rerank.values import shown
from resift.types import Document

EXPECTED = 'expected str, Document, Candidate, Hit or a mapping with "text"'
_FIELDS = ("page_content", "text", "content", "contents", "passage", "body", "chunk")
_TABLES = {"to_dicts": "to_dicts()", "to_dict": 'to_dict("records")', "to_pylist": "to_pylist()"}
_KEYS_SHOWN = 8


def refuse_collection(documents: object) -> None:
    """Raise `InputError` for what is no list of documents although it may be iterable."""
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


def refuse_all(documents: Sequence[Any]) -> InputError:
    """The error for documents of which none is one, by the first of them."""
    first, count = documents[0], len(documents)
    which = "it is" if count == 1 else f"the first of {count} is"
    return InputError(f"documents: {which} {_what(first)}; {EXPECTED}{_remedy(first)}")


def _what(document: object) -> str:
    if issubclass(type(document), Mapping):
        keys = _keys(document)
        if keys is None or "text" in keys:
            return f"a {type(document).__name__} that cannot be read"
        keys = [shown(key) for key in keys]
        more = ", …" if len(keys) > _KEYS_SHOWN else ""
        return (
            f'a mapping without "text" (it has {", ".join(keys[:_KEYS_SHOWN]) or "no keys"}{more})'
        )
    return "None" if document is None else f"of type {type(document).__name__}"


def _remedy(document: object) -> str:
    if issubclass(type(document), bytes | bytearray):
        return ": use document.decode()"
    if issubclass(type(document), Mapping):
        named = next((field for field in _FIELDS if field in (_keys(document) or ())), None)
        return f': use Document(id, document["{named}"])' if named else ""
    if _has(document, "as_py"):
        return ": use documents.to_pylist()"
    named = next((field for field in _FIELDS if _has(document, field)), None)
    if named:
        return f": use Document(id, document.{named})"
    return ": use Document(id, text)" if issubclass(type(document), tuple | list) else ""


def _keys(mapping: Any) -> list[Any] | None:
    """A mapping's keys; None where it does not give them: it runs code of its own."""
    try:
        return list(mapping)
    except Exception:
        return None


def _has(value: object, name: str) -> bool:
    """Whether there is such an attribute; runs no code of the value's own."""
    missing = object()
    return inspect.getattr_static(value, name, missing) is not missing
