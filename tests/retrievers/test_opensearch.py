"""Proves that OpenSearch is a first stage, with its real clients, against a strict peer.

What it shares with Elasticsearch is in test_elasticsearch.py; here are its own requests and errors.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("opensearchpy")

from opensearchpy import AsyncOpenSearch, ConnectionTimeout, OpenSearch
from opensearchpy.exceptions import NotFoundError, RequestError, TransportError

from resift.errors import InputError, StoreError
from resift.retrievers.names import open_retriever
from resift.retrievers.opensearch import OpenSearchRetriever
from retrievers.search_engine_peer import Refused, SearchEnginePeer
from storage.peer import Answer, running

DOCUMENTS: dict[str, dict[str, Any]] = {
    "heat": {"title": "Heat pumps", "body": "They move heat.", "v": [1.0, 0.0], "lang": "en"},
    "boiler": {"title": "Boilers", "body": "They burn gas to heat.", "v": [0.9, 0.1]},
    "tides": {"title": "Tides", "body": "The moon pulls the sea.", "v": [0.0, 1.0]},
}
QUERY = "What do heat pumps move?"
BUSY = Refused(429, "rejected_execution_exception", "rejected execution of search")


@pytest.fixture
def peer() -> Iterator[SearchEnginePeer]:
    peer = SearchEnginePeer("opensearch", major=3)
    peer.indexes["docs"] = {id_: dict(source) for id_, source in DOCUMENTS.items()}
    with running(peer):
        yield peer


@pytest.fixture
def client(peer: SearchEnginePeer) -> Iterator[OpenSearch]:
    client = OpenSearch(peer.url, max_retries=0)
    yield client
    client.close()


def embed(query: str) -> list[float]:
    return [1.0, 0.0]


def retriever(client: Any, **options: Any) -> OpenSearchRetriever:
    fields: dict[str, Any] = {"text": "body", "title": "title", "vector": "v"}
    return OpenSearchRetriever(client, "docs", **(fields | {"embed": embed} | options))


def ids(candidates: list[Any]) -> list[str]:
    return [candidate.id for candidate in candidates]


def test_all_modes(client: OpenSearch, peer: SearchEnginePeer) -> None:
    assert ids(retriever(client, mode="lexical")(QUERY, 5)) == ["heat", "boiler"]
    assert ids(retriever(client, mode="dense")(QUERY, 2)) == ["heat", "boiler"]
    candidates = retriever(client)(QUERY, 3)
    assert ids(candidates) == ["heat", "boiler", "tides"]
    assert candidates[0].score == 2 / 61 and candidates[0].metadata == {"lang": "en"}
    assert [asked.path for asked in peer.seen[2:]] == ["/docs/_msearch"]
    assert peer.searches()[1]["query"] == {"knn": {"v": {"vector": [1.0, 0.0], "k": 2}}}
    assert retriever(client).name == "hybrid of OpenSearch index docs"
    with pytest.raises(InputError, match="num_candidates: OpenSearch has a setting"):
        retriever(client, num_candidates=100)


def test_a_filter_holds_for_both_searches(client: OpenSearch) -> None:
    for where in ({"term": {"lang": "en"}}, [{"term": {"lang": "en"}}]):
        for mode in ("lexical", "dense", "hybrid"):
            assert ids(retriever(client, mode=mode, where=where)(QUERY, 5)) == ["heat"]


@pytest.mark.parametrize("mode", ["lexical", "dense", "hybrid"])
def test_errors_are_the_clients(mode: Any, client: OpenSearch, peer: SearchEnginePeer) -> None:
    first_stage = retriever(client, mode=mode)
    peer.refusal = BUSY
    with pytest.raises(TransportError, match="rejected execution of search") as error:
        first_stage(QUERY, 3)
    assert error.value.status_code == 429 and error.value.error == "rejected_execution_exception"
    peer.refusal = Refused(400, "query_shard_exception", "failed to create query")
    with pytest.raises(RequestError, match="failed to create query"):
        first_stage(QUERY, 3)
    peer.refusal, peer.failed_shards = None, 2
    with pytest.raises(TransportError, match="Partial shards failure"):
        first_stage(QUERY, 3)
    assert first_stage.mode == mode
    assert ids(retriever(client, mode=mode, allow_partial=True)(QUERY, 1)) == ["heat"]
    peer.indexes.clear()
    with pytest.raises(NotFoundError, match="no such index"):
        first_stage(QUERY, 3)


def test_a_slow_and_a_broken_server(client: OpenSearch, peer: SearchEnginePeer) -> None:
    def slow(request: Any) -> Answer | None:
        time.sleep(0.5)
        return None

    peer.fault = slow
    impatient = OpenSearch(peer.url, max_retries=0, timeout=0.1)
    with pytest.raises(ConnectionTimeout):
        retriever(impatient)(QUERY, 3)
    impatient.close()
    peer.fault = lambda request: Answer(502, {"Content-Type": "text/html"}, b"<html>")
    with pytest.raises(TransportError, match="502"):
        retriever(client)(QUERY, 3)


def test_an_asynchronous_client(peer: SearchEnginePeer) -> None:
    async def search() -> list[list[str]]:
        async with AsyncOpenSearch(peer.url, max_retries=0) as client:
            with pytest.raises(InputError, match="AsyncOpenSearch cannot be awaited in a thread"):
                retriever(client)(QUERY, 2)
            modes: Any = ("lexical", "dense", "hybrid")
            stages = [retriever(client, mode=mode) for mode in modes]
            lists = await asyncio.gather(*(stage.aretrieve(QUERY, 2) for stage in stages))
            peer.refusal = BUSY
            with pytest.raises(TransportError, match="rejected execution of search"):
                await stages[2].aretrieve(QUERY, 2)
            return [ids(candidates) for candidates in lists]

    assert asyncio.run(search()) == [["heat", "boiler"]] * 3


def test_by_name(peer: SearchEnginePeer) -> None:
    opened = open_retriever(f"opensearch+{peer.url}/docs?text=body&title=title")
    assert isinstance(opened, OpenSearchRetriever)
    assert ids(opened(QUERY, 5)) == ["heat", "boiler"]
    opened.close()


def test_the_responses_of_both_searches_are_expected(client: OpenSearch) -> None:
    stage = retriever(client, embed=lambda query: [1.0, 0.0])
    lists: list[Any] = [None, [], [{}], [{}] * 3]
    for parts in lists:
        body = {"responses": parts}
        stage._client = type("Client", (), {"msearch": lambda *_, body=body, **__: body})()
        with pytest.raises(StoreError, match=r"OpenSearch: .* responses for 2 searches"):
            stage("heat", 3)
