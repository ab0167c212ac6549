"""Proves that a request is a span in its caller's trace with a child for each stage, without texts,
and that nothing is recorded without an SDK.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from resift.serve import tracing
from resift.serve.admission import Admission
from resift.serve.service import Service
from resift.serve.tracing import FIRST_STAGE, RERANKING, THEN, placed, request_span
from serve.running import running

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "mine"}
RANK: dict[str, Any] = {"query": "zqquery", "documents": ["zqdocument", "red sky"]}
SECRETS = ("zqquery", "zqdocument", "zqheader", "zqkey", "zqpath", "zqmodel")


@pytest.fixture(scope="module")
def url(service: Service) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("resift.serve.app.warm_up", lambda reranker: None)
        with running(Service(service.models, service.indexes, Admission())) as url:
            yield url


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Keeps the spans of a test, as an SDK that the operator has configured would."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("resift"))
    return exporter


def finished(exporter: InMemorySpanExporter, kind: SpanKind, count: int = 1) -> list[ReadableSpan]:
    """The spans of a kind, once there are so many: a request ends just after its response."""
    end = time.monotonic() + 30
    while True:
        spans = [span for span in exporter.get_finished_spans() if span.kind is kind]
        if len(spans) >= count:
            return spans
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_request_continues_the_trace_and_has_a_child_for_each_stage(
    url: str, exporter: InMemorySpanExporter
) -> None:
    receipt = httpx2.post(f"{url}/v1/rank", json=RANK, headers=HEADERS).json()["receipt"]
    (request,) = finished(exporter, SpanKind.SERVER)
    assert request.name == "POST /v1/rank"
    assert request.parent is not None and request.context is not None
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == PARENT
    attributes = dict(request.attributes or {})
    assert attributes.pop("http.request.body.size", 0) == len(
        httpx2.Request("POST", url, json=RANK).content
    )
    assert attributes == {
        "http.request.method": "POST", "http.route": "/v1/rank", "http.response.status_code": 200,
        "resift.request_id": "mine", "resift.dialect": "native", "resift.model": receipt["model"],
        "resift.documents": 2, "resift.tokens": receipt["tokens"], "resift.partial": False,
    }  # fmt: skip
    ranking, *stages = children(exporter, request)
    assert ranking.name == "resift.rank"
    assert dict(ranking.attributes or {})["resift.scored"] == receipt["scored"]
    assert [span.name for span in stages] == [f"resift.{stage}" for stage in RERANKING]
    for stage, span in zip(RERANKING, stages, strict=True):
        assert milliseconds(span) == pytest.approx(receipt["timings_ms"][stage], abs=0.01)
    assert milliseconds(ranking) == pytest.approx(receipt["timings_ms"]["total"], abs=0.01)
    assert inside(ranking, request) and all(inside(span, ranking) for span in stages)


def children(exporter: InMemorySpanExporter, request: ReadableSpan) -> list[ReadableSpan]:
    """The span of the ranking, and those of its stages by start."""
    spans = finished(exporter, SpanKind.INTERNAL)
    (ranking,) = (span for span in spans if parent(span) == identity(request))
    stages = [span for span in spans if parent(span) == identity(ranking)]
    assert len(spans) == 1 + len(stages)
    return [ranking, *sorted(stages, key=lambda span: span.start_time or 0)]


def identity(span: ReadableSpan) -> int | None:
    return span.context.span_id if span.context else None


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def milliseconds(span: ReadableSpan) -> float:
    assert span.start_time is not None and span.end_time is not None
    return (span.end_time - span.start_time) / 1e6


def inside(span: ReadableSpan, outer: ReadableSpan) -> bool:
    """Within a millisecond: spans of stages are placed by durations."""
    assert span.start_time and span.end_time and outer.start_time and outer.end_time
    return outer.start_time - 1e6 <= span.start_time <= span.end_time <= outer.end_time + 1e6


def test_retrievers_of_a_search_are_at_the_same_time(
    url: str, exporter: InMemorySpanExporter
) -> None:
    httpx2.post(f"{url}/v1/search", json={"query": "vacation"})
    (request,) = finished(exporter, SpanKind.SERVER)
    search, *stages = children(exporter, request)
    assert search.name == "resift.search"
    starts = {span.name.partition(".")[2]: span.start_time for span in stages}
    assert starts["lexical"] == starts["embed"]
    order = [starts[stage] or 0 for stage in ("table", "lexical", "dense", "fuse", "score")]
    assert order == sorted(order)
    assert dict(search.attributes or {})["resift.index_version"] == 1


def test_a_problem_is_an_attribute_and_only_a_fault_is_an_error(
    url: str, exporter: InMemorySpanExporter, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    httpx2.post(f"{url}/v1/rank", json=RANK | {"model": "none"})
    (request,) = finished(exporter, SpanKind.SERVER)
    assert (request.attributes or {})["resift.problem"] == "unknown_model"
    assert request.status.status_code is StatusCode.UNSET

    async def rank(*arguments: Any, **options: Any) -> None:
        raise ValueError("zqdocument")

    monkeypatch.setattr(Service, "rank", rank)
    httpx2.post(f"{url}/v1/rank", json=RANK)
    fault = finished(exporter, SpanKind.SERVER, 2)[-1]
    assert (fault.attributes or {})["error.type"] == "failed"
    assert fault.status.status_code is StatusCode.ERROR
    assert "zqdocument" not in fault.to_json()


def test_no_span_has_what_a_caller_sends(url: str, exporter: InMemorySpanExporter) -> None:
    headers = {"x-secret": "zqheader", "authorization": "Bearer zqkey", "user-agent": "zqheader"}
    with httpx2.Client(base_url=url, headers=headers) as client:
        client.post("/v1/rank", json=RANK)
        client.post("/v1/rank", json=RANK | {"model": "zqmodel"})
        client.post("/v1/rank", json=RANK, params={"zqpath": "zqpath"})
        client.post("/v1/search", json={"query": "zqquery", "where": "zqquery"})
        client.get("/zqpath")
        client.get("/v1/passages/zqpath")
    spans = finished(exporter, SpanKind.SERVER, 6) + finished(exporter, SpanKind.INTERNAL)
    assert {span.name for span in spans} >= {"GET /v1/passages/{passage_id}", "GET other"}
    text = "".join(span.to_json() for span in spans)
    assert [secret for secret in SECRETS if secret in text] == []


@pytest.mark.parametrize(
    "traceparent", ["", "00-zz-zz-zz", f"00-{'0' * 32}-{PARENT}-01", "ü", f"00-{TRACE}-{PARENT}"]
)
def test_a_wrong_traceparent_begins_a_trace(
    url: str, exporter: InMemorySpanExporter, traceparent: str
) -> None:
    headers = {b"traceparent": traceparent.encode()}
    assert httpx2.post(f"{url}/v1/rank", json=RANK, headers=headers).status_code == 200
    (request,) = finished(exporter, SpanKind.SERVER)
    assert request.parent is None


def test_without_an_sdk_nothing_is_recorded_and_the_trace_of_the_caller_is_known() -> None:
    headers = [(b"traceparent", HEADERS["traceparent"].encode())]
    with request_span({"method": "POST", "headers": headers}) as trace_id:
        assert trace_id == TRACE
        assert not get_current_span().is_recording()
    with request_span({"method": "POST", "headers": []}) as trace_id:
        assert trace_id is None


EVERY_SPAN = """
import json
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

from starlette.testclient import TestClient
from resift import Reranker
from resift.serve.admission import Admission
from resift.serve.app import create_app
from resift.serve.options import ServeOptions
from resift.serve.service import Service

app = create_app(ServeOptions(), Service({"bundled": Reranker()}, {}, Admission()))
call = {"name": "zqtool", "arguments": {"query": "zqquery"}}
with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
    client.post("/v1/rank?zqname=zqvalue", json={"query": "zqquery", "documents": ["zqdocument"]})
    client.get("/zqpath")
    for method, params in (("tools/call", call), ("zqmethod", {})):
        message = {"jsonrpc": "2.0", "id": "zqid", "method": method, "params": params}
        headers = {"accept": "application/json, text/event-stream"}
        print(client.post("/mcp", json=message, headers=headers).status_code)
for span in exporter.get_finished_spans():
    print(span.to_json(indent=None))
"""


def test_libraries_of_the_server_add_no_spans_that_say_more() -> None:
    """In a process of its own: a provider is for the rest of a process."""
    command = [sys.executable, "-W", "error", "-c", EVERY_SPAN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "POST /v1/rank" in done.stdout and "POST /mcp" in done.stdout
    assert "zq" not in done.stdout
    assert done.stdout.count("SpanKind.SERVER") == 4


durations = st.floats(0, 1_000)


@given(
    st.dictionaries(st.sampled_from([*FIRST_STAGE, "lexical", "embed", "dense"]), durations),
    st.dictionaries(st.sampled_from([*THEN, *RERANKING]), durations),
    durations,
)
def test_stages_are_placed_within_the_call_one_after_another(
    first: dict[str, float], then: dict[str, float], total: float
) -> None:
    spans = placed({**first, **then, "total": total})
    assert set(spans) == set(first) | set(then)
    assert all(0 <= begin <= end <= total for begin, end in spans.values())
    for stages in ([*FIRST_STAGE, "lexical", *THEN], [*FIRST_STAGE, "embed", "dense"], RERANKING):
        edges = [edge for stage in stages if stage in spans for edge in spans[stage]]
        assert edges == sorted(edges)


def test_stages_that_fill_the_call_are_placed_without_gaps() -> None:
    timings = {"open": 1.0, "lexical": 5.0, "embed": 2.0, "dense": 2.0, "fetch": 1.0}
    timings |= {"tokenise": 2.0, "wait": 1.0, "score": 10.0, "total": 20.0}
    assert placed(timings) == {
        "open": (0.0, 1.0), "lexical": (1.0, 6.0), "embed": (1.0, 3.0), "dense": (3.0, 5.0),
        "fetch": (6.0, 7.0), "tokenise": (7.0, 9.0), "wait": (9.0, 10.0), "score": (10.0, 20.0),
    }  # fmt: skip
