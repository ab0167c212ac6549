"""The protocol of a first stage that is not an `Index`: a query and k in, candidates out."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from resift.types import DocumentLike


class Retriever(Protocol):
    """A first stage: any function of a query and a number, such as a lambda over your client.

    Threads may share it, and it may be called again while a call runs. Three more attributes are
    used if it has them: `name`, a description for people without a secret (reports print it);
    `aretrieve`, a coroutine with the same arguments, which `TwoStage.asearch` awaits instead of
    calling the retriever in a thread; and `close`, which closes what the retriever itself has
    opened, never a client that it was given. A later call opens that again, or raises.
    """

    def __call__(self, query: str, k: int, /) -> Sequence[DocumentLike]:
        """Return the best `k` documents for `query`, best first, or fewer if there are no more.

        The query is as the user has typed it, and is never empty. Documents are `Candidate`,
        `Document`, mappings with ``text``, or strings. A higher `score` is better: return the
        negative of a distance. The rank of a document is its position. None may be mutated later.
        Errors are raised, not logged: a list that is not complete looks like a good one.
        """
        ...


@runtime_checkable
class NamedRetriever(Protocol):
    """A retriever with a description."""

    @property
    def name(self) -> str:
        """What it searches, such as ``hybrid of table docs``; it contains no secret."""


@runtime_checkable
class AsyncRetriever(Protocol):
    """A retriever that needs no thread in an event loop."""

    async def aretrieve(self, query: str, k: int, /) -> Sequence[DocumentLike]:
        """The same documents as from a call of the retriever."""


@runtime_checkable
class ClosableRetriever(Protocol):
    """A retriever that opens connections."""

    def close(self) -> None:
        """Close what this object has opened; closing twice does nothing."""
