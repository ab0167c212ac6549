"""Spans of OpenTelemetry: one a request, and below it those of its ranking and of each stage.

Only the API of OpenTelemetry is used: without an SDK, which the operator configures, nothing is
recorded. Attributes are names and numbers, never texts, keys or ids of documents.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue
from starlette.types import Scope

import resift
from resift.serve.gate import Finished
from resift.serve.record import Record
from resift.types import Receipt

FIRST_STAGE = ("open", "table", "filter")
RETRIEVERS = (("lexical",), ("embed", "dense"))
"""They run at the same time."""

THEN = ("fuse", "load", "fetch")
RERANKING = ("tokenise", "wait", "score")

_tracer: Tracer = trace.get_tracer("resift", resift.__version__)


@contextmanager
def request_span(scope: Scope) -> Iterator[str | None]:
    """A span around a request, which continues the caller's trace; gives the id of the trace."""
    wanted = {name.encode("latin-1") for name in propagate.get_global_textmap().fields}
    carrier = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in wanted
    }
    parent = propagate.extract(carrier) if carrier else None
    span = _tracer.start_span(scope["method"], context=parent, kind=SpanKind.SERVER)
    with trace.use_span(span, True, record_exception=False, set_status_on_exception=False):
        context = span.get_span_context()
        yield trace.format_trace_id(context.trace_id) if context.is_valid else None


def finish_request(finished: Finished, record: Record) -> None:
    """Name the current span, and record how the request ended."""
    span = trace.get_current_span()
    if not span.is_recording():
        return
    span.update_name(f"{finished.method} {record.path}")
    attributes: dict[str, AttributeValue | None] = {
        "http.request.method": finished.method,
        "http.route": record.path,
        "http.response.status_code": finished.status,
        "http.request.body.size": finished.bytes,
        "resift.request_id": finished.request_id,
        "resift.dialect": finished.dialect,
        "resift.problem": record.problem,
        "error.type": record.problem,
    }
    if record.receipts:
        attributes |= {
            "resift.model": record.model,
            "resift.documents": record.documents,
            "resift.tokens": record.tokens,
            "resift.partial": record.partial,
        }
    _set(span, attributes)
    if finished.status >= 500:
        span.set_status(Status(StatusCode.ERROR))


def ranking_spans(operation: str, receipt: Receipt) -> None:
    """Spans of a ranking that has just ended, and of its stages, from the times of its receipt."""
    if not trace.get_current_span().is_recording():
        return
    total_ms = receipt.timings_ms.get("total", 0.0)
    begin = time.time_ns() - _ns(total_ms)
    span = _tracer.start_span(f"resift.{operation}", start_time=begin)
    _set(
        span,
        {
            "resift.model": receipt.model,
            "resift.fingerprint": receipt.fingerprint,
            "resift.documents": receipt.depth,
            "resift.scored": receipt.scored,
            "resift.pruned": receipt.pruned,
            "resift.cached": receipt.cached,
            "resift.tokens": receipt.tokens,
            "resift.partial": receipt.partial,
            "resift.index_version": receipt.version,
        },
    )
    inside = trace.set_span_in_context(span)
    for stage, (from_ms, to_ms) in placed(receipt.timings_ms).items():
        child = _tracer.start_span(f"resift.{stage}", inside, start_time=begin + _ns(from_ms))
        child.end(begin + _ns(to_ms))
    span.end(begin + _ns(total_ms))


def placed(timings_ms: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Begin and end of each stage, in ms from the begin of the call.

    A receipt has durations only. The first stage begins with the call, its retrievers at the same
    time, and reranking ends with the call.
    """
    total = timings_ms.get("total", 0.0)
    spans: dict[str, tuple[float, float]] = {}

    def put(stages: tuple[str, ...], begin: float) -> float:
        for stage in stages:
            if stage in timings_ms:
                end = min(begin + timings_ms[stage], total)
                spans[stage] = (min(begin, total), end)
                begin = end
        return begin

    begin = put(FIRST_STAGE, 0.0)
    begin = max([put(stages, begin) for stages in RETRIEVERS])
    put(THEN, begin)
    reranking = sum(timings_ms.get(stage, 0.0) for stage in RERANKING)
    put(RERANKING, max(total - reranking, 0.0))
    return spans


def _set(span: Span, attributes: Mapping[str, AttributeValue | None]) -> None:
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})


def _ns(ms: float) -> int:
    return round(ms * 1e6)
