"""Jina's API: its schema, its errors with a code, and text where others send images."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from resift import Overloaded, Reranker, StoreError
from resift.serve.dialects import jina
from resift.serve.problems import Kind, Problem
from resift.serve.service import Service
from serve.dialects.asking import client_of, raising

DOCUMENTS = ["The office is closed.", "Choose Settings and press Reset password.", "Salted hashes."]
QUERY = "reset my password"


@pytest.fixture(scope="module")
def client(service: Service) -> TestClient:
    return client_of(service, jina.router)


def ask(client: TestClient, **fields: Any) -> Any:
    """The response; a field of None is left out."""
    body = {"model": "bundled", "query": QUERY, "documents": DOCUMENTS, **fields}
    body = {name: value for name, value in body.items() if value is not None}
    return client.post("/v1/rerank", json=body)


def test_an_answer_has_jinas_schema(client: TestClient, in_one_runtime: Reranker) -> None:
    answer = ask(client, return_documents=False).json()
    expected = in_one_runtime.rank(QUERY, DOCUMENTS)
    assert list(answer) == ["model", "object", "usage", "results"]
    assert (answer["model"], answer["object"]) == ("bundled", "list")
    assert answer["usage"] == {"total_tokens": expected.receipt.tokens}
    assert answer["results"] == [
        {"index": hit.index, "relevance_score": hit.score} for hit in expected
    ]


def test_documents_come_back_as_objects_unless_refused(client: TestClient) -> None:
    mixed: list[Any] = [DOCUMENTS[0], {"text": DOCUMENTS[1]}, DOCUMENTS[2]]
    for fields in ({}, {"return_documents": True}):
        results = ask(client, documents=mixed, **fields).json()["results"]
        returned = {result["index"]: result["document"] for result in results}
        assert returned == {index: {"text": text} for index, text in enumerate(DOCUMENTS)}
    for result in ask(client, return_documents=False).json()["results"]:
        assert "document" not in result


def test_texts_and_objects_with_text_are_the_same(client: TestClient) -> None:
    objects = [{"text": text} for text in DOCUMENTS]
    plain = ask(client).json()
    assert ask(client, query={"text": QUERY}, documents=objects).json() == plain


def test_a_document_is_read_up_to_its_longest_length(client: TestClient) -> None:
    filler = "the office is closed on sundays "
    documents = [filler + "reset my password", filler + "nothing of the kind"]
    for most, same in ((3, True), (20, False)):
        first, second = ask(client, documents=documents, max_doc_length=most).json()["results"]
        assert (first["relevance_score"] == second["relevance_score"]) == same


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"query": " "}, ["query"], "query: empty; enter what to look for"),
        ({"documents": []}, ["documents"], "documents: expected at least one document"),
        ({"documents": "a"}, ["documents"], "documents='a': Input should be a valid list"),
        ({"top_n": 0}, ["top_n"], "top_n=0: Input should be greater than or equal to 1"),
        ({"top_n": "3"}, ["top_n"], "top_n='3': Input should be a valid integer"),
        ({"timeout": -1}, ["timeout"], "timeout=-1: Input should be greater than 0"),
        ({"model": None}, ["model"], "model: Field required"),
        (
            {"documents": ["a", {"image": "https://example.org/a.png"}]},
            ["documents", 1],
            "documents.1={'image': 'https://example.org/a.png'}: expected text, or an object with "
            '"text"; images cannot be read',
        ),
        (
            {"query": {"image": "iVBORw0KGgo"}},
            ["query"],
            "query={'image': 'iVBORw0KGgo'}: expected text, or an object with \"text\"; images "
            "cannot be read",
        ),
    ],
)
def test_a_body_that_is_not_valid_is_a_422_with_its_place(
    client: TestClient, fields: dict[str, Any], path: list[Any], message: str
) -> None:
    response = ask(client, **fields)
    assert response.status_code == 422
    fault = {"loc": ["body", *path], "msg": message, "type": "value_error"}
    assert response.json() == {"detail": [fault]}


def test_what_is_no_json_is_a_422(client: TestClient) -> None:
    response = client.post("/v1/rerank", content=b"{", headers={"content-type": "application/json"})
    assert response.status_code == 422
    (fault,) = response.json()["detail"]
    assert fault["loc"] == ["body"] and fault["msg"].startswith("the body is not JSON: ")


def test_an_unknown_model_has_jinas_code(client: TestClient) -> None:
    response = ask(client, model="jina-reranker-v3")
    assert response.status_code == 400
    assert response.json() == {
        "detail": "Model 'jina-reranker-v3' not found. This server has ['bundled', 'second']",
        "code": "INPUT_MODEL_NOT_FOUND",
    }


def test_a_query_that_is_too_long_has_jinas_code(client: TestClient) -> None:
    response = ask(client, query="reset " * 600)
    assert response.status_code == 400
    assert response.json()["code"] == "INPUT_TOKEN_LIMIT_EXCEEDED"


PROBLEMS = {
    Kind.malformed: (422, None),
    Kind.invalid: (422, None),
    Kind.empty: (422, None),
    Kind.too_long: (400, "INPUT_TOKEN_LIMIT_EXCEEDED"),
    Kind.unauthorized: (401, "AUTH_INVALID_API_KEY"),
    Kind.forbidden: (403, None),
    Kind.unknown_model: (400, "INPUT_MODEL_NOT_FOUND"),
    Kind.not_found: (404, "RESOURCE_NOT_FOUND"),
    Kind.wrong_method: (405, None),
    Kind.too_slow: (408, None),
    Kind.too_large: (413, None),
    Kind.overloaded: (429, "RATE_CONCURRENCY_LIMIT_EXCEEDED"),
    Kind.failed: (500, "INTERNAL_ERROR"),
    Kind.unavailable: (503, "SERVICE_UNAVAILABLE"),
}


@pytest.mark.parametrize("kind", Kind)
def test_every_problem_has_a_status_and_a_detail(kind: Kind) -> None:
    status, code = PROBLEMS[kind]
    response = jina.DIALECT.response(Problem(kind, "what is wrong", retry_after_s=1.2))
    detail = '"what is wrong"'
    if status == 422:
        detail = '[{"loc":["body"],"msg":"what is wrong","type":"value_error"}]'
    ending = f',"code":"{code}"' if code else ""
    assert response.status_code == status and response.headers["retry-after"] == "2"
    assert bytes(response.body).decode() == f'{{"detail":{detail}{ending}}}'


def test_faults_of_the_service_are_jinas_too(service: Service) -> None:
    for error, kind in (
        (Overloaded(5_000, 2.5), Kind.overloaded),
        (StoreError("the index cannot be read"), Kind.unavailable),
        (RuntimeError("secret"), Kind.failed),
    ):
        response = ask(client_of(raising(service, error), jina.router))
        assert (response.status_code, response.json()["code"]) == PROBLEMS[kind]
        assert isinstance(response.json()["detail"], str) and "secret" not in response.text
        assert response.headers.get("retry-after") == ("3" if kind is Kind.overloaded else None)


def test_every_status_is_in_the_description(client: TestClient) -> None:
    responses = client.get("/openapi.json").json()["paths"]["/v1/rerank"]["post"]["responses"]
    statuses = {status for status, _ in PROBLEMS.values()}
    assert {int(status) for status in responses} >= {200, *statuses} - {403, 405}
