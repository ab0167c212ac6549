"""vLLM's API: reranking and scoring, cuts, content in parts, statuses, error bodies, models."""

from typing import Any

import httpx2
import pytest

from resift import Reranker
from resift.errors import Overloaded, RerankerClosed
from resift.serve.admission import Admission
from resift.serve.dialects.vllm import DIALECT, ErrorAnswer
from resift.serve.options import ServeOptions
from resift.serve.problems import Kind, Problem
from resift.serve.service import Service
from serve.dialects.too_large import answer_to_a_large_body
from serve.running import running

QUERY = "how do I reset my password"
TEXTS = ["The office is closed.", "Choose Settings, then press Reset password.", "Salted hashes."]
LONG = "Press Reset. " * 600
KEY = "a key of the tests"
PARTS = {"content": [{"type": "text", "text": "Salted"}, {"type": "text", "text": "hashes."}]}
IMAGE = {"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}]}


@pytest.fixture
def client(server: str) -> Any:
    with httpx2.Client(base_url=f"{server}/vllm", timeout=60) as client:
        yield client


def scores(response: Any) -> list[float]:
    return [data["score"] for data in response.json()["data"]]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_an_answer_has_vllms_fields_and_the_librarys_scores(
    client: Any, in_one_runtime: Reranker, path: str
) -> None:
    answer = client.post(path, json={"query": QUERY, "documents": TEXTS}).json()
    expected = in_one_runtime.rank(QUERY, TEXTS)
    assert answer.pop("results") == [
        {
            "index": hit.index,
            "document": {"text": hit.text, "multi_modal": None},
            "relevance_score": hit.score,
        }
        for hit in expected
    ]
    assert answer.pop("id").startswith("rerank-")
    usage = answer.pop("usage")
    assert usage["prompt_tokens"] == usage["total_tokens"] > 0
    assert answer == {"model": "bundled"}


@pytest.mark.parametrize(("top_n", "count"), [(0, 3), (None, 3), (1, 1), (9, 3)])
def test_top_n_of_0_is_all(client: Any, top_n: int | None, count: int) -> None:
    body = {"query": QUERY, "documents": TEXTS, "top_n": top_n, "request_id": "mine"}
    answer = client.post("/rerank", json=body).json()
    assert len(answer["results"]) == count and answer["id"] == "rerank-mine"


def test_without_activation_scores_are_logits(client: Any, in_one_runtime: Reranker) -> None:
    expected = in_one_runtime.rank(QUERY, TEXTS)
    options = {"use_activation": False, "model": "second"}
    answer = client.post("/rerank", json={"query": QUERY, "documents": TEXTS, **options}).json()
    assert answer["model"] == "second"
    assert [row["relevance_score"] for row in answer["results"]] == [hit.logit for hit in expected]
    body = {"queries": QUERY, "documents": TEXTS, **options}
    by_index = {hit.index: hit.logit for hit in expected}
    assert scores(client.post("/score", json=body)) == [by_index[index] for index in range(3)]


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"text": "Salted"}, "Salted"),
        ({"content": "Salted"}, "Salted"),
        (PARTS, "Salted\nhashes."),
        ({"content": []}, ""),
    ],
)
def test_a_text_may_be_an_object(client: Any, document: Any, text: str) -> None:
    body = {"query": {"content": [{"type": "text", "text": QUERY}]}, "documents": document}
    (result,) = client.post("/rerank", json=body).json()["results"]
    assert result["document"] == {"text": text, "multi_modal": None}
    (plain,) = client.post("/rerank", json={"query": QUERY, "documents": text}).json()["results"]
    assert result["relevance_score"] == plain["relevance_score"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2")],
)
@pytest.mark.parametrize("path", ["/score", "/v1/score"])
def test_one_query_is_scored_with_each_document_in_their_order(
    client: Any, in_one_runtime: Reranker, path: str, first: str, second: str
) -> None:
    response = client.post(path, json={first: QUERY, second: TEXTS})
    by_index = {hit.index: hit.score for hit in in_one_runtime.rank(QUERY, TEXTS)}
    assert scores(response) == [by_index[index] for index in range(3)]
    answer = response.json()
    assert [data["index"] for data in answer["data"]] == [0, 1, 2]
    assert {data["object"] for data in answer["data"]} == {"score"}
    assert answer["id"].startswith("score-") and answer["object"] == "list"
    assert answer["created"] > 1_700_000_000 and answer["usage"]["total_tokens"] > 0


def test_pairs_are_scored_one_by_one_and_keep_their_order(
    client: Any, in_one_runtime: Reranker
) -> None:
    queries = [QUERY, "when is the office closed", QUERY, "how are passwords stored"]
    texts = [TEXTS[2], TEXTS[0], TEXTS[1], LONG]
    response = client.post("/score", json={"queries": queries, "documents": texts})
    expected = [
        in_one_runtime.rank(query, [text])[0].score
        for query, text in zip(queries, texts, strict=True)
    ]
    assert scores(response) == expected and len(set(expected)) == 4
    assert response.headers["x-notes"] == "1 of 4 documents were cut"
    tokens = sum(
        in_one_runtime.rank(query, [text]).receipt.tokens
        for query, text in zip(queries, texts, strict=True)
    )
    assert response.json()["usage"]["prompt_tokens"] == tokens


@pytest.mark.parametrize("path", ["/rerank", "/score"])
def test_the_model_of_the_body_is_asked(
    client: Any, service: Service, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    asked, rank_each = [], service.rank_each

    async def noting(*arguments: Any, **options: Any) -> Any:
        asked.append(options["model"])
        return await rank_each(*arguments, **options)

    monkeypatch.setattr(service, "rank_each", noting)
    body = {"query": QUERY, "queries": QUERY, "documents": TEXTS, "model": "second"}
    assert client.post(path, json=body).json()["model"] == "second" and asked == ["second"]


def test_many_pairs_are_one_call_for_admission(in_one_runtime: Reranker) -> None:
    """They do not keep one another out: only other calls wait."""
    service = Service({"bundled": in_one_runtime}, {}, Admission(max_tokens=1_000))
    queries = [f"{QUERY} {number}" for number in range(40)]
    with running(service) as url:
        body = {"queries": queries, "documents": [TEXTS[1]] * 40}
        response = httpx2.post(f"{url}/score", json=body, timeout=60)
    assert response.status_code == 200 and len(scores(response)) == 40
    assert service.admission.waiting_tokens == service.admission.open_calls == 0


def test_a_query_that_cannot_be_read_ends_the_call_for_all_pairs(
    client: Any, service: Service
) -> None:
    body = {"queries": [QUERY, " ", "another"], "documents": TEXTS}
    response = client.post("/score", json=body)
    assert response.status_code == 400 and response.json()["error"]["param"] == "query"
    assert service.admission.waiting_tokens == service.admission.open_calls == 0


def test_a_long_text_is_cut_and_the_headers_say_so(client: Any, in_one_runtime: Reranker) -> None:
    response = client.post("/rerank", json={"query": QUERY, "documents": [*TEXTS, LONG]})
    assert response.status_code == 200
    assert response.headers["x-notes"] == "1 of 4 documents were cut"


@pytest.mark.parametrize("path", ["/rerank", "/score"])
def test_documents_are_read_up_to_the_tokens_of_the_body(
    client: Any, in_one_runtime: Reranker, path: str
) -> None:
    name = "query" if path == "/rerank" else "queries"
    body = {name: QUERY, "documents": [LONG], "use_activation": False}
    (cut,) = in_one_runtime.cut([LONG], 8)
    logit = in_one_runtime.rank(QUERY, [cut])[0].logit
    for options in (
        {"max_tokens_per_doc": 8},
        {"truncate_prompt_tokens": 10},
        {"truncate_prompt_tokens": 30, "max_tokens_per_doc": 8},
    ):
        answer = client.post(path, json={**body, **options}).json()
        (row,) = answer["results"] if path == "/rerank" else answer["data"]
        assert row.get("relevance_score", row.get("score")) == logit, options
        assert in_one_runtime.rank(QUERY, [LONG])[0].logit != logit


@pytest.mark.parametrize("most", [-1, None, 512, 9_999])
def test_as_many_tokens_as_the_model_reads_are_no_limit(
    client: Any, in_one_runtime: Reranker, most: int | None
) -> None:
    body = {"queries": QUERY, "documents": LONG, "truncate_prompt_tokens": most}
    assert scores(client.post("/score", json=body)) == [in_one_runtime.rank(QUERY, [LONG])[0].score]


def test_a_query_is_cut_only_if_the_body_says_so(client: Any, in_one_runtime: Reranker) -> None:
    body = {"queries": LONG, "documents": TEXTS[:1], "max_tokens_per_query": 6}
    (cut,) = in_one_runtime.cut([LONG], 6)
    expected = in_one_runtime.rank(cut, TEXTS[:1])[0].score
    assert scores(client.post("/score", json=body)) == [expected]
    response = client.post("/score", json={**body, "max_tokens_per_query": 0})
    fault = response.json()["error"]
    assert (
        response.status_code == fault["code"] == 400
        and "the query is never cut" in fault["message"]
    )
    assert (fault["param"], fault["type"]) == ("input_tokens", "BadRequestError")


@pytest.mark.parametrize("path", ["/rerank", "/score"])
def test_a_cut_at_the_left_is_refused_only_where_something_would_be_cut(
    client: Any, path: str
) -> None:
    name = "query" if path == "/rerank" else "queries"
    body = {name: QUERY, "documents": TEXTS, "truncation_side": "left"}
    for most in (None, -1, 512):
        limited = {**body, "truncate_prompt_tokens": most}
        assert client.post(path, json=limited).status_code == 200
    for options, param in (
        ({"documents": [LONG]}, "input_tokens"),
        ({"truncate_prompt_tokens": 9}, "truncation_side"),
    ):
        response = client.post(path, json={**body, **options})
        assert response.status_code == 400 and response.json()["error"]["param"] == param
        assert "cuts at the right only" in response.json()["error"]["message"]


def test_a_text_that_cannot_be_read_has_the_lowest_score(client: Any) -> None:
    body = {"queries": QUERY, "documents": ["", *TEXTS], "use_activation": False}
    response = client.post("/score", json=body)
    assert scores(response)[0] == min(scores(response))
    assert response.headers["x-notes"] == "1 of 4 documents have no text"
    response = client.post("/rerank", json={"query": QUERY, "documents": ["", *TEXTS]})
    assert response.json()["results"][-1]["relevance_score"] == 0.0


def test_late_pairs_have_the_lowest_score_and_the_headers_say_so(client: Any) -> None:
    texts = [f"{number} {LONG[:1000]}" for number in range(600)]
    queries = [f"{QUERY} {number % 2}" for number in range(600)]
    body = {"queries": queries, "documents": texts, "timeout": 0.15}
    response = client.post("/score", json=body)
    assert len(scores(response)) == 600 and 0.0 in scores(response)
    assert "time was up" in response.headers["x-partial"]


REFUSED: list[tuple[str, dict[str, Any], str | None, str]] = [
    ("/rerank", {"query": QUERY, "documents": []}, None, "At least one text_pair element"),
    ("/rerank", {"documents": TEXTS}, "query", "query: Field required"),
    ("/rerank", {"query": QUERY, "documents": [5]}, "documents", "item 0 is 5: expected text"),
    ("/rerank", {"query": QUERY, "documents": [IMAGE]}, "documents", "reads text alone"),
    ("/rerank", {"query": IMAGE, "documents": TEXTS}, "query", "reads text alone"),
    ("/rerank", {"query": QUERY, "documents": {"content": [5]}}, "documents", "5: expected {"),
    ("/rerank", {"query": " ", "documents": TEXTS}, "query", "query: empty"),
    ("/rerank", {"query": QUERY, "documents": TEXTS, "top_n": -1}, "top_n", "top_n=-1"),
    ("/rerank", {"query": QUERY, "documents": TEXTS, "top_n": "1"}, "top_n", "top_n='1'"),
    ("/score", {"queries": [], "documents": TEXTS}, "queries", "At least one text element"),
    ("/score", {"queries": QUERY, "documents": []}, None, "At least one text_pair element"),
    ("/score", {"queries": [QUERY] * 2, "documents": TEXTS}, "queries", "1:1, 1:N or N:N"),
    ("/score", {"queries": QUERY}, "documents", "documents: Field required"),
    ("/score", {"queries": QUERY, "documents": TEXTS, "truncate_prompt_tokens": 2},
     "truncate_prompt_tokens", "2 are the query's"),
    ("/score", {"queries": QUERY, "documents": TEXTS, "truncate_prompt_tokens": -2},
     "truncate_prompt_tokens", "greater than or equal to -1"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "param", "message"), REFUSED)
def test_what_is_refused_is_a_400(
    client: Any, path: str, body: Any, param: str | None, message: str
) -> None:
    response = client.post(path, json=body)
    fault = response.json()["error"]
    assert response.status_code == fault["code"] == 400
    assert fault["type"] == "BadRequestError" and fault["param"] == param
    assert message in fault["message"] and "\n" not in fault["message"]


def test_an_unknown_model_is_a_404(client: Any) -> None:
    for path in ("/rerank", "/score"):
        body = {"query": QUERY, "queries": QUERY, "documents": TEXTS, "model": "big"}
        response = client.post(path, json=body)
        message = "model=big: this server has bundled, second"
        fault = {"message": message, "type": "NotFoundError", "param": "model", "code": 404}
        assert (response.status_code, response.json()) == (404, {"error": fault})


def test_what_is_not_json_or_not_there_is_refused_in_the_dialect(client: Any) -> None:
    headers = {"content-type": "application/json"}
    broken = client.post("/rerank", content=b"{", headers=headers)
    assert broken.status_code == 400 and "not JSON" in broken.json()["error"]["message"]
    missing, wrong = client.get("/nothing"), client.get("/rerank")
    assert missing.status_code == missing.json()["error"]["code"] == 404
    assert wrong.status_code == wrong.json()["error"]["code"] == 405
    assert wrong.json()["error"]["type"] == "Method Not Allowed"


def test_too_much_is_a_413(client: Any, server: str) -> None:
    status, answer = answer_to_a_large_body(server, "/vllm/score")
    assert status == answer["error"]["code"] == 413
    for queries in (QUERY, [QUERY, "other"] * 5_001):
        body = {"queries": queries, "documents": ["a"] * 10_002}
        response = client.post("/score", json=body)
        assert response.status_code == 413 and "at most 10,000" in response.text


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

    monkeypatch.setattr(service, "rank_each", fail)
    for path in ("/rerank", "/score"):
        body = {"query": QUERY, "queries": QUERY, "documents": TEXTS}
        response = client.post(path, json=body)
        assert response.status_code == response.json()["error"]["code"] == status
        assert "secret" not in response.text
        assert response.headers.get("retry-after") == ("3" if status == 429 else None)


def test_a_wrong_key_is_a_401_with_an_error_of_text(service: Service, tmp_path: Any) -> None:
    (tmp_path / "keys").write_text(KEY)
    with running(service, ServeOptions(keys=tmp_path / "keys")) as url:
        for path in ("/vllm/rerank", "/score", "/v1/models"):
            response = httpx2.get(url + path, headers={"authorization": "Bearer wrong"})
            assert response.status_code == 401 and "no valid key" in response.json()["error"]
        assert httpx2.get(f"{url}/v1/models", headers={"authorization": f"Bearer {KEY}"}).is_success


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_problem_has_a_status_and_a_body(kind: Kind) -> None:
    status, body = DIALECT.status_and_body(Problem(kind, "why"))
    assert 400 <= status < 600 and body == ErrorAnswer.model_validate(body.model_dump())


def test_models_are_listed_as_openai_tools_read_them(
    client: Any, in_one_runtime: Reranker, server: str
) -> None:
    for answer in (client.get("/v1/models").json(), httpx2.get(f"{server}/v1/models").json()):
        assert answer["object"] == "list"
        assert [model["id"] for model in answer["data"]] == ["bundled", "second"]
        first = answer["data"][0]
        assert first["object"] == "model" and first["root"] == in_one_runtime.name
        assert first["max_model_len"] == 512 and first["created"] > 1_700_000_000
