"""infinity's API: scores, limits, statuses, error bodies, models; and traps of infinity itself."""

from typing import Any

import httpx2
import pytest

from resift import Reranker
from resift.errors import Overloaded, RerankerClosed
from resift.serve.dialects.infinity import DIALECT, ErrorAnswer, ValidationAnswer
from resift.serve.options import ServeOptions
from resift.serve.problems import Kind, Problem
from resift.serve.service import Service
from serve.dialects.too_large import answer_to_a_large_body
from serve.running import running

QUERY = "how do I reset my password"
TEXTS = ["The office is closed.", "Choose Settings, then press Reset password.", "Salted hashes."]
LONG = "Press Reset. " * 600
KEY = "a key of the tests"


@pytest.fixture
def client(server: str) -> Any:
    with httpx2.Client(base_url=f"{server}/infinity", timeout=60) as client:
        yield client


def test_an_answer_has_infinitys_fields_and_the_librarys_scores(
    client: Any, in_one_runtime: Reranker
) -> None:
    answer = client.post("/rerank", json={"query": QUERY, "documents": TEXTS}).json()
    expected = in_one_runtime.rank(QUERY, TEXTS)
    assert answer.pop("results") == [
        {"relevance_score": hit.score, "index": hit.index, "document": None} for hit in expected
    ]
    assert answer.pop("id").startswith("infinity-") and answer.pop("created") > 1_700_000_000
    usage = answer.pop("usage")
    assert usage["prompt_tokens"] == usage["total_tokens"] > 0
    assert answer == {"object": "rerank", "model": "bundled"}


def test_raw_scores_are_logits(client: Any, in_one_runtime: Reranker) -> None:
    body = {"query": QUERY, "documents": TEXTS, "raw_scores": True}
    results = client.post("/rerank", json=body).json()["results"]
    expected = in_one_runtime.rank(QUERY, TEXTS)
    assert [result["relevance_score"] for result in results] == [hit.logit for hit in expected]


def test_documents_come_back_as_strings_without_space_around_them(client: Any) -> None:
    documents = [f"  {text}\n" for text in TEXTS]
    body = {"query": QUERY, "documents": documents, "return_documents": True, "top_n": 2}
    results = client.post("/rerank", json=body).json()["results"]
    assert len(results) == 2
    assert [result["document"] for result in results] == [TEXTS[row["index"]] for row in results]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ({}, "bundled"),
        ({"model": "default/not-specified"}, "bundled"),
        ({"model": "second"}, "second"),
    ],
)
def test_the_model_that_is_not_specified_is_the_first(client: Any, model: Any, name: str) -> None:
    answer = client.post("/rerank", json={"query": QUERY, "documents": TEXTS, **model}).json()
    assert answer["model"] == name


@pytest.mark.parametrize("raw", [False, True])
def test_a_document_that_cannot_be_read_is_last_with_the_lowest_score(
    client: Any, raw: bool
) -> None:
    body = {"query": QUERY, "documents": ["", *TEXTS], "raw_scores": raw}
    response = client.post("/rerank", json=body)
    *_, before, last = response.json()["results"]
    assert last["index"] == 0
    assert last["relevance_score"] == (before["relevance_score"] if raw else 0.0)
    assert response.headers["x-notes"] == "1 of 4 documents have no text"


def test_late_documents_have_the_lowest_score_and_the_headers_say_so(client: Any) -> None:
    documents = [f"{number} {LONG[:1000]}" for number in range(600)]
    body = {"query": QUERY, "documents": documents, "timeout": 0.15}
    response = client.post("/rerank", json=body)
    results = response.json()["results"]
    assert len(results) == 600 and results[-1]["relevance_score"] == 0.0
    assert "time was up" in response.headers["x-partial"]


def test_query_and_document_are_told_apart(client: Any, in_one_runtime: Reranker) -> None:
    """The cache of infinity takes "ab" and "c" for "a" and "bc"."""
    for query, document in (("reset pass", "word now"), ("reset pas", "sword now")):
        body = {"query": query, "documents": [document], "raw_scores": True}
        (result,) = client.post("/rerank", json=body).json()["results"]
        assert result["relevance_score"] == in_one_runtime.rank(query, [document])[0].logit


def test_a_query_is_never_cut_for_the_sake_of_a_document(client: Any) -> None:
    response = client.post("/rerank", json={"query": LONG, "documents": [LONG]})
    error = response.json()["error"]
    assert response.status_code == error["code"] == 400 and error["param"] == "query"
    assert "the query is never cut" in error["message"]


INVALID = [
    ({"query": QUERY, "documents": []}, ["documents"], "at least 1 item"),
    ({"query": QUERY, "documents": ["a"] * 2_049}, ["documents"], "at most 2048 items"),
    ({"query": QUERY, "documents": ["a" * 122_881]}, ["documents", "0"], "at most 122880 char"),
    ({"query": "a" * 122_881, "documents": ["a"]}, ["query"], "at most 122880 char"),
    ({"documents": TEXTS}, ["query"], "Field required"),
    ({"query": QUERY, "documents": TEXTS, "top_n": 0}, ["top_n"], "greater than or equal to 1"),
    ({"query": QUERY, "documents": TEXTS, "raw_scores": "no"}, ["raw_scores"], "valid boolean"),
    ({"query": QUERY, "documents": "a"}, ["documents"], "valid list"),
]


@pytest.mark.parametrize(("body", "location", "message"), INVALID)
def test_a_body_of_another_shape_is_a_422_with_its_place(
    client: Any, body: Any, location: list[str], message: str
) -> None:
    response = client.post("/rerank", json=body)
    (fault,) = response.json()["detail"]
    assert response.status_code == 422
    assert fault["loc"] == ["body", *location] and message in fault["msg"]


def test_what_is_not_json_or_not_there_is_refused_in_the_dialect(client: Any) -> None:
    headers = {"content-type": "application/json"}
    broken = client.post("/rerank", content=b"{", headers=headers)
    assert broken.status_code == 422 and broken.json()["detail"][0]["loc"] == ["body"]
    missing, wrong = client.get("/nothing"), client.get("/rerank")
    assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})
    assert (wrong.status_code, wrong.json()) == (405, {"detail": "Method Not Allowed"})


def test_an_unknown_model_and_an_empty_query_are_400(client: Any) -> None:
    body = {"query": QUERY, "documents": TEXTS, "model": "big"}
    response = client.post("/rerank", json=body)
    assert response.status_code == 400
    message = "Invalid model: model=big: this server has bundled, second"
    fault = {"message": message, "type": None, "param": "model", "code": 400}
    assert response.json() == {"error": fault}
    response = client.post("/rerank", json={"query": " ", "documents": TEXTS})
    assert response.status_code == 400 and "empty" in response.json()["error"]["message"]


def test_a_body_of_too_many_bytes_is_a_413(server: str) -> None:
    status, answer = answer_to_a_large_body(server, "/infinity/rerank")
    assert status == answer["error"]["code"] == 413


@pytest.mark.parametrize(
    ("error", "status"),
    [(Overloaded(9, 2.5), 429), (RerankerClosed("closed"), 503), (RuntimeError("a secret"), 500)],
)
def test_faults_of_the_server_do_not_show_their_text(
    client: Any,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(service, "rank", fail)
    response = client.post("/rerank", json={"query": QUERY, "documents": TEXTS})
    assert response.status_code == response.json()["error"]["code"] == status
    assert "secret" not in response.text
    assert response.headers.get("retry-after") == ("3" if status == 429 else None)


def test_a_wrong_key_is_a_401_with_a_detail(service: Service, tmp_path: Any) -> None:
    (tmp_path / "keys").write_text(KEY)
    with running(service, ServeOptions(keys=tmp_path / "keys")) as url:
        for path in ("/infinity/rerank", "/infinity/models"):
            response = httpx2.get(url + path, headers={"authorization": "Bearer wrong"})
            assert (response.status_code, response.json()) == (401, {"detail": "Unauthorized"})
        assert httpx2.get(f"{url}/models", headers={"authorization": f"Bearer {KEY}"}).is_success


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_problem_has_a_status_and_a_body(kind: Kind) -> None:
    status, body = DIALECT.status_and_body(Problem(kind, "why"))
    assert 400 <= status < 600
    model = ValidationAnswer if status in (401, 404, 405, 422) else ErrorAnswer
    assert body == model.model_validate(body.model_dump())


def test_models_tell_how_full_the_queue_is(
    client: Any, service: Service, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quarter = service.admission.max_tokens // 4
    monkeypatch.setattr(service.admission, "waiting_tokens", quarter)
    monkeypatch.setattr(service.admission, "open_calls", 3)
    answer = client.get("/models").json()
    first, second = answer["data"]
    assert answer["object"] == "list" and (first["id"], second["id"]) == ("bundled", "second")
    assert first["object"] == "model" and first["capabilities"] == ["rerank"]
    assert first["stats"] == {
        "queue_fraction": 0.25, "queue_absolute": quarter, "results_pending": 3, "batch_size": 1024
    }  # fmt: skip
    at_root = httpx2.get(f"{server}/models").json()
    assert [model["stats"] for model in at_root["data"]] == [first["stats"]] * 2
