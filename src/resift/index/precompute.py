"""What a reranker need not read again, kept beside a passage."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from resift.index.table.rows import Passage
from resift.types import Document, Precomputed


@runtime_checkable
class Precomputer(Protocol):
    """A reranker that can read documents before a query comes. Threads may share it."""

    @property
    def fingerprint(self) -> str:
        """Of the model; what another has kept is of no use to it."""

    def precompute(
        self, documents: Sequence[Document], *, states: bool = True
    ) -> list[Precomputed | None]:
        """What of each document need not be read again, in input order."""


def precompute(
    passages: Sequence[Passage], precomputer: Precomputer, states: bool
) -> list[Precomputed | None]:
    """What is kept of passages, as a search hands them to the reranker: text under its title."""
    documents = [Document(own.id, own.text, own.title) for own in passages]
    return precomputer.precompute(documents, states=states)
