"""What Cohere's v1 reads of a document that is text or an object."""

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from resift.serve.problems import Kind, RequestProblem

NO_FIELDS = (
    "invalid request: rank_fields cannot be empty, it must either contain at least one field or be "
    "omitted"
)
NO_TEXT = "invalid request: required 'text' param is missing or empty. (documents[{index}])"


def texts_of(documents: Sequence[Any], rank_fields: Sequence[str] | None) -> list[str]:
    """The text of each document: itself, its field ``text``, or its `rank_fields` in their order.

    A field that a document does not have is left out. Raises `RequestProblem` in Cohere's words.
    """
    if rank_fields is not None and not rank_fields:
        raise RequestProblem(Kind.invalid, NO_FIELDS, "rank_fields")
    return [_text(index, document, rank_fields) for index, document in enumerate(documents)]


def _text(index: int, document: Any, rank_fields: Sequence[str] | None) -> str:
    if isinstance(document, str):
        return document
    if rank_fields is not None:
        values = [document[name] for name in rank_fields if document.get(name) is not None]
        return "\n".join(
            value if isinstance(value, str) else to_json(value).decode() for value in values
        )
    text = document.get("text")
    if isinstance(text, str):
        return text
    raise RequestProblem(Kind.invalid, NO_TEXT.format(index=index), "documents")
