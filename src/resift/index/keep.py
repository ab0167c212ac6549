"""What a reranker need not read again, kept beside a passage."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from resift.index.rows import Passage
from resift.types import Document, Kept


@runtime_checkable
class Keeper(Protocol):
    """A reranker that can read documents before a query comes. Threads may share it."""

    @property
    def fingerprint(self) -> str:
        """Of the model; what another has kept is of no use to it."""

    def keep(self, documents: Sequence[Document], *, states: bool = True) -> list[Kept | None]:
        """What of each document need not be read again, in input order."""


def keep(passages: Sequence[Passage], keeper: Keeper, states: bool) -> list[Kept | None]:
    """What is kept of passages, as a search hands them to the reranker: text under its title."""
    documents = [Document(own.id, own.text, own.title) for own in passages]
    return keeper.keep(documents, states=states)
