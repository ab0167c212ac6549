"""A replica: the whole server in an actor of Ray, without a port. Imports no Ray."""

import asyncio
import os
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from starlette.applications import Starlette
from starlette.types import Message

from resift.jobs.serve_forward import complete
from resift.jobs.serve_names import replica_name
from resift.jobs.serve_scaling import QUEUED_TOKENS
from resift.serve.app import create_app
from resift.serve.logs import log_to_stderr
from resift.serve.observer import Observer
from resift.serve.options import ServeOptions
from resift.serve.service import Service

REPLICA_HEADER = b"x-replica"
"""The header of an answer that names the replica."""


class Replica:
    """Loads the models, opens the indexes, and answers what the ingress sends."""

    async def __init__(  # type: ignore[misc]  # Ray awaits it
        self, options: ServeOptions, name: str | None = None, cpus: int = 1
    ) -> None:
        """Start. Without a `name`, Ray has one. Raises as `create_app` does at its start."""
        os.environ["RESIFT_THREADS"] = str(cpus)
        log_to_stderr()
        self._name = name or replica_name()
        self._app = create_app(options)
        self._running: _Running | None = _Running(self._app)
        await self._running.begun()

    async def answer(
        self, scope: dict[str, Any], body: bytes
    ) -> AsyncGenerator[list[Message], None]:
        """Answer a request in the messages of ASGI; as many at once as there are.

        A caller that goes away closes the generator: the server then stops its work.
        """
        sent: asyncio.Queue[Message | None] = asyncio.Queue()
        gone = asyncio.Event()
        incoming = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if incoming:
                return incoming.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                tag = (REPLICA_HEADER, self._name.encode())
                message = {**message, "headers": [*message.get("headers", ()), tag]}
            sent.put_nowait(message)

        task = asyncio.ensure_future(self._app(scope, receive, send))
        task.add_done_callback(lambda _: sent.put_nowait(None))
        try:
            while messages := await _next(sent):
                if complete(messages):  # the log has the request before the caller has the answer
                    await asyncio.wait([task])
                yield messages
            await task  # raises what the app raised, perhaps after it had answered with an error
        finally:
            gone.set()
            await asyncio.wait([task])

    async def state(self) -> tuple[str, list[str], list[str]]:
        """The name of the replica, its models, and the indexes that it waits for."""
        return self._name, list(self._service.models), self._service.not_ready

    async def metrics(self) -> tuple[str, str]:
        """The name of the replica, and its metrics in Prometheus' text format."""
        observer: Observer = self._app.state.observer
        observer.refresh()
        content, _ = await asyncio.to_thread(observer.metrics.exposition, "text/plain")
        return self._name, content.decode()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What Ray asks for scaling: the tokens that wait."""
        return {QUEUED_TOKENS: self._service.admission.waiting_tokens}

    async def check_health(self) -> None:
        """Raise if the server has ended; Ray replaces a replica that raises or does not answer."""
        if self._running is None or self._running.ended:
            raise RuntimeError("the server of this replica has ended")

    def __del__(self) -> Coroutine[Any, Any, None] | None:
        """Ray awaits this when the replica ends, after its open requests."""
        running, self._running = getattr(self, "_running", None), None
        return None if running is None else running.end()

    @property
    def _service(self) -> Service:
        service: Service = self._app.state.service
        return service


class _Running:
    """The lifespan of an app, in a task of its own: it must end in the task that began it."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._begun, self._stop = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with self._app.router.lifespan_context(self._app):
            self._begun.set()
            await self._stop.wait()

    async def begun(self) -> None:
        """Wait until the app can answer. Raises what its start raises."""
        begun = asyncio.create_task(self._begun.wait())
        await asyncio.wait([begun, self._task], return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        if self._task.done():
            self._task.result()

    @property
    def ended(self) -> bool:
        """Whether the app cannot answer any more."""
        return self._task.done()

    async def end(self) -> None:
        """Close the app's service."""
        self._stop.set()
        await asyncio.wait([self._task])


async def _next(sent: "asyncio.Queue[Message | None]") -> list[Message]:
    """The messages that wait, at least one; none at the end."""
    messages = []
    message = await sent.get()
    while message is not None:
        messages.append(message)
        if sent.empty():
            break
        message = sent.get_nowait()
    else:
        if messages:
            sent.put_nowait(None)  # the end, for the next call
    return messages
