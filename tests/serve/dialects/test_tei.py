"""TEI's API: scores, cuts, statuses, error bodies, information; and traps of TEI itself."""

from typing import Any

import httpx2
import pytest

from resift import Reranker
from resift.errors import Overloaded, RerankerClosed
from resift.serve.dialects.tei import DIALECT, ErrorAnswer, Info
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
    with httpx2.Client(base_url=f"{server}/tei", timeout=60) as client:
        yield client


def test_scores_are_the_librarys_in_a_bare_list_best_first(
    client: Any, in_one_runtime: Reranker
) -> None:
    ranks = client.post("/rerank", json={"query": QUERY, "texts": TEXTS}).json()
    expected = in_one_runtime.rank(QUERY, TEXTS)
    assert ranks == [{"index": hit.index, "score": hit.score} for hit in expected]


def test_raw_scores_are_logits_in_the_same_order(client: Any, in_one_runtime: Reranker) -> None:
    body = {"query": QUERY, "texts": TEXTS, "raw_scores": True}
    ranks = client.post("/rerank", json=body).json()
    expected = in_one_runtime.rank(QUERY, TEXTS)
    assert ranks == [{"index": hit.index, "score": hit.logit} for hit in expected]


def test_texts_come_back_only_if_asked_for(client: Any) -> None:
    body = {"query": QUERY, "texts": TEXTS, "return_text": True}
    ranks = client.post("/rerank", json=body).json()
    assert [rank["text"] for rank in ranks] == [TEXTS[rank["index"]] for rank in ranks]


def test_headers_have_teis_names(client: Any) -> None:
    headers = client.post("/rerank", json={"query": QUERY, "texts": TEXTS}).headers
    characters = 3 * len(QUERY) + sum(map(len, TEXTS))
    assert headers["x-compute-characters"] == str(characters)
    assert int(headers["x-compute-tokens"]) > 0 and headers["x-compute-type"].startswith("cpu")
    times = ("total", "tokenization", "queue", "inference")
    assert all(float(headers[f"x-{name}-time"]) >= 0 for name in times)


@pytest.mark.parametrize("truncate", [{}, {"truncate": None}, {"truncate": True}])
def test_a_long_text_is_cut_and_the_headers_say_so(client: Any, truncate: dict[str, Any]) -> None:
    body = {"query": QUERY, "texts": [*TEXTS, LONG], **truncate}
    response = client.post("/rerank", json=body)
    assert response.status_code == 200 and len(response.json()) == 4
    assert response.headers["x-notes"] == "1 of 4 documents were cut"


def test_without_truncation_a_long_text_fails_the_call_and_says_how_long(
    client: Any, in_one_runtime: Reranker
) -> None:
    body = {"query": QUERY, "texts": [*TEXTS, LONG], "truncate": False}
    response = client.post("/rerank", json=body)
    given = in_one_runtime.dropped(QUERY, [LONG])[0] + 512
    message = f"`inputs` must have less than 512 tokens. Given: {given}"
    assert response.status_code == 422
    assert response.json() == {"error": message, "error_type": "Validation"}
    assert client.post("/rerank", json={**body, "texts": TEXTS}).status_code == 200


@pytest.mark.parametrize("direction", ["left", "Left"])
def test_a_cut_at_the_left_is_refused_only_where_something_would_be_cut(
    client: Any, direction: str
) -> None:
    body = {"query": QUERY, "texts": TEXTS, "truncation_direction": direction}
    assert client.post("/rerank", json=body).status_code == 200
    response = client.post("/rerank", json={**body, "texts": [LONG]})
    assert response.status_code == 422
    assert "cuts at the right only" in response.json()["error"]
    right = {"Left": "Right", "left": "right"}[direction]
    body = {"query": QUERY, "texts": [LONG], "truncation_direction": right}
    assert client.post("/rerank", json=body).status_code == 200


@pytest.mark.parametrize("raw", [False, True])
def test_a_text_that_cannot_be_read_is_last_with_the_lowest_score(client: Any, raw: bool) -> None:
    body = {"query": QUERY, "texts": ["", *TEXTS], "raw_scores": raw}
    response = client.post("/rerank", json=body)
    ranks = response.json()
    assert ranks[-1]["index"] == 0
    assert ranks[-1]["score"] == (ranks[-2]["score"] if raw else 0.0)
    assert response.headers["x-notes"] == "1 of 4 documents have no text"


def test_late_texts_have_the_lowest_score_and_the_headers_say_so(client: Any) -> None:
    texts = [f"{number} {LONG[:1000]}" for number in range(600)]
    body = {"query": QUERY, "texts": texts, "timeout": 0.15}
    response = client.post("/rerank", json=body)
    assert len(response.json()) == 600 and response.json()[-1]["score"] == 0.0
    assert "time was up" in response.headers["x-partial"]


def test_more_texts_than_tei_takes_are_answered(client: Any) -> None:
    response = client.post("/rerank", json={"query": QUERY, "texts": TEXTS * 11})
    assert response.status_code == 200 and len(response.json()) == 33


def test_a_query_is_never_cut_for_the_sake_of_a_text(client: Any) -> None:
    response = client.post("/rerank", json={"query": LONG, "texts": [LONG], "truncate": True})
    assert response.status_code == 422
    assert "the query is never cut" in response.json()["error"]


def test_any_model_of_the_server_may_be_named(client: Any) -> None:
    body = {"query": QUERY, "texts": TEXTS, "model": "second", "unknown": [1]}
    assert client.post("/rerank", json=body).status_code == 200


REFUSED = [
    ({"query": QUERY, "texts": []}, 400, "Empty", "`texts` cannot be empty"),
    ({"texts": TEXTS}, 422, "Validation", "query: Field required"),
    ({"query": QUERY, "texts": "a"}, 422, "Validation", "texts='a': Input should be a valid list"),
    ({"query": " ", "texts": TEXTS}, 422, "Validation", "query: empty"),
    ({"query": QUERY, "texts": TEXTS, "raw_scores": "no"}, 422, "Validation", "raw_scores='no'"),
    ({"query": QUERY, "texts": TEXTS, "timeout": 0}, 422, "Validation", "timeout=0"),
    ({"query": QUERY, "texts": TEXTS, "model": "big"}, 422, "Validation", "has bundled, second"),
    ({"query": QUERY, "texts": ["a"] * 10_001}, 422, "Validation", "at most 10,000"),
]


@pytest.mark.parametrize(("body", "status", "error_type", "message"), REFUSED)
def test_what_is_refused_and_how(
    client: Any, body: Any, status: int, error_type: str, message: str
) -> None:
    response = client.post("/rerank", json=body)
    answer = response.json()
    assert (response.status_code, answer["error_type"]) == (status, error_type)
    assert set(answer) == {"error", "error_type"}
    assert message in answer["error"] and "\n" not in answer["error"]


def test_what_is_not_json_or_not_there_is_refused_in_the_dialect(client: Any) -> None:
    headers = {"content-type": "application/json"}
    broken = client.post("/rerank", content=b"{", headers=headers)
    assert broken.status_code == 422 and "not JSON" in broken.json()["error"]
    assert client.get("/nothing").json() == {"error": "Not Found", "error_type": "Validation"}
    wrong = client.get("/rerank")
    assert wrong.status_code == 405 and wrong.json()["error_type"] == "Validation"


def test_a_body_of_too_many_bytes_is_a_413(server: str) -> None:
    status, answer = answer_to_a_large_body(server, "/tei/rerank")
    assert status == 413 and answer["error_type"] == "Validation"


@pytest.mark.parametrize(
    ("error", "status", "error_type"),
    [
        (Overloaded(100, 2.5), 429, "Overloaded"),
        (RerankerClosed("closed"), 503, "Unhealthy"),
        (RuntimeError("a secret"), 424, "Backend"),
    ],
)
def test_faults_of_the_server(
    client: Any,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    error_type: str,
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(service, "rank", fail)
    response = client.post("/rerank", json={"query": QUERY, "texts": TEXTS})
    assert (response.status_code, response.json()["error_type"]) == (status, error_type)
    assert "secret" not in response.text
    assert response.headers.get("retry-after") == ("3" if status == 429 else None)


def test_a_wrong_key_is_a_bare_401(service: Service, tmp_path: Any) -> None:
    (tmp_path / "keys").write_text(KEY)
    with running(service, ServeOptions(keys=tmp_path / "keys")) as url:
        for path in ("/tei/rerank", "/tei/info"):
            response = httpx2.get(url + path, headers={"authorization": "Bearer wrong"})
            assert response.status_code == 401 and response.content == b""
            assert response.headers["www-authenticate"] == "Bearer"
        assert httpx2.get(f"{url}/tei/health").is_success
        assert httpx2.get(f"{url}/info", headers={"authorization": f"Bearer {KEY}"}).is_success


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_problem_has_a_status_and_a_body(kind: Kind) -> None:
    status, body = DIALECT.status_and_body(Problem(kind, "why"))
    assert 400 <= status < 600
    assert (body is None) == (kind is Kind.unauthorized)
    assert body is None or body == ErrorAnswer.model_validate(body.model_dump())


def test_info_has_teis_fields_and_is_true(
    client: Any, in_one_runtime: Reranker, server: str
) -> None:
    info = client.get("/info").json()
    assert info == httpx2.get(f"{server}/info").json() == Info.model_validate(info).model_dump()
    assert info["model_id"] == in_one_runtime.name
    assert info["model_sha"] == in_one_runtime.fingerprint
    assert info["max_input_length"] == in_one_runtime.max_tokens == 512
    assert info["model_type"]["reranker"]["id2label"] == {"0": "LABEL_0"}
    assert info["max_client_batch_size"] == 10_000 and info["auto_truncate"] is True


def test_health_is_an_empty_200(client: Any) -> None:
    response = client.get("/health")
    assert response.status_code == 200 and response.content == b""
