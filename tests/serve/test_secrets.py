"""Proves that nothing that a caller sends is in the logs or metrics of a server."""

from pathlib import Path
from typing import Any

import httpx2

from resift import Index
from serve.processes import started

KEY = "secret-key-of-a-caller"
SECRETS = {
    name: f"zq{number}{name}zq"
    for number, name in enumerate(
        ("query", "document", "title", "id", "metadata", "path", "passage", "header", "model",
         "index", "where", "malformed", "parameter", "agent", "cookie", "field", "user", "method")
    )
}  # fmt: skip
WRONG_KEY = "zq-a-wrong-key-zq"


def test_nothing_that_a_caller_sends_is_in_the_logs_or_metrics(
    tmp_path: Path, served_index: Index
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(KEY + "\n")
    arguments = ("--keys", str(keys), "--index", f"handbook={served_index.uri}")
    with started(tmp_path / "log", *arguments) as server:
        metrics = _send_secrets(server.url)
        server.stop()
        assert server.process.stdout is not None
        output = server.log.read_text() + metrics + server.process.stdout.read()
    assert '"partial": true' in output and '"problem": "unauthorized"' in output
    secrets = [*SECRETS.values(), KEY, WRONG_KEY]
    assert [secret for secret in secrets if secret in output] == []
    assert all(line.startswith("{") for line in server.log.read_text().splitlines())


def _send_secrets(url: str) -> str:
    secret = SECRETS
    headers = {
        "authorization": f"Bearer {KEY}",
        "x-secret": secret["header"],
        "user-agent": secret["agent"],
        "cookie": f"session={secret['cookie']}",
    }
    document = {
        "id": secret["id"],
        "text": secret["document"] + " word" * 700,
        "title": secret["title"],
        "metadata": {"key": secret["metadata"]},
    }
    rank = {"query": secret["query"], "documents": [document, secret["document"]]}
    search = {"query": secret["query"]}
    tool = {"name": "search", "arguments": search | {"where": secret["where"]}}
    bodies: list[tuple[str, Any]] = [
        ("/v1/rank", rank),
        ("/v1/rank", rank | {"budget_ms": 0.001}),
        ("/v1/rank", rank | {"explain": 1, "min_score": 0.5}),
        ("/v1/rank", rank | {"model": secret["model"]}),
        ("/v1/rank", rank | {secret["field"]: 1}),
        ("/v1/rank", rank | {"query": secret["query"] * 2_000}),
        ("/v1/search", search),
        ("/v1/search", search | {"index": secret["index"]}),
        ("/v1/search", search | {"where": secret["where"]}),
        ("/v1/search", search | {"where": secret["where"], "stream": True}),
        ("/v2/rerank", rank | {"model": secret["model"], "user": secret["user"]}),
        ("/rerank", {"query": secret["query"], "texts": [secret["document"]], "raw_scores": "x"}),
        ("/rerank", {"query": secret["query"], "texts": [secret["document"]]}),
        ("/v1/rerank", rank | {"model": secret["model"], "rank_fields": [secret["field"]]}),
        ("/v1/rerank", {"query": secret["query"], "documents": [secret["document"]]}),
        ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": secret["method"], "params": search}),
        ("/mcp", {"jsonrpc": "2.0", "id": secret["id"], "method": "tools/call", "params": tool}),
    ]
    with httpx2.Client(base_url=url, headers=headers, timeout=60) as client:
        for path, body in bodies:
            client.post(path, json=body)
        client.post("/v1/rank", content=b'{"' + secret["malformed"].encode())
        client.post("/v1/rank", json=rank, params={"timeout": secret["parameter"]})
        client.post("/v1/rank", json=rank, headers={"x-budget-ms": secret["header"]})
        client.get(f"/{secret['path']}/{secret['path']}")
        client.request(secret["path"].upper(), "/v1/rank")
        client.get(f"/v1/passages/{secret['passage']}", params={"index": secret["index"]})
        client.get(f"/v1/passages/{secret['passage']}")
        wrong = {"authorization": f"Bearer {WRONG_KEY}"}
        assert client.post("/v1/rank", json=rank, headers=wrong).status_code == 401
        return client.get("/metrics").text
