"""Brings what happens to metrics, logs and spans."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from fastapi import APIRouter, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from resift.serve.gate import Finished
from resift.serve.logs import dropped_lines, log_request
from resift.serve.metrics import Metrics
from resift.serve.native import DIALECT
from resift.serve.problems import Kind
from resift.serve.record import Record, current, recording
from resift.serve.service import Service
from resift.serve.tracing import finish_request, ranking_spans, request_span
from resift.types import Receipt

REFRESH_S = 5.0
"""How often a process measures its state for the metrics of all processes."""

router = APIRouter(tags=["probes"], route_class=DIALECT.route_class())


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """All metrics, in Prometheus' text format or as OpenMetrics."""
    observer: Observer = request.app.state.observer
    observer.refresh()
    accept = request.headers.get("accept", "")
    content, content_type = await asyncio.to_thread(observer.metrics.exposition, accept)
    return Response(content, headers={"content-type": content_type, "cache-control": "no-store"})


class Observer:
    """What is seen of one app: its requests, and its service once `watching` it."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self._service: Service | None = None

    @contextmanager
    def watching(self, service: Service) -> Iterator[None]:
        """Count the rankings and batches of a service, and measure its state, within the block."""
        before = service.observe
        service.observe, self._service = self.on_ranking, service
        self.metrics.set_models(
            {name: (model.name, model.fingerprint) for name, model in service.models.items()}
        )
        with ExitStack() as stack:
            for reranker in set(service.models.values()):
                stack.enter_context(reranker.watched(partial(self.metrics.batch, reranker.name)))
            try:
                yield
            finally:
                service.observe, self._service = before, None

    async def keep_fresh(self, every_s: float = REFRESH_S) -> None:
        """Call `refresh` again and again until cancelled."""
        while True:
            self.refresh()
            await asyncio.sleep(every_s)

    def refresh(self) -> None:
        """Measure the state of the process and of the service."""
        self.metrics.set_process(dropped_lines())
        if self._service is not None:
            self.metrics.set_queue(self._service.admission)
            self.metrics.set_indexes(self._service.indexes)

    def on_ranking(self, operation: str, receipt: Receipt) -> None:
        """A ranking has ended."""
        self.metrics.ranking(operation, receipt)
        ranking_spans(operation, receipt)
        record = current()
        if record is not None:
            record.receipts.append(receipt)

    def on_finished(self, finished: Finished) -> None:
        """A request has ended."""
        record = current() or Record({"path": finished.path})
        record.problem = finished.problem or record.problem
        if record.problem is None and finished.status == 500:
            record.problem = Kind.failed.value
        self.metrics.request(
            finished.dialect, record.path, finished.status, record.problem, finished.seconds
        )
        finish_request(finished, record)
        log_request(finished, record)


class Observed:
    """The outermost middleware: a span and a record around each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with request_span(scope) as trace_id, recording(Record(scope, trace_id)):
            await self._app(scope, receive, send)
