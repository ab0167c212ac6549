"""LangChain: a document compressor that reranks, and a retriever over an `Index`."""

from collections.abc import Sequence
from typing import Any, Self

from resift.extras import require

try:
    from langchain_core.callbacks import (
        AsyncCallbackManagerForRetrieverRun,
        CallbackManagerForRetrieverRun,
        Callbacks,
    )
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables.config import (
        ensure_config,
        get_async_callback_manager_for_config,
        get_callback_manager_for_config,
    )
except ImportError:
    require("langchain_core", "langchain")
    raise
from pydantic import AliasChoices, ConfigDict, Field, field_validator, model_validator

from resift.errors import InputError, shown
from resift.integrations.index_search import (
    OPTIONS,
    hit_metadata,
    opened_index,
    search_arguments,
)
from resift.integrations.rerank_fields import RerankFields
from resift.rerank.candidates import iterate
from resift.search.options import Collapse, Mode
from resift.types import Candidate, LongDocuments, Ranking

EVENT = "resift_receipt"
"""The name of the custom event of each call; its data has ``query`` and ``receipt``."""


class ResiftReranker(RerankFields, BaseDocumentCompressor):
    """Orders retrieved documents by their relevance to the query, best first.

    A document that comes back is a copy with the same id, type and text. Two keys are added to its
    metadata: ``relevance_score``, from 0 to 1, and ``relevance_status`` (`resift.types.Status`).
    A document without a score, such as an empty one or one that was late, has the score None and
    follows the others. `rank` returns the `Ranking` with its receipt; in a chain, callbacks get the
    receipt as the custom event ``resift_receipt``. Threads may share the object.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    top_n: int | None = 3
    """How many documents to return, as many as LangChain's other rerankers; None is all."""

    title_key: str | None = None
    """The key of the metadata that holds a document's title; the model reads it before the text."""

    score_key: str | None = None
    """The key of the metadata that holds the first stage's score (higher is better).

    `fusion_weight` is its weight (`Reranker.rank`). None uses no score of the first stage.
    """

    def rank(self, query: str, documents: Sequence[Document]) -> Ranking:
        """The ranking of the documents. ``documents[hit.index]`` is the document of a hit.

        Raises what `Reranker` and `Reranker.rank` raise.
        """
        return self._rank(query, self._candidates(documents))

    async def arank(self, query: str, documents: Sequence[Document]) -> Ranking:
        """`rank` without blocking the event loop."""
        return await self._arank(query, self._candidates(documents))

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks = None
    ) -> list[Document]:
        """The best `top_n` documents, best first. Raises as `rank` does."""
        documents = list(iterate(documents))
        if not documents:
            return []
        ranking = self.rank(query, documents)
        _tell(ranking, callbacks)
        return _ranked(ranking, documents)

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks = None
    ) -> list[Document]:
        """`compress_documents` without blocking the event loop."""
        documents = list(iterate(documents))
        if not documents:
            return []
        ranking = await self.arank(query, documents)
        await _atell(ranking, callbacks)
        return _ranked(ranking, documents)

    def _candidates(self, documents: Sequence[Document]) -> list[Candidate]:
        title, score = self.title_key, self.score_key
        return [
            Candidate(
                id=document.id,
                text=document.page_content,
                title=document.metadata.get(title) if title else "",
                metadata=document.metadata,
                score=document.metadata.get(score) if score else None,
            )
            for document in map(_checked, documents)
        ]


class ResiftRetriever(BaseRetriever):
    """Searches an `Index`: two retrievers, fusion, reranking.

    A document is a passage. Its metadata is the passage's, with ``source``, ``title``,
    ``citation``, ``relevance_score`` and ``relevance_status`` (`index_search.hit_metadata`). Other
    options than `top_n` that are None are `Index.search`'s own. ``invoke`` takes all of them for
    one call: ``retriever.invoke(query, where="…", k=5)``. `search` returns the `Ranking` with its
    receipt; callbacks get the receipt as the custom event ``resift_receipt``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    index: Any
    """An `Index`, or the URI or folder of one, which the first search opens."""

    top_n: int = Field(default=10, validation_alias=AliasChoices("top_n", "k"))
    """How many documents to return. LangChain's name for it, ``k``, is accepted too."""

    depth: int | None = None
    mode: Mode | None = None
    rerank: bool | None = None
    budget_ms: float | None = None
    where: str | None = None
    max_requests: int | None = None
    exact: bool | None = None
    tolerance: float | None = None
    fusion_weight: float | None = None
    min_score: float | None = None
    abstain_below: float | None = None
    long_documents: LongDocuments | None = None
    collapse: Collapse | None = None

    def __init__(self, index: Any = None, **options: Any) -> None:
        """Open nothing yet. `index` may be the only argument without a name."""
        super().__init__(index=index, **options)

    @field_validator("index")
    @classmethod
    def _open(cls, index: object) -> Any:
        return opened_index(index)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._arguments({})
        return self

    def search(self, query: str, **options: Any) -> Ranking:
        """The ranking of a search; `options` are for this call. Raises as `Index.search` does."""
        ranking: Ranking = self.index.search(query, **self._arguments(options))
        return ranking

    async def asearch(self, query: str, **options: Any) -> Ranking:
        """`search` without blocking the event loop."""
        ranking: Ranking = await self.index.asearch(query, **self._arguments(options))
        return ranking

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        ranking = self.search(query, **options)
        _tell(ranking, run_manager.get_child())
        return _documents(ranking)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        ranking = await self.asearch(query, **options)
        await _atell(ranking, run_manager.get_child())
        return _documents(ranking)

    def _arguments(self, options: dict[str, Any]) -> dict[str, Any]:
        """The fields with the options of one call. ``verbose`` is LangChain's, not a search's."""
        changes = {name: value for name, value in options.items() if name not in ("k", "verbose")}
        if "k" in options:
            changes["top_n"] = options["k"]
        return search_arguments({name: getattr(self, name) for name in OPTIONS} | changes)


def _checked(document: object) -> Document:
    if not isinstance(document, Document):
        raise InputError(f"documents: expected LangChain's Document, got {shown(document)}")
    return document


def _ranked(ranking: Ranking, documents: Sequence[Document]) -> list[Document]:
    """Copies of the documents in the order of the ranking; texts are shared."""
    ranked = []
    for hit in ranking:
        document = documents[hit.index]
        relevance = {"relevance_score": hit.score, "relevance_status": hit.status}
        ranked.append(document.model_copy(update={"metadata": {**document.metadata, **relevance}}))
    return ranked


def _documents(ranking: Ranking) -> list[Document]:
    return [Document(hit.text, id=hit.id, metadata=hit_metadata(hit)) for hit in ranking]


def _tell(ranking: Ranking, callbacks: Callbacks) -> None:
    """Give the receipt to the callbacks of the call and of the chain around it, if any."""
    manager = get_callback_manager_for_config(ensure_config({"callbacks": callbacks}))
    manager.on_custom_event(EVENT, _event(ranking), run_id=manager.parent_run_id)


async def _atell(ranking: Ranking, callbacks: Callbacks) -> None:
    manager = get_async_callback_manager_for_config(ensure_config({"callbacks": callbacks}))
    await manager.on_custom_event(EVENT, _event(ranking), run_id=manager.parent_run_id)


def _event(ranking: Ranking) -> dict[str, Any]:
    return {"query": ranking.query, "receipt": ranking.receipt}
