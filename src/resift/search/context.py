"""Hits → one text for a language model, within a token budget, with citations."""

from dataclasses import dataclass

from resift.types import Citation, Ranking

CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Source:
    """A numbered source of a context: `text` is what the context has of the hit."""

    number: int
    id: str
    title: str
    score: float | None
    citation: Citation | None
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Context:
    """A text with numbered sources, best first; `left_out` hits did not fit."""

    text: str
    tokens: int
    sources: tuple[Source, ...]
    left_out: int


def pack(ranking: Ranking, max_tokens: int) -> Context:
    raise NotImplementedError
