"""Proves that Amazon S3 Vectors is a first stage, with the real boto3, against a strict peer.

Vector, full-text and hybrid queries have the form of the service's model; pages are read to the
end; distances become scores that grow with relevance; errors are boto3's own.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("boto3")

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from resift import Reranker
from resift.errors import InputError, StoreError
from resift.retrievers.names import open_retriever
from resift.retrievers.s3_vectors import S3VectorsRetriever
from retrievers.s3_vectors_peer import Refused, S3VectorsPeer
from storage.peer import Answer, running

DOCUMENTS: dict[str, tuple[list[float], dict[str, Any]]] = {
    "heat": ([1.0, 0.0], {"body": "A heat pump moves heat.", "title": "Heat", "lang": "en"}),
    "boiler": ([0.8, 0.6], {"body": "A boiler burns gas.", "lang": "en", "tags": ["a", "b"]}),
    "tides": ([0.0, 1.0], {"body": "The moon pulls the sea."}),
    "bare": ([-1.0, 0.0], {}),
}
ARN = "arn:aws:s3vectors:us-east-1:123456789012:bucket/bucket/index/index"


@pytest.fixture
def peer() -> Iterator[S3VectorsPeer]:
    peer = S3VectorsPeer()
    peer.vectors = {key: (list(vector), dict(data)) for key, (vector, data) in DOCUMENTS.items()}
    with running(peer):
        yield peer


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def connect(url: str, **options: Any) -> Any:
    config = Config(retries={"max_attempts": 0}, connect_timeout=2, read_timeout=5)
    return boto3.client("s3vectors", endpoint_url=url, config=config, **options)


@pytest.fixture
def client(peer: S3VectorsPeer, credentials: None) -> Any:
    return connect(peer.url)


def embed(query: str) -> list[float]:
    return {"heat": [1.0, 0.0], "nothing": [0.0, 0.0]}.get(query, [0.0, 1.0])


def retriever(client: Any, **options: Any) -> S3VectorsRetriever:
    fields: dict[str, Any] = {"text": "body", "title": "title", "embed": embed}
    return S3VectorsRetriever(client, "bucket", "index", **(fields | options))


def ids(candidates: list[Any]) -> list[str]:
    return [candidate.id for candidate in candidates]


def test_dense_reads_all_pages(client: Any, peer: S3VectorsPeer) -> None:
    candidates = retriever(client)("heat", 3)
    assert ids(candidates) == ["heat", "boiler", "tides"]
    assert [hit.rank for hit in candidates] == [1, 2, 3]
    assert [hit.score for hit in candidates] == [1.0, pytest.approx(0.8), 0.0]
    assert [request.get("nextToken") for request in peer.requests] == [None, "2"]
    assert {str(request | {"nextToken": None}) for request in peer.requests} == {
        str(peer.requests[0] | {"nextToken": None})
    }
    assert ids(retriever(client)("heat", 100)) == ["heat", "boiler", "tides", "bare"]


def test_metadata(client: Any) -> None:
    heat, boiler, _, bare = retriever(client)("heat", 4)
    assert (heat.title, heat.text) == ("Heat", "A heat pump moves heat.")
    assert heat.metadata == {"lang": "en"}
    assert boiler.metadata == {"lang": "en", "tags": ["a", "b"]} and boiler.title == ""
    assert bare.text is None and bare.metadata == {}
    (heat,) = retriever(client, metadata=["title"])("heat", 1)
    assert heat.metadata == {"title": "Heat"}
    ranking = Reranker().rank("heat", retriever(client)("heat", 4))
    assert {hit.id: hit.status for hit in ranking}["bare"] == "not_text"


def test_a_euclidean_index(client: Any, peer: S3VectorsPeer) -> None:
    peer.metric = "euclidean"
    scores = [hit.score for hit in retriever(client)("heat", 4)]
    assert scores[0] == 0.0 and scores[-1] == -2.0
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]


def test_full_text_and_hybrid(client: Any, peer: S3VectorsPeer) -> None:
    peer.searchable = {"body", "title"}
    lexical = retriever(client, mode="lexical", search_fields=["body", "title"])
    assert [(hit.id, hit.score) for hit in lexical("the heat", 5)] == [
        ("heat", 2.0),
        ("tides", 1.0),
    ]
    hybrid = retriever(client, search_fields=["body"])
    assert hybrid.mode == "hybrid" and hybrid.name == "hybrid of S3 Vectors index bucket/index"
    candidates = hybrid("heat", 3)
    assert ids(candidates)[0] == "heat" and candidates[0].score == pytest.approx(2 / 61)
    request = peer.requests[-1]
    assert request["queryTexts"] == [{"text": "heat", "metadataKey": "body"}]
    assert request["queryVector"] == {"float32": [1.0, 0.0]}


def test_a_long_query_is_cut_for_full_text_only(client: Any, peer: S3VectorsPeer) -> None:
    peer.searchable = {"body"}
    retriever(client, search_fields=["body"])("moon " * 500, 1)
    retriever(client, search_fields=["body"])("x" * 5000, 1)
    words, letters = (request["queryTexts"][0]["text"] for request in peer.requests)
    assert words == " ".join(["moon"] * 204) and len(letters) == 1024


def test_a_zero_vector(client: Any, peer: S3VectorsPeer) -> None:
    assert retriever(client)("nothing", 3) == [] and peer.requests == []
    peer.searchable = {"body"}
    assert retriever(client, search_fields=["body"])("nothing", 3) == []
    assert "queryVector" not in peer.requests[0]


def test_a_filter_and_an_arn(client: Any) -> None:
    by_arn = S3VectorsRetriever(
        client, index_arn=ARN, text="body", embed=embed, where={"lang": "en"}
    )
    assert ids(by_arn("heat", 4)) == ["heat", "boiler"]


def test_errors_are_boto3s(client: Any, peer: S3VectorsPeer) -> None:
    for status, kind in ((503, "ServiceUnavailableException"), (429, "TooManyRequestsException")):
        peer.refusal = Refused(status, kind, "slow down")
        with pytest.raises(ClientError, match=f"{kind}.*slow down") as error:
            retriever(client)("heat", 3)
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    peer.refusal = None
    with pytest.raises(ClientError, match="Invalid query vector dimension: 3"):
        retriever(client, embed=lambda query: [1, 2, 3])("heat", 3)
    with pytest.raises(ClientError, match="no text search configuration"):
        retriever(client, search_fields=["lang"])("heat", 3)
    with pytest.raises(ClientError, match="NotFoundException"):
        S3VectorsRetriever(client, "bucket", "other", embed=embed)("heat", 3)
    with pytest.raises(EndpointConnectionError):
        retriever(connect("http://127.0.0.1:9"))("heat", 3)


def test_without_credentials(peer: S3VectorsPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "none")
    session = boto3.Session()
    client = session.client("s3vectors", endpoint_url=peer.url, region_name="us-east-1")
    with pytest.raises(NoCredentialsError):
        retriever(client)("heat", 3)
    unsigned = Config(signature_version=UNSIGNED)
    client = boto3.client(
        "s3vectors", endpoint_url=peer.url, region_name="us-east-1", config=unsigned
    )
    with pytest.raises(ClientError, match="not signed"):
        retriever(client)("heat", 3)


def test_pages_that_do_not_end(client: Any, peer: S3VectorsPeer) -> None:
    body = b'{"vectors": [], "distanceMetric": "cosine", "nextToken": "0"}'
    peer.fault = lambda request: Answer(200, {"Content-Type": "application/json"}, body)
    with pytest.raises(StoreError, match="one page came twice"):
        retriever(client)("heat", 3)


def test_no_page_is_read_that_is_not_needed() -> None:
    class Endless:
        pages = 0

        def query_vectors(self, **arguments: Any) -> Any:
            self.pages += 1
            assert self.pages < 5
            vectors = [{"key": f"{self.pages}-{n}", "metadata": {"body": "x"}} for n in range(2)]
            return {"vectors": vectors, "distanceMetric": "cosine", "nextToken": str(self.pages)}

    endless = Endless()
    assert ids(retriever(endless)("heat", 3)) == ["1-0", "1-1", "2-0"] and endless.pages == 2


def test_in_an_event_loop(client: Any) -> None:
    assert ids(asyncio.run(retriever(client).aretrieve("heat", 3))) == ["heat", "boiler", "tides"]

    class Asynchronous:
        async def query_vectors(self, **arguments: Any) -> Any:
            return client.query_vectors(**arguments)

    stage = retriever(Asynchronous())
    assert ids(asyncio.run(stage.aretrieve("heat", 3))) == ["heat", "boiler", "tides"]
    with pytest.raises(InputError, match="cannot be awaited in a thread"):
        stage("heat", 3)


def test_by_name(peer: S3VectorsPeer, credentials: None) -> None:
    peer.searchable = {"body"}
    spec = f"s3-vectors:bucket/index?text=body&search_fields=body&endpoint={peer.url}&metadata=lang"
    opened = open_retriever(spec)
    (hit,) = opened("heat", 3)
    assert hit.id == "heat" and hit.metadata == {"lang": "en"}  # type: ignore[union-attr]
    opened.close()  # type: ignore[attr-defined]


def test_arguments(client: Any) -> None:
    incomplete: list[dict[str, Any]] = [{"bucket": "b"}, {"index": "i", "index_arn": ARN}, {}]
    for names in incomplete:
        with pytest.raises(InputError, match="expected bucket and index, or index_arn"):
            S3VectorsRetriever(client, embed=embed, **names)
    with pytest.raises(InputError, match="nothing to search with: give embed"):
        S3VectorsRetriever(client, "b", "i")
    with pytest.raises(InputError, match="mode 'hybrid' needs search_fields"):
        retriever(client, mode="hybrid")
    with pytest.raises(InputError, match="expected s3-vectors:BUCKET/INDEX"):
        open_retriever("s3-vectors:bucket")


def test_a_misspelt_field_is_told_until_a_document_has_it(client: Any, peer: S3VectorsPeer) -> None:
    with pytest.raises(InputError, match=r"text='bodi': none of the 3 documents .* body, lang"):
        retriever(client, text="bodi")("heat", 3)
    stage = retriever(client)
    stage("heat", 3)
    peer.vectors = {"bare": ([1.0, 0.0], {})}
    assert [hit.text for hit in stage("heat", 3)] == [None]


def test_a_question_with_a_lone_surrogate(client: Any) -> None:
    assert ids(retriever(client)("heat\udfff", 1)) == ["tides"]
