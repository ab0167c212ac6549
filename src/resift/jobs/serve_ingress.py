"""The ingress: in front of the replicas, it checks requests and finds a replica for each.

It holds no model. Keys, hosts and the sizes of bodies are checked here, before a replica hears of a
request; the replica answers, and logs what it has answered.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resift.extras import require
from resift.jobs.serve_forward import FORWARDED, Forwarder, complete
from resift.jobs.serve_metrics import IngressMetrics, merged
from resift.jobs.serve_names import APPLICATION, INGRESS, replica_name
from resift.serve.dialects import choose
from resift.serve.gate import GONE, Finished, Gate
from resift.serve.hosts import Hosts
from resift.serve.keys import Keys
from resift.serve.logs import log_request, log_to_stderr
from resift.serve.options import ServeOptions
from resift.serve.probes import Health, Readiness
from resift.serve.problems import FAILED, Kind, Problem
from resift.serve.record import Record, current, recording
from resift.serve.responses import JSON

REPLICAS_S = 3.0
"""How long probes and metrics wait for the replicas."""

_log = logging.getLogger("resift")


class ClusterReadiness(Readiness):
    """Whether a replica can answer; `replicas` has what each waits for."""

    replicas: dict[str, list[str]]


class Ingress:
    """Answers probes and metrics; everything else goes to a replica."""

    def __init__(self, replicas: Any, options: ServeOptions) -> None:
        """Take requests for the deployment of the handle `replicas`."""
        log_to_stderr()
        self._name = replica_name()
        self._replicas = replicas
        self._answer = replicas.options(stream=True).answer
        self._reading: set[asyncio.Future[None]] = set()
        self._metrics = IngressMetrics()
        self._forwarder = Forwarder(self._call, problem_of, choose.dialect_of)
        gate = Middleware(
            Gate,
            dialect_of=choose.dialect_of,
            on_finished=self._on_finished,
            keys=None if options.keys is None else Keys(options.keys),
            hosts=Hosts(options),
        )
        routes = [
            Route("/health", _health, methods=["GET"]),
            Route("/ping", _health, methods=["GET"]),
            Route("/ready", self._ready, methods=["GET"]),
            Route("/metrics", self._all_metrics, methods=["GET"]),
            Route("/{path:path}", self._forwarder),
        ]
        self._app = Starlette(routes=routes, middleware=[Middleware(_Recorded), gate])

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """What Ray asks for: the app that gets the requests of its proxies."""
        return self._app

    async def metrics(self) -> tuple[str, str]:
        """The name of this ingress, and its metrics in Prometheus' text format."""
        return self._name, self._metrics.exposition(self._forwarder.counts)

    async def _call(
        self, scope: dict[str, Any], body: bytes
    ) -> AsyncGenerator[Sequence[Message], None]:
        response = self._answer.remote(scope, body)
        finished = False
        try:
            async for messages in response:
                finished = complete(messages)
                yield messages
        finally:
            if finished:
                self._read_to_end(response)
            else:
                response.cancel()  # the caller has gone; nothing happens if the replica has

    def _read_to_end(self, response: Any) -> None:
        """Let Ray see the end of a call, without a wait for it: the caller has the whole answer."""
        reading = asyncio.ensure_future(_exhaust(response))
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)

    async def _ready(self, request: Request) -> Response:
        states = await _all(self._replicas, "state")
        waiting = {name: waiting_for for name, _, waiting_for in states}
        ready = any(not waiting_for for waiting_for in waiting.values())
        readiness = ClusterReadiness(
            ready=ready,
            models=next((models for _, models, _ in states), []),
            waiting_for=[] if ready else sorted(set(chain(*waiting.values()))) or ["a replica"],
            replicas=waiting,
        )
        return JSON(readiness, 200 if ready else 503)

    async def _all_metrics(self, request: Request) -> Response:
        ingresses = require("ray.serve", "ray").get_deployment_handle(INGRESS, APPLICATION)
        texts = dict([*await _all(ingresses, "metrics"), *await _all(self._replicas, "metrics")])
        accept = request.headers.get("accept", "")
        content, content_type = await asyncio.to_thread(merged, texts, accept)
        return Response(
            content, headers={"content-type": content_type, "cache-control": "no-store"}
        )

    def _on_finished(self, finished: Finished) -> None:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # by Ray: it may hear first that a caller left
            finished = replace(finished, status=GONE)
        self._metrics.request(finished.status)
        record = current()
        if record is not None and not record.scope.get(FORWARDED):
            record.problem = finished.problem
            log_request(finished, record)


class _Recorded:
    """A record around each request. Ray's proxy adds the header with the request's id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_without_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [entry for entry in message["headers"] if entry[0] != b"x-request-id"]
                message = {**message, "headers": headers}
            await send(message)

        with recording(Record(scope)):
            await self._app(scope, receive, send_without_id)


async def _exhaust(response: Any) -> None:
    with suppress(Exception):  # the answer is complete, whatever becomes of the replica now
        async for _ in response:
            pass


async def _health(request: Request) -> Response:
    return JSON(Health())


async def _all(handle: Any, method: str) -> list[Any]:
    """The answers of a deployment's replicas that come in time."""
    unavailable = require("ray.serve.exceptions", "ray").DeploymentUnavailableError
    response = handle.broadcast(method)
    try:
        # One by one: Ray's `results_async` has no result at all if one replica is late.
        replicas = await asyncio.wait_for(response._fetch_replica_results_async(), REPLICAS_S)
    except (TimeoutError, unavailable):  # no replica runs
        return []
    calls = (asyncio.wait_for(replica.get_async(), REPLICAS_S) for replica in replicas)
    said = await asyncio.gather(*calls, return_exceptions=True)
    for error in said:
        if isinstance(error, Exception) and not isinstance(error, TimeoutError):
            _log.warning("a replica does not answer %s: %s", method, type(error).__name__)
    return [entry for entry in said if not isinstance(entry, BaseException)]


def problem_of(error: Exception) -> Problem | None:
    """The problem that an error of a call to a replica is; None if the replica was lost."""
    ray, serve = require("ray.exceptions", "ray"), require("ray.serve.exceptions", "ray")
    lost = (ray.RayActorError, ray.NodeDiedError, ray.ObjectLostError, ray.WorkerCrashedError)
    if isinstance(error, lost):
        return None
    if isinstance(error, serve.BackPressureError):
        return Problem(Kind.overloaded, "too many requests wait", retry_after_s=1.0)
    if isinstance(error, serve.DeploymentUnavailableError):
        return Problem(Kind.unavailable, "the replicas of the server cannot be started")
    return Problem(Kind.failed, FAILED)
