"""Requests and responses of the native API."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from resift.rerank.early_exit import TOLERANCE
from resift.types import Context, Explanation, Hit, Receipt

BudgetMs = Annotated[
    float | None,
    Field(ge=0, allow_inf_nan=False, description="Milliseconds; late candidates are not scored."),
]
Share = Annotated[float | None, Field(ge=0, le=1)]


class _Options(BaseModel):
    """The options that a ranking and a search share. Unknown fields and other types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: str = Field(min_length=1, max_length=100_000)
    budget_ms: BudgetMs = None
    exact: bool = Field(False, description="Run every candidate through all stages of the model.")
    tolerance: float = Field(
        TOLERANCE,
        gt=0,
        le=0.5,
        description="The probability, in each direction, that an early exit misjudges a logit.",
    )
    fusion_weight: float | None = Field(None, ge=0, le=1_000_000)
    min_score: Share = Field(None, description="Leave out hits that score below this.")
    abstain_below: Share = Field(None, description="Abstain if the best score is below this.")
    long_documents: Literal["cut", "windows"] = "cut"
    explain: int = Field(
        0, ge=0, le=10, description="Explain so many hits: the effect of each sentence."
    )

    def ranking_options(self) -> dict[str, Any]:
        """The arguments of `Reranker.rank` among the options."""
        names = (
            "exact",
            "tolerance",
            "fusion_weight",
            "min_score",
            "abstain_below",
            "long_documents",
        )
        return {name: getattr(self, name) for name in names}


class RankBody(_Options):
    """Documents to rank. A document is text, or an object with ``text``."""

    documents: list[Any] = Field(
        description="Up to 10,000: text, or objects with text and optionally id, title, score and "
        "rank (of the first stage) and metadata. One that cannot be read becomes a hit with a "
        "status.",
    )
    model: str | None = Field(None, description="A model of this server; its first by default.")
    top_n: int | None = Field(None, ge=1, le=1_000_000)


class SearchBody(_Options):
    """A query for an index of this server."""

    index: str | None = Field(None, description="An index of this server; its first by default.")
    top_n: int = Field(10, ge=1, le=1_000)
    depth: int = Field(30, ge=1, le=1_000, description="How many candidates to rerank.")
    mode: Literal["hybrid", "dense", "lexical"] = "hybrid"
    rerank: bool = True
    where: str | None = Field(None, description="A filter, for instance: lang = 'en'")
    collapse: Literal["document"] | None = Field(
        None, description="document: the best passage of each of top_n documents."
    )
    context_tokens: int | None = Field(
        None, ge=50, le=100_000, description="Also pack the hits into a context of so many tokens."
    )
    stream: bool = Field(
        False, description="Server-sent events: first_stage, then ranking, or error."
    )


class RankAnswer(BaseModel):
    """Hits in rank order, the receipt, and explanations of the first hits."""

    query: str
    model: str
    hits: list[Hit]
    receipt: Receipt
    explanations: list[Explanation | None] = []


class SearchAnswer(BaseModel):
    """Hits in rank order, the receipt, and the context if one was asked for."""

    query: str
    index: str
    hits: list[Hit]
    receipt: Receipt
    explanations: list[Explanation | None] = []
    context: Context | None = None


class IndexEntry(BaseModel):
    """An index of this server; without a version it is not open."""

    name: str
    version: int | None
    passages: int | None
    created: str | None


class PassageAnswer(BaseModel):
    """A passage of an index with its place in its document."""

    model_config = ConfigDict(extra="allow")

    id: str
    uri: str
    title: str
    heading: str
    text: str
    start: int
    end: int
