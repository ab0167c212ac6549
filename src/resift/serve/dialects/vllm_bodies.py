"""The bodies of requests and answers in vLLM's API.

A text in a request is a string, or an object with a text in it.
"""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, WithJsonSchema

from resift.errors import shown
from resift.serve.dialects.bodies import DialectBody

_EXPECTED = "expected text, or an object with text or content"


def _text_of(value: Any) -> str:
    match value:
        case str(text) | {"text": str(text)} | {"content": str(text)}:
            return text
        case {"content": [*parts]}:
            return "\n".join(map(_text_of_part, parts))
    raise ValueError(f"{shown(value)}: {_EXPECTED}")


def _text_of_part(part: Any) -> str:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": str(kind)} if kind != "text":
            raise ValueError(f"content of type {shown(kind)}: this server reads text alone")
    raise ValueError(f'{shown(part)}: expected {{"type": "text", "text": …}}')


def _texts_of(value: Any) -> list[str]:
    if not isinstance(value, list):
        return [_text_of(value)]
    texts = []
    for index, item in enumerate(value):
        try:
            texts.append(_text_of(item))
        except ValueError as error:
            raise ValueError(f"item {index} is {error}") from None
    return texts


def _object(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema}, "required": [name]}


_STRING: dict[str, Any] = {"type": "string"}
_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": _STRING},
    "required": ["type", "text"],
}
_TEXT = {
    "anyOf": [
        _STRING,
        _object("text", _STRING),
        _object("content", {"anyOf": [_STRING, {"type": "array", "items": _PART}]}),
    ]
}

Text = Annotated[str, BeforeValidator(_text_of), WithJsonSchema(_TEXT)]
Texts = Annotated[
    list[str],
    BeforeValidator(_texts_of),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}),
]


class Options(DialectBody):
    """What both bodies share."""

    model: str | None = Field(None, description="A model of this server; its first by default.")
    request_id: str | None = Field(None, description="A part of the answer's id.")
    use_activation: bool | None = Field(None, description="False: logits instead of scores.")
    truncate_prompt_tokens: int | None = Field(
        None, ge=-1, description="Tokens of query and document that are read; -1: all that can be."
    )
    truncation_side: Literal["left", "right"] | None = Field(
        None, description="With left, a text that would be cut is refused."
    )
    max_tokens_per_query: int | None = Field(None, ge=0, description="0 is no limit.")
    max_tokens_per_doc: int | None = Field(None, ge=0, description="0 is no limit.")


class Body(Options):
    """The body of ``/rerank``. A text is a string, or an object with ``text`` or ``content``."""

    query: Text
    documents: Texts
    top_n: int | None = Field(None, ge=0, description="0 is all.")


class ScoreBody(Options):
    """The body of ``/score``: one query for all documents, or one for each.

    ``queries`` may be called ``text_1`` or ``data_1``, and ``documents`` ``items``, ``text_2`` or
    ``data_2``.
    """

    queries: Texts = Field(validation_alias=AliasChoices("queries", "text_1", "data_1"))
    documents: Texts = Field(
        validation_alias=AliasChoices("documents", "items", "text_2", "data_2")
    )


class Usage(BaseModel):
    """Tokens that the model read. Those of cached scores do not count."""

    prompt_tokens: int
    total_tokens: int


class Document(BaseModel):
    """The text of a document; `multi_modal` is always null."""

    text: str
    multi_modal: None = None


class Result(BaseModel):
    """The score of a document."""

    index: int
    document: Document
    relevance_score: float


class RerankAnswer(BaseModel):
    """The scores of documents, best first."""

    id: str
    model: str
    usage: Usage
    results: list[Result]


class Score(BaseModel):
    """The score of a pair."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreAnswer(BaseModel):
    """The scores of pairs, in the order of the request."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[Score]
    usage: Usage


class Model(BaseModel):
    """A model of this server."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "resift"
    root: str
    parent: None = None
    max_model_len: int


class Models(BaseModel):
    """The models of this server; the first one is the default."""

    object: Literal["list"] = "list"
    data: list[Model]
