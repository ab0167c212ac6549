"""Proves the LlamaIndex retriever over an index: nodes, options, receipts, query engines."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_index.core")
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from integrations.llama_index_events import Events, collected_events
from integrations.stand_ins import PETS, Reversing, pets_index
from resift.errors import InputError
from resift.integrations.llama_index import ReceiptEvent, ResiftRerank, ResiftRetriever
from resift.search.index import Index

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:llama_index.*")


@pytest.fixture
def events() -> Iterator[Events]:
    with collected_events() as handler:
        yield handler


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with pets_index(tmp_path_factory.mktemp("pets")) as opened:
        yield opened


def ids(ranked: list[NodeWithScore]) -> list[str]:
    return [node.node_id for node in ranked]


def test_a_hit_of_an_index_becomes_a_node(index: Index) -> None:
    [hit] = index.search("the dog", top_n=1)
    [node] = ResiftRetriever(index, top_n=1).retrieve("the dog")
    citation = hit.citation
    assert citation is not None
    assert (node.node_id, node.text, node.score) == (hit.id, hit.text, hit.score)
    assert node.node.ref_doc_id == citation.doc_id
    assert (node.node.start_char_idx, node.node.end_char_idx) == (citation.start, citation.end)
    assert node.metadata["keeper"] == "Ada" and node.metadata["title"] == hit.title
    assert node.get_content(MetadataMode.LLM) == (
        f"source: {citation.uri}\ntitle: {hit.title}\nkeeper: Ada\n\n{hit.text}"
    )
    claim = {"text": node.text, "citation": json.loads(json.dumps(node.metadata["citation"]))}
    assert index.verify_citation(claim).status == "verified"


def test_a_search_takes_options_and_tells_its_receipt(index: Index, events: Events) -> None:
    retriever = ResiftRetriever(index, 2, rerank=False, mode="lexical")
    assert [node.score for node in retriever.retrieve(QueryBundle("the dog"))] == [None, None]
    assert "dog" in asyncio.run(retriever.aretrieve("the dog"))[0].text
    assert [event.receipt.version for event in events.of(ReceiptEvent)] == [1, 1]
    assert len(retriever.search("the animal", top_n=4)) == 4
    assert len(asyncio.run(retriever.asearch("the animal", depth=5)).hits) == 2
    assert ResiftRetriever(index, where="doc_id = 'nothing'").retrieve("the dog") == []
    late = ResiftRetriever(index, budget_ms=0)
    assert late.search("the dog").receipt.partial
    assert all(node.score is None for node in late.retrieve("the dog"))


@pytest.mark.parametrize(
    "options",
    [{"top_n": 0}, {"mode": "exact"}, {"where": "uri ="}, {"budget_ms": -1}, {"limit": 3},
     {"index": 3}],
)  # fmt: skip
def test_bad_options_of_a_search_are_refused_at_once(options: dict[str, Any], index: Index) -> None:
    with pytest.raises(InputError):
        ResiftRetriever(**{"index": index} | options)


def test_both_work_in_a_query_engine(tmp_path: Path) -> None:
    pets_index(tmp_path).close()
    retriever = ResiftRetriever(tmp_path / "index", top_n=len(PETS), mode="lexical", rerank=False)
    engine = RetrieverQueryEngine(
        retriever=retriever,
        node_postprocessors=[ResiftRerank(reranker=Reversing(), top_n=2)],
        response_synthesizer=get_response_synthesizer(llm=MockLLM()),
    )
    forwards = ids(retriever.retrieve("the dog"))
    response = engine.query("the dog")
    assert ids(response.source_nodes) == forwards[:2:-1]
    assert response.source_nodes[0].text in str(response)
    assert retriever.retrieve("the dog")[0].metadata["relevance_status"] == "not_reranked"
    assert {node.metadata["relevance_status"] for node in response.source_nodes} == {"ok"}
    again = asyncio.run(engine.aquery("the dog"))
    assert ids(again.source_nodes) == forwards[:2:-1]
