"""Proves the LangChain retriever over an index: documents, options, receipts, pickles, chains."""

import asyncio
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core")
from langchain_core.runnables import ConfigurableField
from pydantic import ValidationError

from integrations.langchain_listeners import AsyncListener, Listener
from integrations.stand_ins import PETS, Reversing, pets_index
from resift.errors import InputError
from resift.integrations.langchain import EVENT, ResiftReranker, ResiftRetriever
from resift.search.index import Index


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with pets_index(tmp_path_factory.mktemp("pets")) as opened:
        yield opened


def ids(ranked: Any) -> list[str]:
    return [document.id for document in ranked]


def test_it_works_in_a_contextual_compression_retriever(index: Index) -> None:
    classic = pytest.importorskip("langchain_classic.retrievers")
    retriever = classic.ContextualCompressionRetriever(
        base_compressor=ResiftReranker(reranker=Reversing(), top_n=2),
        base_retriever=ResiftRetriever(index, top_n=5),
    )
    forwards = ids(ResiftRetriever(index, top_n=5).invoke("the dog"))
    listener, waiting = Listener(), AsyncListener()
    config = {"callbacks": [listener]}
    assert ids(retriever.invoke("the dog", config)) == forwards[:2:-1]
    assert [name for name, _ in listener.events] == [EVENT, EVENT]
    assert listener.runs == listener.retrievers[::-1]  # of the inner retriever, then of the outer
    ranked = asyncio.run(retriever.ainvoke("the dog", {"callbacks": [waiting]}))
    assert ids(ranked) == forwards[:2:-1]
    assert [name for name, _ in waiting.events] == [EVENT, EVENT]


def test_a_hit_of_an_index_becomes_a_document(index: Index) -> None:
    [hit] = index.search("the dog", top_n=1)
    [document] = ResiftRetriever(index, top_n=1).invoke("the dog")
    assert (document.id, document.page_content) == (hit.id, hit.text)
    assert hit.citation is not None
    citation = document.metadata.pop("citation")
    assert document.metadata == {
        "source": hit.citation.uri, "title": hit.title, "keeper": "Ada",
        "first_stage_score": hit.first_stage_score, "relevance_score": hit.score,
        "relevance_status": "ok",
    }  # fmt: skip
    assert json.loads(json.dumps(citation))["line"] == 5
    verdict = index.verify_citation({"text": document.page_content, "citation": citation})
    assert verdict.status == "verified"


def test_a_search_takes_options_for_all_calls_and_for_one(index: Index) -> None:
    retriever = ResiftRetriever(index, k=2, rerank=False, mode="lexical")
    assert retriever.top_n == 2
    ranked = retriever.invoke("the dog")
    assert len(ranked) == 2 and "dog" in ranked[0].page_content
    assert ranked[0].metadata["relevance_score"] is None
    assert ranked[0].metadata["relevance_status"] == "not_reranked"
    assert len(retriever.invoke("the dog", k=1)) == 1
    assert len(retriever.invoke("the animal", top_n=4, mode="hybrid", depth=4)) == 4
    assert retriever.invoke("the dog", where="doc_id = 'nothing'") == []
    assert len(asyncio.run(retriever.ainvoke("the animal", k=4))) == 4
    configurable = ResiftRetriever(index).configurable_fields(
        top_n=ConfigurableField(id="top_n", name="top_n")
    )
    assert len(configurable.with_config(configurable={"top_n": 3}).invoke("the animal")) == 3


@pytest.mark.parametrize(
    "options",
    [{"top_n": 0}, {"k": 0}, {"depth": 0}, {"mode": "exact"}, {"where": "uri ="}, {"budget_ms": -1},
     {"rerank": False, "exact": True}, {"limit": 3}, {"index": 3}, {"index": Index}, {"index": ""},
     {"index": None}],
)  # fmt: skip
def test_bad_options_of_a_search_are_refused_at_once(options: dict[str, Any], index: Index) -> None:
    with pytest.raises(ValidationError):
        ResiftRetriever(**{"index": index} | options)


def test_bad_options_of_a_call_are_refused(index: Index) -> None:
    retriever = ResiftRetriever(index)
    with pytest.raises(InputError, match="limit: not an option of a search"):
        retriever.invoke("the dog", limit=3)
    with pytest.raises(InputError, match="top_n=0"):
        asyncio.run(retriever.ainvoke("the dog", k=0))


def test_the_receipt_of_a_search_is_told_and_returned(index: Index) -> None:
    listener, waiting = Listener(), AsyncListener()
    retriever = ResiftRetriever(index, budget_ms=1e6)
    retriever.invoke("the dog", {"callbacks": [listener]})
    assert listener.events[0][1]["receipt"].version == 1
    asyncio.run(retriever.ainvoke("the dog", {"callbacks": [waiting]}))
    assert waiting.events[0][1]["receipt"].version == 1
    assert retriever.search("the dog").receipt.depth == len(PETS)
    assert len(asyncio.run(retriever.asearch("the dog", top_n=2))) == 2


def test_a_deadline_of_a_search_ends_it(index: Index) -> None:
    listener = Listener()
    ranked = ResiftRetriever(index, budget_ms=0).invoke("the dog", {"callbacks": [listener]})
    assert listener.events[0][1]["receipt"].partial
    assert all(document.metadata["relevance_score"] is None for document in ranked)


def test_an_index_is_opened_by_its_folder_and_survives_a_pickle(tmp_path: Path) -> None:
    pets_index(tmp_path).close()
    retriever = ResiftRetriever(tmp_path / "index", top_n=1, mode="lexical", rerank=False)
    assert "dog" in retriever.invoke("the dog")[0].page_content
    again = pickle.loads(pickle.dumps(retriever))
    assert "dog" in again.invoke("the dog")[0].page_content
    assert retriever.model_copy(update={"top_n": 2}).index is retriever.index
