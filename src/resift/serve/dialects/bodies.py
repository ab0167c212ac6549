"""What the bodies of dialects share: no conversion of types, and a time limit of ours."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema


class DialectBody(BaseModel):
    """A body of another reranker's API. Fields that it does not know are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    timeout: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Seconds, an addition of resift: documents that are late have the score 0.",
    )

    @property
    def budget_ms(self) -> float | None:
        """The time limit in milliseconds."""
        return None if self.timeout is None else self.timeout * 1000


def _text_or_object(value: Any) -> Any:
    if isinstance(value, str | dict):
        return value
    raise ValueError("expected text, or an object")


def _text(value: Any) -> str:
    text = value.get("text") if isinstance(value, dict) else value
    if isinstance(text, str):
        return text
    raise ValueError('expected text, or an object with "text"; images cannot be read')


TextOrObject = Annotated[
    Any,
    AfterValidator(_text_or_object),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]}),
]
"""A document as text or as an object."""

_TEXT_OBJECT = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
}

Text = Annotated[
    str,
    BeforeValidator(_text),
    WithJsonSchema({"anyOf": [{"type": "string"}, _TEXT_OBJECT]}),
]
"""A text, given as such or as an object with ``text``."""
