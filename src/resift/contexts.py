"""A context for a language model: a text within a budget of tokens, and its numbered sources."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from resift.documents import Citation

ContextOrder = Literal["rank", "document"]
"""The order of the sources of a context.

- ``rank``: the source of the best hit is first.
- ``document``: sources of one document follow each other as in the document; the document of the
  best hit is first.
"""


@dataclass(frozen=True, slots=True)
class ContextSource:
    """A numbered source of a context: a range of a document.

    `id`, `title` and `score` are those of its best hit. `text` has exactly the characters
    ``citation.start`` to ``citation.end`` of the document, so `Index.verify_citation` accepts a
    source. Without a citation it is a range of the hit's text. `is_cut` says that the context has a
    part of a hit's text. `passages` are the ids of all passages in the range, in order. `same_text`
    are citations of other hits with the same text, which the context has only here.
    """

    number: int
    id: str
    title: str
    score: float | None
    citation: Citation | None
    is_cut: bool
    text: str = ""
    passages: tuple[str, ...] = ()
    same_text: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """A text of `tokens` tokens with numbered sources.

    Of the hits with a text, `left_out` did not fit, `same_text` have the text of a better hit, and
    `over_limit` are further ones of a document that has `per_document` of them. A hit that a
    source has grown to is neither left out nor over the limit. `notes` tell what could not be read.
    """

    text: str
    tokens: int
    sources: tuple[ContextSource, ...]
    left_out: int
    same_text: int = 0
    over_limit: int = 0
    notes: tuple[str, ...] = ()


class PassageReader(Protocol):
    """Reads passages of the version of an index that a search has read."""

    def read(self, ids: Sequence[str]) -> Sequence[Any]:
        """The passages with these ids, as the index stores them, in any order."""
        ...
