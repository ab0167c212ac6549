"""Voyage's API: its schema, its words, its limits, and nothing ranked where nothing may be cut."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from resift import Overloaded, Reranker, StoreError
from resift.serve.dialects import voyage
from resift.serve.problems import Kind, Problem
from resift.serve.service import Service
from serve.dialects.asking import client_of, raising

DOCUMENTS = ["The office is closed.", "Choose Settings and press Reset password.", "Salted hashes."]
QUERY = "reset my password"


@pytest.fixture(scope="module")
def client(service: Service) -> TestClient:
    return client_of(service, voyage.router)


def ask(client: TestClient, **fields: Any) -> Any:
    """The response; a field of None is left out."""
    body = {"model": "bundled", "query": QUERY, "documents": DOCUMENTS, **fields}
    body = {name: value for name, value in body.items() if value is not None}
    return client.post("/v1/rerank", json=body)


def test_an_answer_has_voyages_schema(client: TestClient, in_one_runtime: Reranker) -> None:
    expected = in_one_runtime.rank(QUERY, DOCUMENTS)
    assert ask(client).json() == {
        "object": "list",
        "data": [{"index": hit.index, "relevance_score": hit.score} for hit in expected],
        "model": "bundled",
        "usage": {"total_tokens": expected.receipt.tokens},
    }


def test_documents_come_back_as_strings_if_asked(client: TestClient) -> None:
    data = ask(client, return_documents=True).json()["data"]
    assert {entry["index"]: entry["document"] for entry in data} == dict(enumerate(DOCUMENTS))


def test_top_k_is_how_many_come_back(client: TestClient) -> None:
    assert [entry["index"] for entry in ask(client, top_k=1).json()["data"]] == [1]
    body = {"model": "bundled", "query": QUERY, "documents": DOCUMENTS, "top_k": None}
    assert len(client.post("/v1/rerank", json=body).json()["data"]) == 3


def test_without_truncation_a_long_text_is_an_error_and_nothing_is_ranked(
    client: TestClient, service: Service
) -> None:
    long = [*DOCUMENTS, "word " * 600]
    assert len(ask(client, documents=long).json()["data"]) == 4
    assert len(ask(client, documents=long, truncation=True).json()["data"]) == 4
    assert ask(client, truncation=False).status_code == 200
    seen: list[Any] = []
    observed = Service(
        service.models, {}, service.admission, observe=lambda *told: seen.append(told)
    )
    response = ask(client_of(observed, voyage.router), documents=long, truncation=False)
    assert response.status_code == 400 and not seen
    assert response.json() == {
        "detail": "Request to model 'bundled' failed. The example at index 3 in your batch has too "
        "many tokens and does not fit into the model's context window of 512 tokens. Please lower "
        "the number of tokens in the listed example(s) or use truncation."
    }


def test_a_query_is_never_cut(client: TestClient) -> None:
    for truncation in (True, False):
        response = ask(client, query="reset " * 600, truncation=truncation)
        assert response.status_code == 400 and "the query is never cut" in response.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"documents": []}, "documents cannot be an empty list."),
        ({"documents": ["a", ""]}, "documents[1]: documents cannot contain empty strings."),
        (
            {"documents": ["a"] * 1_001},
            "documents has 1,001 texts; at most 1,000 are accepted.",
        ),
        ({"query": " "}, "query: empty; enter what to look for"),
        ({"query": ""}, "query='': String should have at least 1 character"),
        (
            {"model": "rerank-2.5"},
            "Model rerank-2.5 is not supported. Supported models are ['bundled', 'second'].",
        ),
        ({"model": None}, "model: Field required"),
        (
            {"documents": [{"text": "a"}]},
            "documents.0={'text': 'a'}: Input should be a valid string",
        ),
        ({"top_k": 0}, "top_k=0: Input should be greater than or equal to 1"),
        ({"truncation": "no"}, "truncation='no': Input should be a valid boolean"),
        ({"timeout": 0}, "timeout=0: Input should be greater than 0"),
    ],
)
def test_a_body_is_refused_with_400_and_a_detail(
    client: TestClient, fields: dict[str, Any], detail: str
) -> None:
    response = ask(client, **fields)
    assert (response.status_code, response.json()) == (400, {"detail": detail})


STATUS = {
    Kind.malformed: 400,
    Kind.invalid: 400,
    Kind.empty: 400,
    Kind.too_long: 400,
    Kind.unauthorized: 401,
    Kind.forbidden: 403,
    Kind.unknown_model: 400,
    Kind.not_found: 404,
    Kind.wrong_method: 405,
    Kind.too_slow: 408,
    Kind.too_large: 413,
    Kind.overloaded: 429,
    Kind.failed: 500,
    Kind.unavailable: 503,
}


@pytest.mark.parametrize("kind", Kind)
def test_every_problem_has_a_status_and_a_detail(kind: Kind) -> None:
    response = voyage.DIALECT.response(Problem(kind, "what is wrong", retry_after_s=1.2))
    detail = "what is wrong" if kind is not Kind.unauthorized else "Provided API key is invalid."
    assert response.status_code == STATUS[kind] and response.headers["retry-after"] == "2"
    assert bytes(response.body).decode() == f'{{"detail":"{detail}"}}'


def test_faults_of_the_service_are_voyages_too(service: Service) -> None:
    for error, kind in (
        (Overloaded(5_000, 2.5), Kind.overloaded),
        (StoreError("the index cannot be read"), Kind.unavailable),
        (RuntimeError("secret"), Kind.failed),
    ):
        response = ask(client_of(raising(service, error), voyage.router))
        assert response.status_code == STATUS[kind] and list(response.json()) == ["detail"]
        assert "secret" not in response.text
        assert response.headers.get("retry-after") == ("3" if kind is Kind.overloaded else None)


def test_every_status_is_in_the_description(client: TestClient) -> None:
    responses = client.get("/openapi.json").json()["paths"]["/v1/rerank"]["post"]["responses"]
    assert {int(status) for status in responses} >= {200, *STATUS.values()} - {403, 405}
