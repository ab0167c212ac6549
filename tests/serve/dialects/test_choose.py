"""Which dialect a path speaks, and at shared paths a body; and that the docs say the same."""

import re
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from resift.serve.app import create_app
from resift.serve.dialects.choose import (
    AT_ROOT,
    OTHERWISE,
    PREFIXES,
    RULE,
    SHARED,
    WITHOUT_MODEL,
    dialect_of,
    spoken_in,
)
from resift.serve.options import ServeOptions
from resift.serve.problems import Kind, Problem
from resift.serve.service import Service
from serve.dialects.too_large import answer_to_a_large_body
from serve.running import running

DOCS = Path(__file__).parents[3] / "docs" / "dialects.md"
QUERY = "how do I reset my password"
TEXTS = ["The office is closed.", "Choose Settings, then press Reset password."]
PLAIN: dict[str, Any] = {"query": QUERY, "documents": TEXTS, "model": "bundled"}

BODIES: list[tuple[dict[str, Any], str]] = [
    (PLAIN, "jina"),
    ({**PLAIN, "top_n": 1, "return_documents": False}, "jina"),
    ({**PLAIN, "top_k": None, "rank_fields": None, "raw_scores": None}, "jina"),
    ({"query": QUERY, "documents": TEXTS}, "vllm"),
    ({**PLAIN, "model": None}, "vllm"),
    ({**PLAIN, "use_activation": True}, "vllm"),
    ({**PLAIN, "truncate_prompt_tokens": -1}, "vllm"),
    ({**PLAIN, "max_tokens_per_doc": 10}, "vllm"),
    ({**PLAIN, "rank_fields": ["text"]}, "cohere"),
    ({**PLAIN, "max_chunks_per_doc": 1, "top_n": 1}, "cohere"),
    ({**PLAIN, "top_k": 1}, "voyage"),
    ({**PLAIN, "truncation": False}, "voyage"),
    ({**PLAIN, "raw_scores": False}, "infinity"),
    ({"query": QUERY, "texts": TEXTS}, "tei"),
    ({"query": QUERY, "texts": TEXTS, "raw_scores": False, "truncate": False}, "tei"),
]


@pytest.fixture
def client(server: str) -> Any:
    with httpx2.Client(base_url=server, timeout=60) as client:
        yield client


@pytest.mark.parametrize(("body", "name"), BODIES)
def test_the_fields_of_a_body_decide(body: dict[str, Any], name: str) -> None:
    assert spoken_in(body).dialect.name == name


@pytest.mark.parametrize("path", SHARED)
@pytest.mark.parametrize(("body", "name"), BODIES)
def test_a_shared_path_answers_as_the_dialects_own_path_does(
    client: Any, path: str, body: dict[str, Any], name: str
) -> None:
    unshared = f"/{name}/rerank" if name in ("tei", "infinity", "vllm") else f"/{name}/v1/rerank"
    responses = [client.post(target, json=body).json() for target in (path, unshared)]
    for answer in responses:
        if isinstance(answer, dict):  # these differ from call to call
            answer.update(id=None, created=None)
    assert responses[0] == responses[1]
    ranks = responses[0]
    if isinstance(ranks, dict):
        ranks = ranks.get("results", ranks.get("data"))
    assert ranks[0]["index"] == 1


@pytest.mark.parametrize("path", SHARED)
@pytest.mark.parametrize(
    ("body", "status", "keys"),
    [
        ({"texts": TEXTS}, 422, {"error", "error_type"}),
        ({**PLAIN, "raw_scores": 7}, 422, {"detail"}),
        ({**PLAIN, "top_k": 0}, 400, {"detail"}),
        ({**PLAIN, "rank_fields": 7}, 400, {"message"}),
        ({**PLAIN, "priority": 1, "top_n": -1}, 400, {"error"}),
        ({**PLAIN, "model": "big", "raw_scores": True}, 400, {"error"}),
        ({}, 400, {"error"}),
        ({"model": "bundled"}, 422, {"detail"}),
        ([1], 422, {"detail"}),
        ("text", 422, {"detail"}),
    ],
)
def test_what_is_wrong_is_said_in_the_dialect_of_the_body(
    client: Any, path: str, body: Any, status: int, keys: set[str]
) -> None:
    response = client.post(path, json=body)
    assert (response.status_code, set(response.json())) == (status, keys)


def test_a_fault_names_the_field_alone(client: Any) -> None:
    response = client.post("/rerank", json={"query": QUERY, "texts": [1]})
    assert response.json()["error"] == "texts.0=1: Input should be a valid string"


def test_before_the_body_is_read_problems_are_said_in_jinas_dialect(
    client: Any, server: str, service: Service, tmp_path: Path
) -> None:
    headers = {"content-type": "application/json"}
    broken = client.post("/rerank", content=b'{"texts": [', headers=headers)
    assert broken.status_code == 422 and set(broken.json()) == {"detail"}
    assert client.get("/v1/rerank").status_code == 405
    status, answer = answer_to_a_large_body(server, "/rerank")
    assert status == 413 and "detail" in answer
    (tmp_path / "keys").write_text("a key of the tests")
    with running(service, ServeOptions(keys=tmp_path / "keys")) as url:
        refused = httpx2.post(f"{url}/rerank", json={"query": QUERY, "texts": TEXTS})
    assert refused.status_code == 401 and "detail" in refused.json()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        *((f"{prefix}/x", prefix[1:]) for prefix in PREFIXES),
        *((path, spoken.dialect.name) for path, spoken in AT_ROOT.items()),
        *((path, "jina") for path in SHARED),
        ("/v2/rerank", "cohere"),
        ("/tei/rerank/deeper", "tei"),
        ("/tei", "native"),
        ("/teipot/rerank", "native"),
        ("/v1/rank", "native"),
        ("/v1/search", "native"),
        ("/", "native"),
        ("", "native"),
        ("/nothing", "native"),
    ],
)
def test_each_path_has_a_dialect(path: str, name: str) -> None:
    assert dialect_of(path).name == name


def test_requests_are_logged_with_the_dialect_of_their_body(client: Any, caplog: Any) -> None:
    with caplog.at_level("INFO", logger="resift"):
        client.post("/rerank", json={"query": QUERY, "texts": TEXTS})
        client.post("/rerank", json={**PLAIN, "top_k": 0})
        client.post("/rerank", content=b"{", headers={"content-type": "application/json"})
        until = time.monotonic() + 30
        while len(dialects := [record.fields["dialect"] for record in caplog.records]) < 3:
            assert time.monotonic() < until
            time.sleep(0.01)  # a line is logged after the answer was sent
    assert dialects == ["tei", "voyage", "jina"]


def test_a_shared_path_is_described_with_all_bodies_and_answers() -> None:
    paths = create_app(ServeOptions()).openapi()["paths"]
    alone_at = ["/tei/rerank", "/infinity/rerank", "/voyage/v1/rerank", "/cohere/v1/rerank"]
    alone_at += ["/vllm/rerank", "/jina/v1/rerank"]
    for shared in SHARED:
        operation = paths[shared]["post"]
        schemas = operation["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
        for path in alone_at:
            alone = paths[path]["post"]
            content = alone["requestBody"]["content"]["application/json"]["schema"]
            assert content in schemas
            for status, response in alone["responses"].items():
                assert status in operation["responses"], f"{path}: {status}"
                if "content" not in response:
                    continue
                schema = response["content"]["application/json"]["schema"]
                union = operation["responses"][status]["content"]["application/json"]["schema"]
                described = [*union.get("anyOf", []), union]
                schema.pop("title", None)
                for part in schema.get("anyOf", [schema]):
                    is_fastapis = status == "422" and "HTTPValidationError" in str(part)
                    assert part in described or is_fastapis, f"{path}: {status}"


def rows(beginning: str) -> list[list[str]]:
    """The cells of the table of the docs whose first line begins so, without its first line."""
    text = DOCS.read_text(encoding="utf-8")
    table = text[text.index(f"| {beginning} |") :].split("\n\n")[0]
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def test_the_docs_have_the_rule() -> None:
    names = {"cohere v1": "cohere"}
    documented = [
        (re.findall(r"`(\w+)`", fields), names.get(name.lower(), name.lower()))
        for fields, name in rows("The body has")
    ]
    assert documented == [
        *((list(fields), spoken.dialect.name) for fields, spoken in RULE),
        (["model"], WITHOUT_MODEL.dialect.name),
        ([], OTHERWISE.dialect.name),
    ]


def test_the_docs_have_the_status_of_each_kind_of_problem_in_each_dialect() -> None:
    documented = {re.findall(r"`(\w+)`", what)[0]: cells for what, *cells in rows("what is wrong")}
    dialects = [spoken.dialect for spoken in PREFIXES.values()]
    assert documented == {
        kind: [str(dialect.status_and_body(Problem(kind, "why"))[0]) for dialect in dialects]
        for kind in Kind
    }
