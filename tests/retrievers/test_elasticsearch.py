"""Proves that Elasticsearch is a first stage, with its real clients, against a strict peer.

Lexical, dense and hybrid searches send requests that the server takes, one request a query. Fields
become text, title and metadata. Errors, also those of one search of two, are the client's own. A
result that lacks shards is an error unless it is wanted.
"""

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

pytest.importorskip("elasticsearch")

from elasticsearch import (
    ApiError,
    AsyncElasticsearch,
    BadRequestError,
    ConnectionError,
    ConnectionTimeout,
    Elasticsearch,
    NotFoundError,
    UnsupportedProductError,
)

from resift import Reranker, TwoStage
from resift.errors import InputError, StoreError
from resift.retrievers.elasticsearch import ElasticsearchRetriever
from resift.retrievers.names import open_retriever
from retrievers.search_engine_peer import Refused, SearchEnginePeer
from storage.peer import Answer, running

DOCUMENTS: dict[str, dict[str, Any]] = {
    "heat": {
        "title": "Heat pumps",
        "body": "A heat pump moves heat from outside air into a house.",
        "embedding": [1.0, 0.0],
        "author": {"name": "Ada", "tags": ["home", "energy"]},
        "lang": "en",
    },
    "boiler": {
        "title": "Boilers",
        "body": ["A gas boiler burns gas.", "It heats water for a house."],
        "embedding": [0.9, 0.1],
        "author": {"name": "Bob"},
        "lang": "en",
    },
    "tides": {"title": "Tides", "body": "The moon pulls the sea.", "embedding": [0.0, 1.0]},
    "empty": {"title": "An empty house", "embedding": [-1.0, 0.0], "lang": "en"},
}
QUERY = "how does a heat pump warm a house?"
VECTORS = {QUERY: [1.0, 0.0], "moon": [0.0, 1.0], "nothing": [0.0, 0.0]}
BUSY = Refused(429, "es_rejected_execution_exception", "rejected execution of search")


@pytest.fixture
def peer() -> Iterator[SearchEnginePeer]:
    peer = SearchEnginePeer()
    peer.indexes["docs"] = {id_: dict(source) for id_, source in DOCUMENTS.items()}
    with running(peer):
        yield peer


@pytest.fixture
def client(peer: SearchEnginePeer) -> Iterator[Elasticsearch]:
    with Elasticsearch(peer.url, max_retries=0, request_timeout=5) as client:
        yield client


def embed(query: str) -> list[float]:
    return VECTORS[query]


def retriever(client: Any, **options: Any) -> ElasticsearchRetriever:
    fields = {"text": "body", "title": "title", "vector": "embedding"}
    return ElasticsearchRetriever(client, "docs", **(fields | options))


def ids(candidates: list[Any]) -> list[str]:
    return [candidate.id for candidate in candidates]


def test_a_question_matches_by_any_of_its_words(client: Elasticsearch) -> None:
    candidates = retriever(client)(QUERY, 10)
    assert ids(candidates) == ["heat", "boiler", "empty"]
    assert [candidate.rank for candidate in candidates] == [1, 2, 3]
    assert all(type(candidate.score) is float for candidate in candidates)
    assert ids(retriever(client)(QUERY, 1)) == ["heat"]
    assert retriever(client)("volcano", 10) == []


def test_query_syntax_is_only_text(client: Elasticsearch) -> None:
    assert ids(retriever(client)('"moon" AND (NOT: /x/ ~2 *', 10)) == ["tides"]


def test_fields_become_text_title_and_metadata(client: Elasticsearch) -> None:
    heat, boiler, empty = retriever(client)(QUERY, 10)
    assert heat.title == "Heat pumps" and heat.text == DOCUMENTS["heat"]["body"]
    assert heat.metadata == {"author": DOCUMENTS["heat"]["author"], "lang": "en"}
    assert boiler.text == "A gas boiler burns gas.\nIt heats water for a house."
    assert empty.text is None  # its status after reranking: not_text
    (heat, *_) = retriever(client, metadata=["author.name", "author.tags", "no"])(QUERY, 1)
    assert heat.metadata == {"author.name": "Ada", "author.tags": ["home", "energy"]}


def test_nested_text_and_an_id_field(client: Elasticsearch, peer: SearchEnginePeer) -> None:
    source = {"page": {"body": "moon", "lang": "en"}, "meta.key": 7}
    peer.indexes["docs"] = {"x": source, "y": {"page": {"body": "moon moon"}}}
    options = {"text": "page.body", "title": None, "id": "meta.key"}
    candidates = retriever(client, **options)("moon", 10)
    assert {(hit.id, hit.text) for hit in candidates} == {("7", "moon"), ("y", "moon moon")}
    assert {str(hit.metadata) for hit in candidates} == {str({"page": {"lang": "en"}}), "{}"}


def test_only_the_fields_that_are_needed_travel(
    client: Elasticsearch, peer: SearchEnginePeer
) -> None:
    with pytest.raises(InputError, match="id='key': none of the 3 documents"):
        retriever(client, metadata=["lang"], id="key")(QUERY, 10)
    retriever(client)(QUERY, 10)
    limited, everything = peer.searches()
    assert limited["_source"] == {"includes": ["body", "title", "key", "lang"]}
    assert everything["_source"] == {"excludes": ["embedding"]}


def test_boosts_of_search_fields(client: Elasticsearch, peer: SearchEnginePeer) -> None:
    retriever(client, search_fields=["title^3", "body"])(QUERY, 10)
    retriever(client, search_fields=["body"])(QUERY, 10)
    boosted, single = peer.searches()
    assert boosted["query"]["multi_match"]["fields"] == ["title^3", "body"]
    assert single["query"] == {"match": {"body": {"query": QUERY, "operator": "or"}}}


def test_dense(client: Elasticsearch, peer: SearchEnginePeer) -> None:
    dense = retriever(client, embed=embed, mode="dense")
    assert ids(dense("moon", 2)) == ["tides", "boiler"]
    assert dense.name == "dense of Elasticsearch index docs"
    (search,) = peer.searches()
    assert search["knn"]["k"] == 2 and search["knn"]["num_candidates"] == 3 and search["size"] == 2


def test_an_embedder_and_an_array(client: Elasticsearch) -> None:
    class Embedder:
        def embed_query(self, query: str) -> Any:
            return np.array(VECTORS[query], dtype=np.float32)

    assert ids(retriever(client, embed=Embedder(), mode="dense")("moon", 1)) == ["tides"]


def test_hybrid_is_one_request_and_fuses_ranks(
    client: Elasticsearch, peer: SearchEnginePeer
) -> None:
    hybrid = retriever(client, embed=embed)
    assert hybrid.mode == "hybrid"
    candidates = hybrid(QUERY, 3)
    assert ids(candidates) == ["heat", "boiler", "empty"]
    assert candidates[0].score == 2 / 61 and candidates[1].score == 2 / 62
    assert [hit.rank for hit in candidates] == [1, 2, 3]
    assert [asked.path for asked in peer.seen] == ["/docs/_msearch"]
    assert [search["size"] for search in peer.searches()] == [9, 9]  # deeper than the result


def test_a_zero_vector_leaves_the_words(client: Elasticsearch) -> None:
    assert retriever(client, embed=embed, mode="dense")("nothing", 3) == []
    assert retriever(client, embed=embed)("nothing", 3) == []


def test_a_filter_holds_for_both_searches(client: Elasticsearch) -> None:
    options: dict[str, Any] = {"embed": embed, "where": {"term": {"author.name": "Bob"}}}
    for mode in ("lexical", "dense", "hybrid"):
        assert ids(retriever(client, mode=mode, **options)(QUERY, 10)) == ["boiler"]
    several = [{"term": {"lang": "en"}}, {"term": {"author.tags": "home"}}]
    options["where"] = several
    for mode in ("lexical", "dense", "hybrid"):
        assert ids(retriever(client, mode=mode, **options)(QUERY, 10)) == ["heat"]
    assert len(several) == 2


@pytest.mark.parametrize("mode", ["lexical", "dense", "hybrid"])
def test_errors_are_the_clients(mode: Any, client: Elasticsearch, peer: SearchEnginePeer) -> None:
    first_stage = retriever(client, embed=embed, mode=mode)
    peer.refusal = BUSY
    with pytest.raises(ApiError, match="es_rejected_execution_exception") as error:
        first_stage(QUERY, 3)
    assert error.value.meta.status == 429 and "rejected execution of search" in str(error.value)
    peer.refusal = Refused(400, "query_shard_exception", "failed to create query")
    with pytest.raises(BadRequestError, match="failed to create query"):
        first_stage(QUERY, 3)
    peer.refusal = None
    peer.indexes.clear()
    with pytest.raises(NotFoundError, match="no such index"):
        first_stage(QUERY, 3)


def test_a_filter_that_elasticsearch_does_not_know(client: Elasticsearch) -> None:
    with pytest.raises(BadRequestError, match=r"unknown query \[terns\]"):
        retriever(client, where={"terns": {"lang": ["en"]}})(QUERY, 3)


def test_vectors_of_another_model(client: Elasticsearch) -> None:
    with pytest.raises(BadRequestError, match="different dimension"):
        retriever(client, embed=lambda query: [1.0, 0.0, 0.0])(QUERY, 3)


@pytest.mark.parametrize("mode", ["lexical", "dense", "hybrid"])
def test_a_part_of_the_shards_is_an_error(
    mode: Any, client: Elasticsearch, peer: SearchEnginePeer, caplog: pytest.LogCaptureFixture
) -> None:
    peer.failed_shards = 1
    with pytest.raises(ApiError, match="Partial shards failure"):
        retriever(client, embed=embed, mode=mode)(QUERY, 3)
    wanted = retriever(client, embed=embed, mode=mode, allow_partial=True)
    assert ids(wanted(QUERY, 1)) == ["heat"]
    assert "1 of 5 shards failed (disk is full), so documents are missing" in caplog.text


def test_a_server_that_ignores_the_parameter(client: Elasticsearch, peer: SearchEnginePeer) -> None:
    """As with clusters of a cross-cluster search that are skipped."""
    whole = {"took": 1, "timed_out": False, "_shards": {"failed": 0}, "hits": {"hits": []}}
    for part, message in (
        ({"timed_out": True}, "time limit"),
        ({"_shards": {"total": 3, "failed": 2}}, "2 of 3 shards failed"),
        ({"_clusters": {"total": 2, "skipped": 1}}, "1 of 2 clusters: skipped"),
    ):
        peer.fault = lambda request, body=whole | part: _json(body)  # type: ignore[misc]
        with pytest.raises(StoreError, match=message):
            retriever(client)(QUERY, 3)


def _json(body: Any) -> Answer:
    headers = {"Content-Type": "application/json", "X-Elastic-Product": "Elasticsearch"}
    return Answer(200, headers, json.dumps(body).encode())


def test_slow_broken_and_foreign_servers(peer: SearchEnginePeer) -> None:
    def slow(request: Any) -> Answer | None:
        time.sleep(0.5)
        return None

    peer.fault = slow
    with (
        Elasticsearch(peer.url, max_retries=0, request_timeout=0.1) as client,
        pytest.raises(ConnectionTimeout),
    ):
        retriever(client)(QUERY, 3)
    with Elasticsearch(peer.url, max_retries=0) as client:
        peer.fault = lambda request: Answer(200, {"Content-Type": "application/json"}, b"{}")
        with pytest.raises(UnsupportedProductError):
            retriever(client)(QUERY, 3)
        peer.fault = lambda request: Answer(503, {"Content-Type": "text/plain"}, b"no master")
        with pytest.raises(ApiError, match="503"):
            retriever(client)(QUERY, 3)
    with (
        Elasticsearch("http://127.0.0.1:9", max_retries=0) as client,
        pytest.raises(ConnectionError),
    ):
        retriever(client)(QUERY, 3)


def test_a_server_that_is_older_than_the_client(peer: SearchEnginePeer) -> None:
    peer.major = 8
    with (
        Elasticsearch(peer.url, max_retries=0) as client,
        pytest.raises(BadRequestError, match="media_type_header_exception"),
    ):
        retriever(client)(QUERY, 3)


def test_an_asynchronous_client(peer: SearchEnginePeer) -> None:
    async def search() -> list[list[str]]:
        async with AsyncElasticsearch(peer.url, max_retries=0) as client:
            modes: Any = ("lexical", "dense", "hybrid")
            stages = [retriever(client, embed=embed, mode=mode) for mode in modes]
            with pytest.raises(
                InputError, match="AsyncElasticsearch cannot be awaited in a thread"
            ):
                stages[0](QUERY, 2)
            lists = await asyncio.gather(*(stage.aretrieve(QUERY, 2) for stage in stages))
            peer.refusal = BUSY
            with pytest.raises(ApiError, match="es_rejected_execution_exception"):
                await stages[2].aretrieve(QUERY, 2)
            return [ids(candidates) for candidates in lists]

    assert asyncio.run(search()) == [["heat", "boiler"]] * 3


def test_a_synchronous_client_in_an_event_loop(client: Elasticsearch) -> None:
    assert ids(asyncio.run(retriever(client, embed=embed).aretrieve(QUERY, 1))) == ["heat"]


def test_arguments(client: Elasticsearch) -> None:
    with pytest.raises(InputError, match="mode 'dense' needs embed and vector"):
        retriever(client, mode="dense")
    with pytest.raises(InputError, match="embed: needs vector too"):
        retriever(client, embed=embed, vector=None)
    with pytest.raises(InputError, match="mode='bm25': expected one of hybrid, dense, lexical"):
        retriever(client, mode="bm25")
    with pytest.raises(InputError, match="expected a list of names, got a string"):
        retriever(client, metadata="lang")
    with pytest.raises(InputError, match="embed: 3: expected a callable"):
        retriever(client, embed=3)
    for value in ("text", None, [], [float("nan")], [[1.0]]):
        with pytest.raises(InputError, match=r"embed: returned .* for a query"):
            retriever(client, embed=lambda query, value=value: value)("moon", 3)


def test_a_given_client_stays_open(client: Elasticsearch) -> None:
    retriever(client).close()
    assert retriever(client)("moon", 1)


def test_by_name(peer: SearchEnginePeer) -> None:
    filters = json.dumps({"term": {"lang": "en"}})
    options = urlencode({"text": "body", "metadata": "lang,author.name", "where": filters})
    url = peer.url.replace("://", "://ada:secret@")
    opened = open_retriever(f"elasticsearch+{url}/docs?{options}")
    assert isinstance(opened, ElasticsearchRetriever)
    assert opened("house", 5)[0].metadata == {"lang": "en", "author.name": "Ada"}
    assert peer.seen[-1].headers["authorization"] == f"Basic {b64encode(b'ada:secret').decode()}"
    assert "secret" not in opened.name
    opened.close()
    opened.close()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("elasticsearch:docs", r"expected the URL of an index, such as elasticsearch\+http"),
        ("elasticsearch+http://u:secret@host:9200", "expected the URL of an index"),
        ("elasticsearch+http://u:secret@host:x/docs", "the port in the URL is not a number"),
        ("elasticsearch+http://host/docs?where=secret", "where: expected a filter"),
        ("elasticsearch+http://host/docs?where=7", "where: expected a filter"),
        ("elasticsearch+http://host/docs?txt=secret", "txt: not an option; expected text, title"),
        ("elasticsearch+http://host/docs?mode=dense", "mode 'dense' needs embed and vector"),
    ],
)
def test_names_that_are_wrong(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        open_retriever(spec)
    assert "secret" not in str(error.value)


def test_candidates_can_be_reranked(client: Elasticsearch) -> None:
    ranking = Reranker().rank(QUERY, retriever(client, embed=embed)(QUERY, 10))
    assert ranking[0].id == "heat"
    statuses = {hit.id: hit.status for hit in ranking}
    assert statuses["empty"] == "not_text" and statuses["boiler"] == "ok"


def test_two_stages(client: Elasticsearch, peer: SearchEnginePeer) -> None:
    with TwoStage(retriever(client, embed=embed)) as stages:
        ranking = stages.search(QUERY, top_n=2)
        assert [hit.id for hit in ranking] == ["heat", "boiler"]
        assert ranking[0].first_stage_rank == 1 and ranking[0].first_stage_score == 2 / 61
        assert ranking[0].metadata["author"] == DOCUMENTS["heat"]["author"]
        assert not ranking.receipt.partial and ranking.receipt.depth == 4
        assert stages.name == "hybrid of Elasticsearch index docs"
        peer.refusal = BUSY
        with pytest.raises(ApiError, match="es_rejected_execution_exception"):
            stages.search(QUERY)


def test_two_stages_with_a_slow_server(peer: SearchEnginePeer) -> None:
    def slow(request: Any) -> Answer | None:
        time.sleep(1)
        return None

    async def search() -> list[Any]:
        async with AsyncElasticsearch(peer.url, max_retries=0) as client:
            with TwoStage(retriever(client, embed=embed)) as stages:
                stages.load()
                quick = await stages.asearch(QUERY, budget_ms=20_000)
                peer.fault = slow
                return [quick, await stages.asearch(QUERY, budget_ms=100)]

    quick, late = asyncio.run(search())
    assert [hit.id for hit in quick][:2] == ["heat", "boiler"] and not quick.receipt.partial
    assert len(late) == 0 and late.receipt.partial
    assert late.receipt.reason == "time was up before the first stage answered"


def test_a_misspelt_field_is_told_until_a_document_has_it(
    client: Elasticsearch, peer: SearchEnginePeer
) -> None:
    for mode in ("lexical", "hybrid"):
        stage = retriever(client, text="bodi", search_fields=["body"], embed=embed, mode=mode)
        with pytest.raises(
            InputError, match=r"text='bodi': none of the . documents .* author, body"
        ):
            stage(QUERY, 2)
    with pytest.raises(InputError, match="id='key': none"):
        retriever(client, id="key")(QUERY, 2)
    stage = retriever(client)
    stage(QUERY, 3)
    peer.indexes["docs"] = {"x": {"title": "heat"}}
    assert [hit.text for hit in stage(QUERY, 3)] == [None]


WHOLE: dict[str, Any] = {"timed_out": False, "_shards": {"failed": 0}, "hits": {"hits": []}}


@pytest.mark.parametrize(
    "body",
    [{"responses": None}, {}, {"responses": []}, {"responses": [WHOLE]}, {"responses": [WHOLE] * 3},
     {"responses": [WHOLE, None]}, {"responses": [WHOLE, {}]},
     {"responses": [WHOLE, {"hits": None}]}, {"responses": [WHOLE, {"hits": {"hits": [None]}}]},
     {"responses": [WHOLE, {"hits": {"hits": [{"_source": {}}]}}]}],
)  # fmt: skip
def test_responses_that_do_not_fit_the_searches(
    client: Elasticsearch, peer: SearchEnginePeer, body: Any
) -> None:
    peer.fault = lambda request: _json(body)
    with pytest.raises(StoreError, match=r"Elasticsearch: .*expected|Elasticsearch: a response"):
        retriever(client, embed=embed)(QUERY, 3)


@pytest.mark.parametrize("body", [{}, {"hits": None}, {"hits": {"hits": None}}])
def test_a_response_without_hits(client: Elasticsearch, peer: SearchEnginePeer, body: Any) -> None:
    peer.fault = lambda request: _json(body)
    with pytest.raises(StoreError, match="expected a response with hits"):
        retriever(client)(QUERY, 3)


def test_a_question_with_a_lone_surrogate(client: Elasticsearch) -> None:
    asked = []

    def embeds(query: str) -> list[float]:
        asked.append(query)
        return [1.0, 0.0]

    stage = retriever(client, embed=embeds)
    assert ids(stage("house \ud800", 1)) == ["heat"]
    assert ids(asyncio.run(stage.aretrieve("house \ud800", 1))) == ["heat"]
    assert asked == ["house \ufffd"] * 2
