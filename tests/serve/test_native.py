"""Proves the native API: rankings and searches with receipts, streams, passages, clear errors."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from resift import Index, Reranker
from resift.errors import Overloaded
from resift.serve.admission import Admission
from resift.serve.app import create_app
from resift.serve.dialect import read_json
from resift.serve.options import ServeOptions
from resift.serve.service import Service
from serve.running import running

DOCUMENTS = ["The office is closed.", "Choose Settings and press Reset password.", "Salted hashes."]


@pytest.fixture
def client(server: str) -> Any:
    with httpx2.Client(base_url=server, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def cats(in_one_runtime: Reranker, index_of_sections: Index) -> Any:
    """A client of a server whose index has a document of several passages."""
    service = Service({"bundled": in_one_runtime}, {"cats": index_of_sections}, Admission())
    with running(service) as url, httpx2.Client(base_url=url, timeout=60) as client:
        yield client


def test_a_ranking_is_what_the_library_gives(client: Any, in_one_runtime: Reranker) -> None:
    body = {"query": "reset password", "documents": DOCUMENTS, "top_n": 2}
    answer = client.post("/v1/rank", json=body).json()
    expected = in_one_runtime.rank("reset password", DOCUMENTS, top_n=2)
    assert [hit["index"] for hit in answer["hits"]] == [hit.index for hit in expected]
    assert answer["hits"][0]["score"] == expected[0].score
    assert answer["hits"][0]["span"] == list(expected[0].span)
    assert answer["receipt"]["fingerprint"] == in_one_runtime.fingerprint
    assert answer["model"] == "bundled" and answer["explanations"] == []


def test_first_stage_scores_titles_and_metadata_are_used_and_kept(
    client: Any, in_one_runtime: Reranker
) -> None:
    documents: list[Any] = [
        {"id": "a", "text": "It is closed.", "title": "Office", "score": 2, "lang": "en"},
        {"_id": "b", "text": "Press Reset.", "score": 1.5, "metadata": {"page": 3}},
    ]
    answer = client.post("/v1/rank", json={"query": "reset", "documents": documents}).json()
    expected = in_one_runtime.rank("reset", documents)
    hits = {hit["id"]: hit for hit in answer["hits"]}
    assert hits["a"]["metadata"] == {"lang": "en"} and hits["b"]["metadata"] == {"page": 3}
    assert [hit["fusion"] for hit in answer["hits"]] == [hit.fusion for hit in expected]
    assert answer["receipt"]["fusion_weight"] > 0


@pytest.mark.parametrize("odd", [None, 7, {"title": "no text"}, "", {"text": 5}, ["x"], "\x00"])
def test_a_document_that_cannot_be_read_costs_itself(client: Any, odd: Any) -> None:
    body = {"query": "reset password", "documents": [odd, *DOCUMENTS]}
    response = client.post("/v1/rank", json=body)
    assert response.status_code == 200
    hits = response.json()["hits"]
    assert hits[0]["index"] == 2 and hits[-1]["index"] == 0
    assert hits[-1]["status"] in ("empty", "not_text") and hits[-1]["score"] is None
    assert response.json()["receipt"]["skipped"] == 1
    assert "have no text" in response.headers["x-notes"]


def test_a_lone_surrogate_becomes_a_replacement_character(client: Any) -> None:
    text = b'{"query": "reset", "documents": ["half a \\ud83d pair", "Reset \\ud83d\\ude00"]}'
    response = client.post("/v1/rank", content=text, headers={"content-type": "application/json"})
    assert response.status_code == 200
    texts = {hit["index"]: hit["text"] for hit in response.json()["hits"]}
    assert texts == {0: "half a \ufffd pair", 1: "Reset \U0001f600"}


def test_a_budget_gives_a_partial_ranking_in_time(client: Any) -> None:
    documents = [f"{number} " + "the office is closed " * 80 for number in range(1_000)]
    body = {"query": "office", "documents": documents, "budget_ms": 150, "top_n": 5}
    for headers, more in (({}, {"budget_ms": 150}), ({"x-budget-ms": "150"}, {})):
        body = {"query": "office", "documents": documents, "top_n": 5, **more}
        response = client.post("/v1/rank", json=body, headers=headers)
        receipt = response.json()["receipt"]
        assert receipt["partial"] and "time was up" in receipt["reason"]
        assert response.headers["x-partial"] == receipt["reason"]
    response = client.post("/v1/rank?timeout=0.15", json={**body, "budget_ms": 60_000})
    assert response.json()["receipt"]["partial"], "the shorter budget holds"


def test_explanations_windows_and_thresholds(client: Any) -> None:
    long = "Nothing of interest is said here. " * 300 + "Error 0x80070005 means no permission."
    body = {
        "query": "error 0x80070005",
        "documents": [long, "The sky is blue."],
        "long_documents": "windows",
        "explain": 2,
        "abstain_below": 0.999999,
    }
    answer = client.post("/v1/rank", json=body).json()
    best = answer["hits"][0]
    assert best["index"] == 0 and best["windows"] > 0 and best["span"][1] == len(long)
    parts = answer["explanations"][0]["parts"]
    strongest = max(parts, key=lambda part: part["effect"] or 0)
    assert "0x80070005" in strongest["text"]
    assert len(answer["explanations"]) == 2 and answer["receipt"]["abstained"]
    above = client.post("/v1/rank", json={**body, "min_score": 0.9, "explain": 0}).json()
    assert [hit["index"] for hit in above["hits"]] in ([0], [])


def test_a_search_is_what_the_index_gives(client: Any, served_index: Index) -> None:
    response = client.post("/v1/search", json={"query": "who approves vacation", "top_n": 2})
    answer = response.json()
    expected = served_index.search("who approves vacation", top_n=2)
    assert [hit["id"] for hit in answer["hits"]] == [hit.id for hit in expected]
    assert answer["hits"][0]["citation"]["uri"].endswith("vacation.md")
    assert answer["index"] == "handbook" and answer["receipt"]["version"] == 1
    filtered = client.post("/v1/search", json={"query": "vacation", "where": "uri contains 'off'"})
    assert filtered.status_code in (200, 400)


def test_a_search_packs_a_context_with_citations(client: Any) -> None:
    body = {"query": "who approves vacation", "context_tokens": 100}
    context = client.post("/v1/search", json=body).json()["context"]
    assert "approves vacation" in context["text"] and context["tokens"] <= 100
    assert context["sources"][0]["citation"]["uri"].endswith("vacation.md")


def test_a_search_is_collapsed_to_documents(cats: Any) -> None:
    body = {"query": "cat", "collapse": "document"}
    result = cats.post("/v1/search", json=body).json()
    assert len({hit["citation"]["uri"] for hit in result["hits"]}) == len(result["hits"]) == 2
    assert result["receipt"]["collapsed"] == 2
    assert cats.post("/v1/search", json=body | {"collapse": "page"}).status_code == 422


def test_a_passage_is_read_with_those_around_it(cats: Any) -> None:
    hits = cats.post("/v1/search", json={"query": "the cat eats", "rerank": False}).json()["hits"]
    (id_,) = (hit["id"] for hit in hits if "eats" in hit["text"])
    texts = [
        cats.get(f"/v1/passages/{quote(id_)}", params=params).json()["text"]
        for params in ({}, {"before": 1}, {"after": 1})
    ]
    shown = [[word for word in ("sleeps", "eats", "runs") if word in text] for text in texts]
    assert shown == [["eats"], ["sleeps", "eats"], ["eats", "runs"]]
    assert cats.get(f"/v1/passages/{quote(id_)}?before=-1").status_code == 422


def events(text: str) -> list[tuple[str, Any]]:
    parsed = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        parsed.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return parsed


def test_a_stream_has_the_first_stage_before_the_ranking(client: Any) -> None:
    body = {"query": "who approves vacation", "stream": True, "context_tokens": 100}
    response = client.post("/v1/search", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    (first_name, first), (name, ranking) = events(response.text)
    assert (first_name, name) == ("first_stage", "ranking")
    assert all(hit["status"] == "not_reranked" for hit in first["hits"])
    assert ranking["hits"][0]["status"] == "ok" and ranking["context"]["text"]
    body = {"query": " ", "stream": True}
    ((name, answer),) = events(client.post("/v1/search", json=body).text)
    assert name == "error" and answer["error"]["kind"] == "invalid"


def test_a_passage_by_the_id_of_a_hit(client: Any) -> None:
    hit = client.post("/v1/search", json={"query": "vacation"}).json()["hits"][0]
    passage = client.get(f"/v1/passages/{quote(hit['id'])}").json()
    assert passage["text"] == hit["text"] and passage["uri"] == hit["citation"]["uri"]
    missing = client.get("/v1/passages/no/such?id=1")
    assert missing.status_code == 404 and missing.json()["error"]["kind"] == "not_found"


def test_the_indexes_with_their_versions(client: Any) -> None:
    (entry,) = client.get("/v1/indexes").json()
    assert entry["name"] == "handbook" and entry["version"] == 1 and entry["passages"] == 3


WRONG: list[tuple[str, dict[str, Any], int, str]] = [
    ("/v1/rank", {"query": "", "documents": ["a"]}, 422, "query"),
    ("/v1/rank", {"query": "  ", "documents": ["a"]}, 400, "query"),
    ("/v1/rank", {"documents": ["a"]}, 422, "query"),
    ("/v1/rank", {"query": "a"}, 422, "documents"),
    ("/v1/rank", {"query": "a", "documents": "text"}, 422, "documents"),
    ("/v1/rank", {"query": "a", "documents": ["a"], "top_n": 0}, 422, "top_n"),
    ("/v1/rank", {"query": "a", "documents": ["a"], "topn": 1}, 422, "topn"),
    ("/v1/rank", {"query": "a", "documents": [], "fusion_weight": False}, 422, "fusion_weight"),
    ("/v1/rank", {"query": "a", "documents": [], "exact": "no"}, 422, "exact"),
    ("/v1/rank", {"query": "a", "documents": [], "budget_ms": "50"}, 422, "budget_ms"),
    ("/v1/search", {"query": "a", "top_n": True}, 422, "top_n"),
    ("/v1/rank", {"query": "a", "documents": ["a"], "model": "gpt"}, 404, "bundled, second"),
    ("/v1/rank", {"query": "a " * 40_000, "documents": ["a"]}, 400, "query"),
    ("/v1/rank", {"query": "a", "documents": ["a"] * 10_001}, 413, "10,001 documents"),
    ("/v1/search", {"query": "a", "index": "none"}, 404, "handbook"),
    ("/v1/search", {"query": "a", "where": "lang ="}, 400, "where"),
    ("/v1/search", {"query": "a", "mode": "fuzzy"}, 422, "mode"),
    ("/v1/search", {"query": "a", "rerank": False, "explain": 1}, 400, "explain"),
    ("/v1/search", {"query": "a", "context_tokens": 1}, 422, "context_tokens"),
]


@pytest.mark.parametrize(("path", "body", "status", "named"), WRONG)
def test_a_wrong_body_is_refused_in_one_line_that_names_it(
    client: Any, path: str, body: dict[str, Any], status: int, named: str
) -> None:
    response = client.post(path, json=body)
    error = response.json()["error"]
    assert response.status_code == status, error
    assert named in error["message"] and "\n" not in error["message"]
    assert len(error["message"]) < 500


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b'"text"', b"[" * 100_000, b'{"query": NaN}', b'{"a":' * 9_999],
)
def test_a_body_that_is_no_json_object_is_refused(client: Any, content: bytes) -> None:
    response = client.post(
        "/v1/rank", content=content, headers={"content-type": "application/json"}
    )
    assert response.status_code == 422
    assert response.json()["error"]["kind"] == "malformed"


def test_unknown_paths_and_methods(client: Any) -> None:
    missing = client.get("/v1/nothing")
    assert missing.status_code == 404 and missing.json()["error"]["kind"] == "not_found"
    wrong = client.get("/v1/rank")
    assert wrong.status_code == 405 and wrong.json()["error"]["kind"] == "wrong_method"
    assert "POST" in wrong.headers["allow"]


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf", "soon"])
def test_a_timeout_that_is_no_time_is_refused(client: Any, timeout: str) -> None:
    body = {"query": "a", "documents": ["a"]}
    response = client.post(f"/v1/rank?timeout={timeout}", json=body)
    assert response.status_code == 400 and "timeout" in response.json()["error"]["message"]


def test_the_examples_of_the_openapi_document_work(client: Any) -> None:
    document = client.get("/openapi.json").json()
    tried = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                for name, example in content.get("examples", {}).items():
                    response = client.request(method, path, json=example["value"])
                    assert response.status_code == 200, (path, name, response.text)
                    tried += 1
    assert tried >= 7


def test_a_fault_is_answered_without_its_text_and_logged(
    client: Any, service: Service, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret words")

    monkeypatch.setattr("resift.serve.service.estimated_tokens", fail)
    response = client.post("/v1/rank", json={"query": "a", "documents": ["a"]})
    assert response.status_code == 500
    assert "secret" not in response.text and response.json()["error"]["kind"] == "failed"
    assert any("ZeroDivisionError" in record.message for record in caplog.records)


@pytest.mark.parametrize(
    ("body", "value"),
    [(b'"\\ud83d"', "\ufffd"), (b'["\\ud83d\\ude00"]', ["\U0001f600"]), (b" 1 ", 1)],
)
def test_json_is_read_with_mended_surrogates(body: bytes, value: object) -> None:
    assert read_json(body) == value


def test_the_app_can_be_made_without_a_server(service: Service) -> None:
    assert "/v1/rank" in create_app(ServeOptions(), service).openapi()["paths"]


def test_explanations_that_find_no_time_are_left_out(
    client: Any, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = asyncio.Event()

    async def wait(*_: Any, **__: Any) -> None:
        await never.wait()

    monkeypatch.setattr(service, "explain", wait)
    body = {"query": "vacation", "explain": 2, "budget_ms": 3_000}
    answer = client.post("/v1/search", json=body).json()
    assert answer["explanations"] == [None, None] and not answer["receipt"]["partial"]


def test_explanations_that_find_no_room_are_left_out(
    client: Any, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise Overloaded(1_000, 1.0)

    monkeypatch.setattr(service, "explain", refuse)
    body = {"query": "reset", "documents": DOCUMENTS, "explain": 1}
    answer = client.post("/v1/rank", json=body).json()
    assert answer["explanations"] == [None] and answer["hits"][0]["status"] == "ok"


def test_a_search_that_abstains_has_an_empty_context(client: Any) -> None:
    body = {"query": "zebra pizza", "abstain_below": 0.99, "context_tokens": 400}
    answer = client.post("/v1/search", json=body).json()
    assert answer["receipt"]["abstained"] and answer["hits"]
    assert answer["context"]["text"] == "" and answer["context"]["sources"] == []


def test_a_budget_of_nothing_gives_what_is_known_at_once(client: Any) -> None:
    body = {"query": "reset", "documents": DOCUMENTS, "budget_ms": 0}
    answer = client.post("/v1/rank", json=body).json()
    assert answer["receipt"]["partial"] and len(answer["hits"]) == 3


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_that_does_not_say_that_it_is_json_is_told_to(client: Any, kind: str) -> None:
    content = json.dumps({"query": "a", "documents": ["b"]}).encode()
    response = client.post("/v1/rank", content=content, headers={"content-type": kind})
    assert response.status_code == 422
    assert "Content-Type: application/json" in response.json()["error"]["message"]


def test_a_page_elsewhere_cannot_ask_a_server_of_this_machine(client: Any) -> None:
    for path in ("/v1/indexes", "/metrics", "/v2/rerank"):
        refused = client.get(path, headers={"host": "evil.example"})
        assert refused.status_code == 403, path
    assert client.get("/v1/indexes", headers={"host": "localhost:1"}).status_code == 200
