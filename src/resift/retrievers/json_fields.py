"""Reads documents of JSON: a field by its dotted path, and the other fields as metadata. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from resift.errors import InputError, shown
from resift.rerank.values import is_missing

_FIELDS_SHOWN = 12


def value_at(source: Any, path: str) -> Any:
    """The value of a field; None if there is none.

    ``a.b`` is the key ``b`` in the object at ``a``, or the key ``a.b``: stores take both. Of a list
    of objects it is the list of their values.
    """
    if isinstance(source, list):
        values = [value for item in source if (value := value_at(item, path)) is not None]
        return values or None
    if not isinstance(source, Mapping):
        return None
    if path in source:
        return source[path]
    for head, rest in _splits(path):
        if head in source and (value := value_at(source[head], rest)) is not None:
            return value
    return None


def without(source: Any, paths: Sequence[str]) -> Any:
    """A copy of a document without some fields, and without objects that then are empty."""
    for path in paths:
        source = _without(source, path)
    return source


def only(source: Any, paths: Sequence[str]) -> dict[str, Any]:
    """The fields of a document at `paths`, each under its path, those that are missing left out."""
    values = ((path, value_at(source, path)) for path in paths)
    return {path: value for path, value in values if value is not None}


def has(source: Any, path: str) -> bool:
    """Whether a document has a field, be it null."""
    if isinstance(source, list):
        return any(has(item, path) for item in source)
    if not isinstance(source, Mapping):
        return False
    return path in source or any(
        head in source and has(source[head], rest) for head, rest in _splits(path)
    )


class NamedFields:
    """Tells a misspelt field from one that some documents lack: none of the documents has it.

    A field that was there once, in any search, is not misspelt.
    """

    def __init__(self, **names: str | None) -> None:
        """The fields by the arguments that name them; those with None are not checked."""
        self._unseen = {argument: name for argument, name in names.items() if name is not None}

    def check(self, documents: Sequence[Any]) -> None:
        """Raise `InputError` if there are documents, and none of them has a field."""
        for argument, name in list(self._unseen.items()):
            if any(has(document, name) for document in documents):
                self._unseen.pop(argument, None)
            elif documents:
                fields = sorted({str(key) for document in documents for key in document})
                listed = ", ".join(f"{field:.40}" for field in fields[:_FIELDS_SHOWN])
                raise InputError(
                    f"{argument}={shown(name)}: none of the {len(documents)} documents returned "
                    f"has this field; they have {listed or 'no fields'}"
                )


def text_of(value: Any) -> Any:
    """The text of a field; several texts become paragraphs. Anything else stays as it is."""
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        return value
    return "\n".join(value) or None


def title_of(value: Any) -> str:
    """The title of a field, empty if it has no text."""
    text = text_of(value)
    return text if isinstance(text, str) else ""


def id_of(value: Any) -> str | None:
    """The id of a field as text; None if it is missing."""
    return None if is_missing(value) else str(value)


def _splits(path: str) -> Iterator[tuple[str, str]]:
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        yield ".".join(parts[:end]), ".".join(parts[end:])


def _without(source: Any, path: str) -> Any:
    if isinstance(source, list):
        return [_without(item, path) for item in source]
    if not isinstance(source, Mapping):
        return source
    if path in source:
        return {key: value for key, value in source.items() if key != path}
    for head, rest in _splits(path):
        if value_at(source.get(head), rest) is not None:
            smaller = _without(source[head], rest)
            others = {key: smaller if key == head else value for key, value in source.items()}
            return others if smaller else {k: v for k, v in others.items() if k != head}
    return dict(source)
