"""Cohere's v2 and v1: its schemas and its words; nothing of a document that it does not read."""

from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from resift import Overloaded, Reranker, StoreError
from resift.serve.dialects import cohere
from resift.serve.problems import Kind, Problem
from resift.serve.service import Service
from serve.dialects.asking import client_of, raising

DOCUMENTS = ["The office is closed.", "Choose Settings and press Reset password.", "Salted hashes."]
QUERY = "reset my password"
V1, V2 = "/v1/rerank", "/v2/rerank"


@pytest.fixture(scope="module")
def client(service: Service) -> TestClient:
    return client_of(service, cohere.v1_router, cohere.v2_router)


def ask(client: TestClient, path: str = V2, **fields: Any) -> Any:
    """The response; a field of None is left out."""
    body = {"model": "bundled", "query": QUERY, "documents": DOCUMENTS, **fields}
    return client.post(
        path, json={name: value for name, value in body.items() if value is not None}
    )


def indices(response: Any) -> list[int]:
    return [result["index"] for result in response.json()["results"]]


def test_an_answer_of_v2_has_cohere_s_schema(client: TestClient, in_one_runtime: Reranker) -> None:
    answer = ask(client).json()
    expected = in_one_runtime.rank(QUERY, DOCUMENTS)
    assert list(answer) == ["id", "results", "meta"] and UUID(answer["id"])
    assert answer["results"] == [
        {"index": hit.index, "relevance_score": hit.score} for hit in expected
    ]
    assert answer["meta"] == {
        "api_version": {"version": "2"},
        "billed_units": {"search_units": 1},
        "tokens": {"input_tokens": expected.receipt.tokens, "output_tokens": 0},
    }
    assert ask(client).json()["id"] != answer["id"]


def test_v2_returns_no_documents(client: TestClient) -> None:
    response = ask(client, return_documents=True, rank_fields=["title"])
    assert all(set(result) == {"index", "relevance_score"} for result in response.json()["results"])


def test_an_answer_of_v1_has_cohere_s_schema(client: TestClient) -> None:
    answer = ask(client, V1).json()
    assert answer["results"] == ask(client, V2).json()["results"]
    assert answer["meta"]["api_version"] == {"version": "1"}


def test_v1_returns_documents_as_objects_if_asked(client: TestClient) -> None:
    documents: list[Any] = [{"text": "The office.", "page": 3, "tags": ["a"]}, "Reset password."]
    results = ask(client, V1, documents=documents, return_documents=True).json()["results"]
    returned = {result["index"]: result["document"] for result in results}
    assert returned == {0: documents[0], 1: {"text": "Reset password."}}


def test_v1_reads_the_rank_fields_in_their_order(
    client: TestClient, in_one_runtime: Reranker
) -> None:
    documents = [
        {"title": "Office", "body": "It is closed.", "n": 7, "deep": {"a": [1]}},
        {"body": "Press Reset.", "title": None},
        {"other": "Reset password"},
        "text as such",
    ]
    fields = ["title", "n", "body", "deep"]
    results = ask(client, V1, documents=documents, rank_fields=fields).json()["results"]
    texts = ['Office\n7\nIt is closed.\n{"a":[1]}', "Press Reset.", "", "text as such"]
    expected = in_one_runtime.rank(QUERY, texts)
    assert results == [{"index": hit.index, "relevance_score": hit.score or 0} for hit in expected]
    assert results[-1] == {"index": 2, "relevance_score": 0}


def test_v1_needs_no_model_and_v2_does(client: TestClient) -> None:
    assert ask(client, V1, model=None).status_code == 200
    response = ask(client, V2, model=None)
    assert response.status_code == 400 and response.json() == {"message": "model: Field required"}
    for path in (V1, V2):
        assert ask(client, path, model="second").status_code == 200


@pytest.mark.parametrize("most", [1, 3, None])
def test_tokens_beyond_the_limit_are_not_read(client: TestClient, most: int | None) -> None:
    filler = "the office is closed on sundays "
    documents = [filler + "reset my password", filler + "nothing of the kind"]
    first, second = ask(client, documents=documents, max_tokens_per_doc=most).json()["results"]
    cut = most is not None
    assert (first["relevance_score"] == second["relevance_score"]) == cut
    assert first["index"] == 0


def test_chunks_of_v1_are_windows(client: TestClient) -> None:
    text = "The office is closed on sundays. " * 200 + "Press Reset password under Settings."
    (cut,) = ask(client, V1, documents=[text]).json()["results"]
    single = ask(client, V1, documents=[text], max_chunks_per_doc=1).json()
    many = ask(client, V1, documents=[text], max_chunks_per_doc=9).json()
    two = ask(client, V1, documents=[text], max_chunks_per_doc=2).json()
    assert single["results"] == [cut] and single["meta"]["warnings"] == [
        "1 of 1 documents were cut"
    ]
    assert many["results"][0]["relevance_score"] > 100 * cut["relevance_score"]
    assert two["results"][0]["relevance_score"] < many["results"][0]["relevance_score"]


def test_search_units_are_hundreds_of_documents(client: TestClient) -> None:
    for count, units in ((1, 1), (100, 1), (101, 2)):
        meta = ask(client, documents=["text"] * count).json()["meta"]
        assert meta["billed_units"] == {"search_units": units}


def test_warnings_say_what_the_scores_do_not(client: TestClient) -> None:
    response = ask(client, documents=[*DOCUMENTS, "", "word " * 900])
    notes = ["1 of 5 documents were cut", "1 of 5 documents have no text"]
    assert response.json()["meta"]["warnings"] == notes
    assert response.headers["x-notes"] == "; ".join(notes)


def test_late_documents_have_the_score_0(client: TestClient) -> None:
    texts = [f"{number} " + "the office is closed " * 80 for number in range(1_000)]
    response = ask(client, documents=texts, timeout=0.1)
    results = response.json()["results"]
    assert len(results) == 1_000 and results[-1]["relevance_score"] == 0
    assert "time was up" in response.headers["x-partial"]
    assert "time was up" in response.json()["meta"]["warnings"][0]


@pytest.mark.parametrize("path", [V1, V2])
@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"documents": []}, 400, "invalid request: list of documents must not be empty"),
        ({"query": ""}, 400, "invalid request: query must not be empty or be only whitespace"),
        ({"query": " \n"}, 400, "invalid request: query must not be empty or be only whitespace"),
        (
            {"model": "rerank-v3.5"},
            404,
            "model 'rerank-v3.5' not found, make sure the correct model ID was used and that you "
            "have access to the model. (this server has ['bundled', 'second'])",
        ),
        ({"query": 5}, 400, "query=5: Input should be a valid string"),
        ({"documents": "text"}, 400, "documents='text': Input should be a valid list"),
        ({"top_n": 0}, 400, "top_n=0: Input should be greater than or equal to 1"),
        ({"top_n": "3"}, 400, "top_n='3': Input should be a valid integer"),
        ({"top_n": True}, 400, "top_n=True: Input should be a valid integer"),
        ({"timeout": 0}, 400, "timeout=0: Input should be greater than 0"),
        ({"timeout": "5"}, 400, "timeout='5': Input should be a valid number"),
    ],
)
def test_a_body_is_refused_in_cohere_s_words(
    client: TestClient, path: str, fields: dict[str, Any], status: int, message: str
) -> None:
    response = ask(client, path, **fields)
    assert (response.status_code, response.json()) == (status, {"message": message})


def test_each_version_refuses_what_is_no_document_of_it(client: TestClient) -> None:
    for path, odd, message in (
        (V2, {"text": "a"}, "documents.1={'text': 'a'}: Input should be a valid string"),
        (V2, None, "documents.1=None: Input should be a valid string"),
        (V1, 5, "documents.1=5: expected text, or an object"),
        (
            V1,
            {"title": "a"},
            "invalid request: required 'text' param is missing or empty. (documents[1])",
        ),
    ):
        response = ask(client, path, documents=["a", odd])
        assert (response.status_code, response.json()) == (400, {"message": message})


def test_v1_refuses_no_fields_and_too_many_chunks(client: TestClient) -> None:
    for fields, message in (
        (
            {"rank_fields": []},
            "invalid request: rank_fields cannot be empty, it must either contain at least one "
            "field or be omitted",
        ),
        (
            {"max_chunks_per_doc": 5_000},
            "invalid request: number of total max chunks (number of documents * max chunks per "
            "doc) must be less than 10000",
        ),
    ):
        response = ask(client, V1, **fields)
        assert (response.status_code, response.json()) == (400, {"message": message})


def test_unknown_fields_are_ignored(client: TestClient) -> None:
    response = ask(client, documents=DOCUMENTS, top_k=1, priority=7, return_documents="yes")
    assert response.status_code == 200 and len(indices(response)) == 3


STATUS = {
    Kind.malformed: 400,
    Kind.invalid: 400,
    Kind.empty: 400,
    Kind.too_long: 400,
    Kind.unauthorized: 401,
    Kind.forbidden: 403,
    Kind.unknown_model: 404,
    Kind.not_found: 404,
    Kind.wrong_method: 405,
    Kind.too_slow: 408,
    Kind.too_large: 413,
    Kind.overloaded: 429,
    Kind.failed: 500,
    Kind.unavailable: 503,
}


@pytest.mark.parametrize("kind", Kind)
def test_every_problem_has_a_status_and_a_message(kind: Kind) -> None:
    response = cohere.DIALECT.response(Problem(kind, "what is wrong", retry_after_s=1.2))
    message = "invalid api token" if kind is Kind.unauthorized else "what is wrong"
    assert response.status_code == STATUS[kind]
    assert bytes(response.body).decode() == f'{{"message":"{message}"}}'
    assert response.headers["retry-after"] == "2"


def test_faults_of_the_service_are_cohere_s_too(service: Service) -> None:
    for error, status in (
        (Overloaded(5_000, 2.5), 429),
        (StoreError("the index cannot be read"), 503),
        (RuntimeError("secret"), 500),
    ):
        response = ask(client_of(raising(service, error), cohere.v1_router, cohere.v2_router))
        assert response.status_code == status and list(response.json()) == ["message"]
        assert "secret" not in response.text
    assert (
        ask(
            client_of(raising(service, Overloaded(5_000, 2.5)), cohere.v1_router, cohere.v2_router)
        ).headers["retry-after"]
        == "3"
    )


def test_every_status_is_in_the_description(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in (V1, V2):
        responses = paths[path]["post"]["responses"]
        assert {int(status) for status in responses} >= {200, *STATUS.values()} - {403, 405}
