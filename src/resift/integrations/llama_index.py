"""LlamaIndex: a node postprocessor that reranks, and a retriever over an `Index`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from resift.extras import require

try:
    from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
    from llama_index.core.instrumentation import get_dispatcher
    from llama_index.core.instrumentation.events import BaseEvent
    from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import (
        BaseNode,
        MetadataMode,
        NodeRelationship,
        NodeWithScore,
        QueryBundle,
        RelatedNodeInfo,
        TextNode,
    )
except ImportError:
    require("llama_index.core", "llama-index")
    raise
from pydantic import ConfigDict

from resift.errors import InputError
from resift.integrations.index_search import opened_index, passage_metadata, search_arguments
from resift.integrations.rerank_fields import RerankFields
from resift.types import Candidate, Hit, Ranking, Receipt

_DISPATCHER = get_dispatcher(__name__)

_STATUS = "relevance_status"

_FOR_PROGRAMS = ("citation", "first_stage_score", _STATUS)
"""Keys of a passage's metadata that neither an LLM nor an embedder reads."""

Report = Callable[[Ranking, list[NodeWithScore]], None]


class ReceiptEvent(BaseEvent):
    """The receipt of a ranking, for event handlers of LlamaIndex's instrumentation."""

    query: str
    receipt: Receipt

    @classmethod
    def class_name(cls) -> str:
        return "ReceiptEvent"


class ResiftRerank(RerankFields, BaseNodePostprocessor):
    """Orders retrieved nodes by their relevance to the query, best first.

    What comes back are new `NodeWithScore` with the given nodes: id, text, embedding and
    relationships are as they were. The score is a float from 0 to 1, or None for a node without
    one, such as one without text or one that was late; these follow the others. A node whose status
    is not ``ok`` (`resift.types.Status`) is a copy with ``relevance_status`` in its metadata, which
    no LLM reads. `rank` returns the `Ranking` with its receipt; in a query engine, a `ReceiptEvent`
    has the receipt. Threads may share the object.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    top_n: int | None = 2
    """How many nodes to return, as many as LlamaIndex's other rerankers; None is all."""

    metadata_mode: MetadataMode = MetadataMode.EMBED
    """Which metadata the model reads before the text: that of the embedder, as with the others."""

    use_retrieval_scores: bool = False
    """Whether the nodes' scores (higher is better) count, with `fusion_weight`."""

    keep_retrieval_score: bool = False
    """Whether copies of the nodes get the former score as ``retrieval_score``, unread by an LLM."""

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised objects."""
        return "ResiftRerank"

    def rank(self, query: str, nodes: list[NodeWithScore]) -> Ranking:
        """The ranking of the nodes. ``nodes[hit.index]`` is the node of a hit.

        Raises what `Reranker` and `Reranker.rank` raise.
        """
        return self._rank(query, self._candidates(nodes))

    async def arank(self, query: str, nodes: list[NodeWithScore]) -> Ranking:
        """`rank` without blocking the event loop."""
        return await self._arank(query, self._candidates(nodes))

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _text_of(query_bundle)
        if not nodes:
            return []
        with self._reported(query_bundle, nodes) as report:
            ranking = self.rank(query, nodes)
            ranked = [self._node(nodes[hit.index], hit) for hit in ranking]
            report(ranking, ranked)
        return ranked

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _text_of(query_bundle)
        if not nodes:
            return []
        with self._reported(query_bundle, nodes) as report:
            ranking = await self.arank(query, nodes)
            ranked = [self._node(nodes[hit.index], hit) for hit in ranking]
            report(ranking, ranked)
        return ranked

    def _candidates(self, nodes: list[NodeWithScore]) -> list[Candidate]:
        return [
            Candidate(
                id=node.node_id,
                text=node.node.get_content(metadata_mode=self.metadata_mode),
                metadata=node.metadata,
                score=node.score if self.use_retrieval_scores else None,
            )
            for node in nodes
        ]

    def _node(self, given: NodeWithScore, hit: Hit) -> NodeWithScore:
        """The node of a hit with its score; the text is shared."""
        added: dict[str, Any] = {}
        if hit.status != "ok" or _STATUS in given.node.metadata:
            added[_STATUS] = hit.status
        if self.keep_retrieval_score:
            added["retrieval_score"] = given.score
        node = _with_metadata(given.node, added) if added else given.node
        return given.model_copy(update={"node": node, "score": hit.score})

    @contextmanager
    def _reported(self, query: QueryBundle | None, nodes: list[NodeWithScore]) -> Iterator[Report]:
        """Tell LlamaIndex's event handlers of a call; the function gets its result."""
        top_n = len(nodes) if self.top_n is None else self.top_n
        model = "resift" if self.model is None else str(self.model)
        name = model if self.reranker is None else str(getattr(self.reranker, "name", "resift"))
        start = ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=name)
        _DISPATCHER.event(start)
        payload = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: _text_of(query),
            EventPayload.TOP_K: top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:

            def report(ranking: Ranking, ranked: list[NodeWithScore]) -> None:
                event.on_end(payload={EventPayload.NODES: ranked})
                _DISPATCHER.event(ReceiptEvent(query=ranking.query, receipt=ranking.receipt))
                _DISPATCHER.event(ReRankEndEvent(nodes=ranked))

            yield report


class ResiftRetriever(BaseRetriever):
    """Searches an `Index`: two retrievers, fusion, reranking.

    `index` is an `Index`, or the URI or folder of one, which the first search opens; `options` are
    the arguments of `Index.search`, such as `depth`, `where`, `mode` and `budget_ms`.

    A node is a passage with its source document, its characters there, and the passage's metadata
    with ``source``, ``title`` and ``citation`` (`index_search.passage_metadata`), and
    ``relevance_status`` if that is not ``ok``. An LLM reads the metadata but for what only programs
    need. The score is a float from 0 to 1, and None without reranking. `search` returns the
    `Ranking` with its receipt; a `ReceiptEvent` has the receipt too. Raises `InputError` for
    invalid arguments.
    """

    def __init__(
        self,
        index: Any,
        top_n: int = 10,
        *,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
        **options: Any,
    ) -> None:
        self.index = opened_index(index)
        self._options = search_arguments({"top_n": top_n, **options})
        super().__init__(callback_manager=callback_manager, verbose=verbose)

    def search(self, query: str, **options: Any) -> Ranking:
        """The ranking of a search; `options` are for this call. Raises as `Index.search` does."""
        arguments = search_arguments(self._options | options)
        ranking: Ranking = self.index.search(query, **arguments)
        return ranking

    async def asearch(self, query: str, **options: Any) -> Ranking:
        """`search` without blocking the event loop."""
        arguments = search_arguments(self._options | options)
        ranking: Ranking = await self.index.asearch(query, **arguments)
        return ranking

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _nodes(self.search(query_bundle.query_str))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _nodes(await self.asearch(query_bundle.query_str))


def _text_of(query: QueryBundle | None) -> str:
    if query is None:
        raise InputError("query_bundle=None: expected a query; pass query_bundle or query_str")
    return str(query.query_str)


def _with_metadata(node: BaseNode, added: dict[str, Any]) -> BaseNode:
    """A copy of the node with more metadata, which neither an LLM nor an embedder reads."""
    changes = {
        "metadata": {**node.metadata, **added},
        "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, *added],
        "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, *added],
    }
    return node.model_copy(update=changes)


def _nodes(ranking: Ranking) -> list[NodeWithScore]:
    """The hits as nodes, after the receipt was told."""
    _DISPATCHER.event(ReceiptEvent(query=ranking.query, receipt=ranking.receipt))
    return [NodeWithScore(node=_node_of(hit), score=hit.score) for hit in ranking]


def _node_of(hit: Hit) -> TextNode:
    citation, relationships, metadata = hit.citation, {}, passage_metadata(hit)
    if hit.status != "ok":
        metadata[_STATUS] = hit.status
    if citation is not None:
        relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=citation.doc_id)
    return TextNode(
        id_=hit.id,
        text=hit.text,
        metadata=metadata,
        excluded_llm_metadata_keys=list(_FOR_PROGRAMS),
        excluded_embed_metadata_keys=list(_FOR_PROGRAMS),
        start_char_idx=None if citation is None else citation.start,
        end_char_idx=None if citation is None else citation.end,
        relationships=relationships,
    )
