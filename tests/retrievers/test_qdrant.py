"""Proves that Qdrant is a first stage, with its real clients in their local mode.

Dense and sparse vectors, a text index with BM25, and two of them fused by Qdrant in one request;
filters, thresholds, payload fields and ids; the asynchronous client; the client's own errors. What
a server gets over HTTP is shown by a stand-in that only records.
"""

import asyncio
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

pytest.importorskip("qdrant_client")

from qdrant_client import AsyncQdrantClient, QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from resift import Reranker
from resift.errors import InputError
from resift.retrievers.names import open_retriever
from resift.retrievers.qdrant import QdrantRetriever
from storage.peer import Answer, Peer, Request, running

pytestmark = pytest.mark.filterwarnings(
    "ignore:Payload indexes have no effect:UserWarning",
    "ignore:.*insecure connection.*:UserWarning",
)

UUID = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
WORDS = {"heat": 1, "pump": 2, "moon": 3}
POINTS = [
    (1, [1.0, 0.0], {"heat": 1.0, "pump": 1.0}, {"body": "A heat pump moves heat.", "title": "Heat",
        "author": {"name": "Ada", "tags": ["home"]}, "lang": "en", "key": "k1"}),
    (2, [0.8, 0.6], {"heat": 0.5}, {"body": ["Boilers.", "They burn gas to heat."], "lang": "en"}),
    (UUID, [0.0, 1.0], {"moon": 1.0}, {"body": "The moon pulls the sea."}),
    (4, [-1.0, 0.0], {"moon": 0.1}, {"lang": "en"}),
]  # fmt: skip


def sparse(query: str) -> dict[int, float]:
    return {WORDS[word]: 1.0 for word in query.split() if word in WORDS}


def embed(query: str) -> list[float]:
    return {"heat pump": [1.0, 0.0], "nothing": [0.0, 0.0]}.get(query, [0.0, 1.0])


def points() -> list[Any]:
    return [
        models.PointStruct(
            id=id_,
            vector={
                "dense": vector,
                "words": models.SparseVector(
                    indices=[WORDS[word] for word in words], values=list(words.values())
                ),
            },
            payload=payload,
        )
        for id_, vector, words, payload in POINTS
    ]


CONFIG: dict[str, Any] = {
    "vectors_config": {"dense": models.VectorParams(size=2, distance=models.Distance.COSINE)},
    "sparse_vectors_config": {"words": models.SparseVectorParams()},
}
TEXT_INDEX = models.TextIndexParams(
    type=models.TextIndexType.TEXT, scoring=models.TextScoringParams(type="bm25")
)


def fill(client: Any) -> Any:
    client.create_collection("docs", **CONFIG)
    client.upsert("docs", points())
    client.create_payload_index("docs", "body", TEXT_INDEX)
    return client


@pytest.fixture
def client() -> Iterator[Any]:
    client = fill(QdrantClient(":memory:"))
    yield client
    client.close()


def retriever(client: Any, **options: Any) -> QdrantRetriever:
    fields: dict[str, Any] = {"text": "body", "title": "title", "embed": embed, "vector": "dense"}
    return QdrantRetriever(client, "docs", **(fields | options))


def lexical(client: Any, **options: Any) -> QdrantRetriever:
    return retriever(client, **({"sparse_embed": sparse, "sparse_vector": "words"} | options))


def ids(candidates: list[Any]) -> list[str]:
    return [candidate.id for candidate in candidates]


def test_dense(client: Any) -> None:
    candidates = retriever(client)("heat pump", 3)
    assert ids(candidates) == ["1", "2", UUID]
    assert [hit.rank for hit in candidates] == [1, 2, 3]
    assert [hit.score for hit in candidates] == pytest.approx([1.0, 0.8, 0.0])
    assert all(type(hit.score) is float for hit in candidates)
    assert retriever(client).name == "dense of Qdrant collection docs"


def test_payload_fields(client: Any) -> None:
    heat, boiler, _, bare = retriever(client)("heat pump", 4)
    assert (heat.title, heat.text) == ("Heat", "A heat pump moves heat.")
    author = {"name": "Ada", "tags": ["home"]}
    assert heat.metadata == {"author": author, "lang": "en", "key": "k1"}
    assert boiler.text == "Boilers.\nThey burn gas to heat."
    assert bare.text is None and bare.metadata == {"lang": "en"}
    options: dict[str, Any] = {"metadata": ["author.name", "lang"], "id": "key"}
    heat, boiler = retriever(client, **options)("heat pump", 2)
    assert heat.metadata == {"author.name": "Ada", "lang": "en"} and heat.id == "k1"
    assert boiler.metadata == {"lang": "en"} and boiler.id == "2"
    ranking = Reranker().rank("heat pump", retriever(client)("heat pump", 4))
    assert {hit.id: hit.status for hit in ranking}["4"] == "not_text"


def test_sparse_vectors(client: Any) -> None:
    class Embedding:
        indices, values = np.array([1, 2]), np.array([1.0, 1.0])

    for encode in (sparse, lambda query: Embedding(), _as_model):
        stage = lexical(client, sparse_embed=encode, mode="lexical")
        assert [(hit.id, hit.score) for hit in stage("heat pump", 3)] == [("1", 2.0), ("2", 0.5)]
    assert lexical(client, mode="lexical")("unknown words", 3) == []


def _as_model(query: str) -> Any:
    return models.SparseVector(indices=[1, 2], values=[1.0, 1.0])


def test_a_filter_holds_for_both_lists_before_they_are_fused(client: Any) -> None:
    more = [
        models.PointStruct(
            id=id_,
            vector={"dense": [1.0, 0.0], "words": models.SparseVector(indices=[3], values=[2.0])},
            payload={"body": "Moon."},
        )
        for id_ in range(10, 20)
    ]
    client.upsert("docs", more)
    english = models.FieldCondition(key="lang", match=models.MatchValue(value="en"))
    stage = lexical(client, embed=lambda query: [1.0, 0.0], where=models.Filter(must=[english]))
    assert stage.mode == "hybrid" and ids(stage("moon", 2)) == ["4", "1"]


def test_a_text_index(client: Any) -> None:
    stage = QdrantRetriever(client, "docs", text="body", text_index="body")
    assert stage.mode == "lexical"
    assert ids(stage("What (heat) AND pump?", 5)) == ["1", "2"]
    with pytest.raises(ValueError, match="needs a text index with `scoring`"):
        QdrantRetriever(client, "docs", text_index="title")("heat", 5)


@pytest.mark.parametrize("fusion", ["rrf", "dbsf"])
def test_hybrid_is_fused_by_qdrant(client: Any, fusion: Any) -> None:
    stage = lexical(client, fusion=fusion)
    assert stage.mode == "hybrid"
    assert ids(stage("heat pump", 3))[:2] == ["1", "2"]
    assert set(ids(stage("moon", 2))) == {UUID, "4"} or ids(stage("moon", 1)) == [UUID]
    by_text = retriever(client, text_index="body", fusion=fusion)
    assert by_text.mode == "hybrid" and ids(by_text("heat pump", 1)) == ["1"]


def test_what_one_search_alone_finds_is_in_hybrid(client: Any) -> None:
    stage = lexical(client)
    assert UUID in ids(stage("heat pump", 4))  # dense alone
    assert ids(stage("nothing", 4)) == []  # a zero vector and no known word
    mixed = lexical(client, embed=lambda query: [0.0, 0.0])
    assert ids(mixed("heat", 4)) == ["1", "2"]  # lexical alone


def test_a_filter_holds_for_all_searches(client: Any) -> None:
    where = models.Filter(
        must=[models.FieldCondition(key="author.tags", match=models.MatchValue(value="home"))]
    )
    for mode in ("dense", "lexical", "hybrid"):
        assert ids(lexical(client, where=where, mode=mode)("heat pump", 4)) == ["1"]


def test_thresholds(client: Any) -> None:
    assert ids(retriever(client, score_threshold=0.5)("heat pump", 4)) == ["1", "2"]
    assert ids(lexical(client, mode="lexical", score_threshold=1.0)("heat pump", 4)) == ["1"]
    assert ids(lexical(client, score_threshold=0.9)("heat pump", 4)) == ["1", "2"]


def test_multivectors_and_vectors_of_numpy(client: Any) -> None:
    config = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    params = models.VectorParams(size=2, distance=models.Distance.COSINE, multivector_config=config)
    client.create_collection("late", vectors_config=params)
    client.upsert(
        "late", [models.PointStruct(id=7, vector=[[1, 0], [0, 1]], payload={"text": "x"})]
    )
    matrix = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    (hit,) = QdrantRetriever(client, "late", embed=lambda query: matrix)("any", 3)
    assert hit.id == "7" and hit.score == pytest.approx(2.0)
    vector = np.array([1.0, 0.0], dtype=np.float32)
    assert ids(retriever(client, embed=lambda query: vector)("any", 1)) == ["1"]


def test_nothing_of_the_collection_changes(client: Any) -> None:
    (hit, *_) = retriever(client)("heat pump", 1)
    hit.metadata["author"]["name"] = "changed"
    (hit, *_) = retriever(client)("heat pump", 1)
    assert hit.metadata["author"]["name"] == "Ada"


def test_an_asynchronous_client() -> None:
    async def search() -> list[list[str]]:
        client = AsyncQdrantClient(":memory:")
        await client.create_collection("docs", **CONFIG)
        await client.upsert("docs", points())
        with pytest.raises(InputError, match="AsyncQdrantClient cannot be awaited in a thread"):
            retriever(client)("heat pump", 2)
        modes: Any = ("dense", "lexical", "hybrid")
        stages = [lexical(client, mode=mode) for mode in modes]
        lists = await asyncio.gather(*(stage.aretrieve("heat pump", 2) for stage in stages))
        await client.close()
        return [ids(candidates) for candidates in lists]

    assert asyncio.run(search()) == [["1", "2"]] * 3


def test_a_synchronous_client_in_an_event_loop(client: Any) -> None:
    assert ids(asyncio.run(retriever(client).aretrieve("heat pump", 1))) == ["1"]


def test_errors_are_the_clients(client: Any) -> None:
    with pytest.raises(ValueError, match="Collection other not found"):
        QdrantRetriever(client, "other", embed=embed)("moon", 1)
    with pytest.raises(ValueError, match="Dense vector nope is not found"):
        retriever(client, vector="nope")("moon", 1)


class RecordingPeer(Peer):
    """Answers a query of points as Qdrant's REST API does, always with one point."""

    def answer(self, request: Request) -> Answer:
        if request.path == "/":
            about = {"title": "qdrant", "version": version("qdrant-client")}
            return Answer(200, {"Content-Type": "application/json"}, json.dumps(about).encode())
        if request.path != "/collections/docs/points/query":
            return Answer(404, {"Content-Type": "application/json"}, b'{"status": {"error": "no"}}')
        point = {"id": 3, "version": 1, "score": 0.5, "payload": {"text": "From afar."}}
        body: Any = {"result": {"points": [point]}, "status": "ok", "time": 0.001}
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(body).encode())


@pytest.fixture
def server() -> Iterator[RecordingPeer]:
    peer = RecordingPeer()
    with running(peer):
        yield peer


def test_requests_over_http(server: RecordingPeer) -> None:
    client = QdrantClient(server.url, check_compatibility=False)
    stage = lexical(client, text="text", metadata=["lang"], title=None)
    (hit,) = stage("heat pump", 5)
    assert (hit.id, hit.text, hit.score) == ("3", "From afar.", 0.5)
    request = json.loads(server.seen[-1].body)
    assert request["query"] == {"fusion": "rrf"} and request["limit"] == 5
    assert request["with_payload"] == ["text", "lang"]
    words, dense = request["prefetch"]
    assert words["query"] == {"indices": [1, 2], "values": [1.0, 1.0]} and words["limit"] == 15
    assert dense["query"] == [1.0, 0.0] and dense["using"] == "dense"
    with pytest.raises(UnexpectedResponse, match="404"):
        QdrantRetriever(client, "other", embed=embed)("moon", 1)
    client.close()
    client = QdrantClient("http://127.0.0.1:9", check_compatibility=False)
    with pytest.raises(ResponseHandlingException):
        retriever(client)("moon", 1)
    client.close()


def test_inference_by_the_server(server: RecordingPeer) -> None:
    client = QdrantClient(server.url, check_compatibility=False, cloud_inference=True)
    stage = retriever(
        client, text="text", embed=lambda query: models.Document(text=query, model="e5")
    )
    assert ids(stage("heat pump", 1)) == ["3"]
    request = json.loads(server.seen[-1].body)
    assert request["query"] == {"nearest": {"text": "heat pump", "model": "e5"}}
    client.close()


def test_by_name(server: RecordingPeer, tmp_path: Path) -> None:
    where = quote(json.dumps({"must": [{"key": "lang", "match": {"value": "en"}}]}))
    spec = f"qdrant+{server.url}/docs?text_index=text&api_key=secret&where={where}"
    opened = open_retriever(spec)
    assert isinstance(opened, QdrantRetriever)
    (hit,) = opened("heat", 3)
    assert hit.text == "From afar." and server.seen[-1].headers["api-key"] == "secret"
    request = json.loads(server.seen[-1].body)
    assert request["query"] == {"text": "heat"} and request["filter"]["must"][0]["key"] == "lang"
    opened.close()
    fill(QdrantClient(path=str(tmp_path / "local"))).close()
    opened = open_retriever(
        f"qdrant:{tmp_path / 'local'}?collection=docs&text=body&text_index=body"
    )
    assert isinstance(opened, QdrantRetriever) and ids(opened("moon", 3)) == [UUID]
    opened.close()
    QdrantClient(path=str(tmp_path / "local")).close()  # its lock is free again


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("qdrant:folder", "needs the option collection"),
        ("qdrant+http://host:6333", "expected a URL such as"),
        ("qdrant+http://host/docs?where=secret", "where: expected a filter"),
        ("qdrant+http://host/docs?where=%7B%22secret%22%3A1%7D", "expected a filter of Qdrant's"),
        ("qdrant+http://host/docs?text=body", "nothing to search with: give embed"),
    ],
)
def test_names_that_are_wrong(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        open_retriever(spec)
    assert "secret" not in str(error.value)


def test_arguments(client: Any) -> None:
    with pytest.raises(InputError, match="nothing to search with: give embed"):
        QdrantRetriever(client, "docs")
    with pytest.raises(InputError, match="belong together"):
        retriever(client, sparse_embed=sparse)
    with pytest.raises(InputError, match="there is one lexical search"):
        lexical(client, text_index="body")
    with pytest.raises(InputError, match="mode 'lexical' needs sparse_embed and sparse_vector"):
        retriever(client, mode="lexical")
    with pytest.raises(InputError, match="fusion='mean': expected rrf, dbsf"):
        retriever(client, fusion="mean")
    with pytest.raises(InputError, match=r"sparse_embed: returned \[1\]"):
        lexical(client, sparse_embed=lambda query: [1])("moon", 1)
    with pytest.raises(InputError, match="embed: returned"):
        retriever(client, embed=lambda query: [[1.0], [None]])("moon", 1)


def test_a_misspelt_field_is_told(client: Any) -> None:
    with pytest.raises(
        InputError, match=r"text='bodi': none of the 2 documents .* author, body, key"
    ):
        retriever(client, text="bodi")("heat pump", 2)
    with pytest.raises(InputError, match="id='keys': none of the 2 documents"):
        retriever(client, id="keys")("heat pump", 2)
    stage = retriever(client)
    assert len(stage("heat pump", 4)) == 4
    assert stage._named._unseen == {}  # one of them has no text; the name is known


def test_weights_that_are_not_finite_are_told(client: Any) -> None:
    for weights in ({1: float("nan")}, {1: float("inf")}, {1: 10**400}):
        with pytest.raises(InputError, match="sparse_embed: returned"):
            lexical(client, sparse_embed=lambda query, weights=weights: weights)("moon", 1)


def test_a_question_with_a_lone_surrogate(server: RecordingPeer) -> None:
    client = QdrantClient(server.url, check_compatibility=False)
    stage = retriever(client, text="text", embed=None, text_index="text", vector=None)
    assert ids(stage("heat \udc00", 1)) == ["3"]
    assert json.loads(server.seen[-1].body)["query"] == {"text": "heat \ufffd"}
    client.close()
