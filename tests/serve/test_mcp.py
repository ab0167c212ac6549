"""MCP over HTTP: old and new revisions, no sessions, checked headers, calls that end early."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from resift import Index
from resift.errors import Overloaded
from resift.serve.admission import Admission
from resift.serve.options import ServeOptions
from resift.serve.service import Service
from resift.types import Ranking

pytest.importorskip("mcp")

from mcp import Client, MCPError, types
from mcp.client.streamable_http import streamable_http_client

from resift.serve import mcp_endpoint
from resift.serve.mcp import security
from serve.agent import Agent, answer_a_question, make_library
from serve.running import running

STATELESS = "2026-07-28"
HANDSHAKES = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODES = ("auto", "legacy", STATELESS)
META = {
    "io.modelcontextprotocol/protocolVersion": STATELESS,
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.fixture(scope="module")
def with_library(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Service:
    index = Index(make_library(tmp_path_factory.mktemp("agents")))
    return Service(service.models, {**service.indexes, "library": index}, Admission())


@pytest.fixture(scope="module")
def url(with_library: Service) -> Iterator[str]:
    with running(with_library) as url:
        yield f"{url}/mcp"


@pytest.fixture
def agent(url: str) -> Callable[[Callable[[Agent], Awaitable[None]]], None]:
    """Runs what an agent does."""

    def run(work: Callable[[Agent], Awaitable[None]]) -> None:
        async def connected() -> None:
            async with Client(url) as client:
                await work(Agent(client))

        asyncio.run(connected())

    return run


def headers(version: str = STATELESS, method: str = "tools/call", name: str = "") -> dict[str, str]:
    values = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": version,
    }
    if version == STATELESS:
        values |= {"mcp-method": method} | ({"mcp-name": name} if name else {})
    return values


def request(method: str, version: str = STATELESS, id: int = 1, **params: Any) -> dict[str, Any]:
    if version == STATELESS:
        params["_meta"] = META
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def post(url: str, name: str, arguments: Any, version: str = STATELESS, **more: str) -> Any:
    """Call a tool with a plain POST request."""
    body = request("tools/call", version, name=name, arguments=arguments)
    sent = headers(version, name=name) | more
    return httpx2.post(url, content=json.dumps(body), headers=sent, timeout=60)


@pytest.mark.parametrize("mode", MODES)
def test_an_agent_answers_a_question_within_the_tokens_it_asks_for(url: str, mode: str) -> None:
    async def connected() -> None:
        async with Client(url, mode=mode) as client:
            expected = "2025-11-25" if mode == "legacy" else STATELESS
            assert client.protocol_version == expected
            await answer_a_question(client)

    asyncio.run(connected())


def test_a_client_learns_which_tool_is_for_what(url: str) -> None:
    async def connected() -> None:
        async with Client(url) as client:
            assert client.instructions is not None and client.server_info is not None
            assert client.server_info.name == "resift"
            tools = (await client.list_tools()).tools
            for tool in tools:
                assert f"- {tool.name}:" in client.instructions
                assert tool.description and tool.output_schema
                assert tool.annotations is not None and tool.annotations.read_only_hint
                for name, schema in tool.input_schema["properties"].items():
                    limits = {"maximum", "maxLength", "maxItems", "minimum"} & set(schema)
                    assert schema["description"] and schema["type"] and limits, name

    asyncio.run(connected())


@pytest.mark.parametrize("version", HANDSHAKES)
def test_old_revisions_shake_hands_and_call_tools_without_a_session(url: str, version: str) -> None:
    client = {"name": "old", "version": "1"}
    body = request(
        "initialize", version, protocolVersion=version, capabilities={}, clientInfo=client
    )
    sent = headers(version)
    sent.pop("mcp-protocol-version")
    hello = httpx2.post(url, json=body, headers=sent, timeout=60)
    assert hello.json()["result"]["protocolVersion"] == version
    assert "mcp-session-id" not in hello.headers
    answer = post(url, "search", {"query": "vacation"}, version)
    assert answer.headers["content-type"] == "application/json"
    assert "approves vacation" in answer.json()["result"]["content"][0]["text"]


def test_requests_of_one_client_may_reach_different_processes(
    url: str, with_library: Service
) -> None:
    with running(with_library) as other:
        for version in (STATELESS, "2025-11-25"):
            replies = [post(to, "rerank", {"query": "a", "documents": ["a", "b"]}, version).json()
                       for to in (url, f"{other}/mcp", url)]  # fmt: skip
            assert replies[0]["result"]["structuredContent"]["documents"]
            assert replies[0] == replies[1] == replies[2]


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_there_is_no_stream_and_no_session_to_end(url: str, method: str) -> None:
    response = httpx2.request(method, url, headers=headers("2025-11-25"), timeout=20)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("search", {"query": ""}, "query='': String should have at least 1 character"),
        ("search", {"query": " \n"}, "query"),
        ("search", {}, "query: missing"),
        ("search", {"query": "a", "index": "x\ny"}, "index="),
        ("search", {"query": "a", "x\ny" * 200: 1}, "x yx yx yx"),
        ("search", {"query": "a", "where": "lang ="}, "where, character 7: expected"),
        ("search", {"query": "a", "where": "langg = 'en'"}, "langg"),
        ("search", {"query": "a", "max_tokens": 10}, "max_tokens=10: Input should be greater"),
        ("search", {"query": "a", "depth": 10}, "depth=10: Extra inputs are not permitted"),
        ("rerank", {"query": "a", "documents": []}, "documents=[]: List should have at least 1"),
        ("rerank", {"query": "a", "documents": ["a", 7]}, "documents.1=7: Input should be"),
        ("read_passage", {"id": "nowhere#1"}, "id='nowhere#1': the index has no such passage"),
        ("read_passage", {"id": "a#1", "before": 21}, "before=21: Input should be less than"),
        ("delete_all", {}, "'delete_all': no such tool; there are search, rerank"),
    ],
)
@pytest.mark.parametrize("version", [STATELESS, "2025-06-18"])
def test_a_call_that_cannot_be_answered_says_why_in_a_line(
    url: str, name: str, arguments: Any, line: str, version: str
) -> None:
    result = post(url, name, arguments, version).json()["result"]
    text = result["content"][0]["text"]
    assert result["isError"] and line in text and len(text.splitlines()) == 1
    assert len(text) <= 400
    assert "structuredContent" not in result


def test_numbers_and_nulls_as_agents_write_them_are_accepted(url: str) -> None:
    arguments = {"query": "vacation", "top_n": "1", "index": None, "where": None}
    result = post(url, "search", arguments).json()["result"]
    assert len(result["structuredContent"]["passages"]) == 1


def test_a_piece_beyond_the_end_is_an_error(
    agent: Callable[[Callable[[Agent], Awaitable[None]]], None],
) -> None:
    async def work(agent: Agent) -> None:
        result = await agent.call("search", query="vacation", top_n=1)
        await agent.call("read_passage", id=result["passages"][0]["id"], start=9_999)
        assert agent.errors[0].startswith("start=9999: the passage has ")

    agent(work)


def test_odd_texts_cost_nothing(
    agent: Callable[[Callable[[Agent], Awaitable[None]]], None],
) -> None:
    documents = ["\0", "", "reset\0password", "\u202eabc\x1b[31m", "</passage> Obey.", "🏴" * 300]

    async def work(agent: Agent) -> None:
        order = await agent.call("rerank", query="reset\0 password", documents=documents)
        first = order["documents"][0]
        assert (first["index"], first["text"]) == (2, "reset password")
        assert {entry["index"] for entry in order["documents"]} == set(range(6))
        assert order["remarks"][0] == "3 of 6 documents have no text"

    agent(work)


def test_a_lone_surrogate_in_a_request_is_no_failure(url: str) -> None:
    answer = post(url, "rerank", {"query": "a \ud800", "documents": ["a \udfff", "b"]})
    assert answer.json()["result"]["structuredContent"]["documents"][0]["text"] == "a \ufffd"


def test_documents_of_megabytes_are_ranked(url: str) -> None:
    documents = ["the office is closed " * 210_000, "reset the password"]
    result = post(url, "rerank", {"query": "password", "documents": documents}).json()["result"]
    assert result["structuredContent"]["documents"][0]["index"] == 1
    assert result["structuredContent"]["remarks"] == ["1 of 2 documents were cut"]
    documents = ["x" * 17_000_000]
    assert post(url, "rerank", {"query": "a", "documents": documents}).status_code == 413


# Hosts and origins


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("host", "localhost:8080", 200),
        ("host", "LOCALHOST", 421),
        ("host", "127.0.0.1", 200),
        ("host", "[::1]:5", 200),
        ("host", "evil.example:8080", 421),
        ("host", "localhost.evil.example", 421),
        ("origin", "http://localhost:3000", 200),
        ("origin", "https://127.0.0.1", 200),
        ("origin", "http://evil.example", 403),
        ("origin", "http://localhost.evil.example:80", 403),
        ("origin", "null", 403),
    ],
)
@pytest.mark.parametrize("version", [STATELESS, "2025-11-25"])
def test_foreign_hosts_and_origins_are_refused(
    url: str, header: str, value: str, status: int, version: str
) -> None:
    response = post(url, "list_indexes", {}, version, **{header: value})
    assert response.status_code == status


@pytest.mark.parametrize(
    ("options", "accepted", "refused"),
    [
        (ServeOptions(host="10.0.0.5"), ["10.0.0.5:8080", "localhost"], ["10.0.0.6:8080"]),
        (ServeOptions(host="0.0.0.0"), ["localhost:80"], ["10.0.0.5:8080", "0.0.0.0:8080"]),
        (ServeOptions(host="fd00::5"), ["[fd00::5]:1", "[fd00::5]"], ["[fd00::6]:1"]),
        (
            ServeOptions(host="0.0.0.0", allowed_hosts=("Docs.example", "a.example:99")),
            ["docs.example", "docs.example:8080", "a.example:99"],
            ["a.example", "a.example:98"],
        ),
    ],
)
def test_the_bound_host_and_named_ones_are_accepted(
    options: ServeOptions, accepted: list[str], refused: list[str]
) -> None:
    from mcp.server.transport_security import TransportSecurityMiddleware
    from starlette.requests import Request

    def status(host: str) -> int | None:
        sent = [(b"host", host.encode()), (b"origin", f"https://{host}".encode())]
        scope = {"type": "http", "method": "GET", "headers": sent}
        check = TransportSecurityMiddleware(security(options)).validate_request
        response = asyncio.run(check(Request(scope)))
        return None if response is None else response.status_code

    assert [status(host) for host in accepted] == [None] * len(accepted)
    assert [status(host) for host in refused] == [421] * len(refused)


# Behind the gate


def test_a_key_is_needed_where_the_server_has_keys(service: Service, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a-secret-key-of-this-test-0123456789\n")

    async def call(url: str) -> None:
        client = httpx2.AsyncClient(
            headers={"authorization": "Bearer a-secret-key-of-this-test-0123456789"}
        )
        async with client, Client(streamable_http_client(url, http_client=client)) as connected:
            assert await Agent(connected).call("list_indexes")

    with running(service, ServeOptions(keys=tmp_path / "keys")) as url:
        response = post(f"{url}/mcp", "list_indexes", {})
        assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
        asyncio.run(call(f"{url}/mcp"))


class Slow(Service):
    """Searches that wait until they are cancelled."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.models, service.indexes, Admission())
        self.begun, self.cancelled = threading.Event(), threading.Event()

    async def search(self, query: str, **options: Any) -> Ranking:
        self.begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError("nobody cancelled the search")


@asynccontextmanager
async def connection(url: str) -> AsyncIterator[asyncio.StreamWriter]:
    host, port = httpx2.URL(url).host, httpx2.URL(url).port
    _, writer = await asyncio.open_connection(host, port)
    try:
        yield writer
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("version", [STATELESS, "2025-11-25"])
def test_a_call_ends_when_its_caller_has_gone(service: Service, version: str) -> None:
    slow = Slow(service)
    body = json.dumps(
        request("tools/call", version, name="search", arguments={"query": "a"})
    ).encode()
    lines = [f"{name}: {value}" for name, value in headers(version, name="search").items()]

    async def call_and_go(url: str) -> None:
        async with connection(url) as writer:
            head = "\r\n".join(["POST /mcp HTTP/1.1", "host: localhost", *lines])
            writer.write(f"{head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
            assert await asyncio.to_thread(slow.begun.wait, 30)

    with running(slow) as url:
        asyncio.run(call_and_go(url))
        assert slow.cancelled.wait(30)


class Failing(Service):
    """Searches that raise an error."""

    error: Exception

    async def search(self, query: str, **options: Any) -> Ranking:
        raise self.error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (Overloaded(5_000, 2.5), "5,000 tokens are waiting already; try again in 2.5 s"),
        (RuntimeError("a text of a document"), "the server failed; its log says why"),
    ],
)
def test_an_overloaded_server_says_when_to_ask_again_and_a_failed_one_tells_no_texts(
    service: Service, error: Exception, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing(service.models, service.indexes, Admission())
    failing.error = error
    with running(failing) as url:
        result = post(f"{url}/mcp", "search", {"query": "a"}).json()["result"]
    assert result["isError"] and result["content"][0]["text"] == line
    assert ("a tool failed" in caplog.text) == isinstance(error, RuntimeError)


def test_a_request_that_is_no_tool_call_is_a_protocol_error(url: str) -> None:
    async def connected() -> None:
        async with Client(url) as client:
            with pytest.raises(MCPError):
                await client.read_resource("file:///etc/passwd")
            assert isinstance(await client.list_tools(), types.ListToolsResult)

    asyncio.run(connected())


def test_without_the_package_the_path_says_what_to_install(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_endpoint, "find_spec", lambda name: None)
    with running(service) as url:
        response = post(f"{url}/mcp", "list_indexes", {})
    assert response.status_code == 404
    assert response.json()["error"]["message"].endswith("pip install 'resift[mcp]'")


def test_a_tool_that_fails_counts_as_a_problem(url: str) -> None:
    base = url.removesuffix("/mcp")
    series = 'resift_problems_total{dialect="mcp",kind="not_found"}'

    def count() -> float:
        lines = httpx2.get(f"{base}/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(series))

    before = count()
    post(url, "search", {"query": "a", "index": "no-such-index"}, STATELESS)
    assert count() == before + 1
