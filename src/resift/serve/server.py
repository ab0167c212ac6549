"""Runs the app: one process, or several that share a socket and are replaced when they die."""

import asyncio
import os
import socket
from collections.abc import Callable
from functools import partial

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from resift.cores import cores
from resift.errors import InputError
from resift.serve.app import create_app
from resift.serve.logs import log_to_stderr
from resift.serve.options import ServeOptions
from resift.serve.protocol import Protocol
from resift.serve.service import BUNDLED, Service
from resift.settings import Settings

DRAIN_S = 30
"""How long a server that was told to stop waits for its open requests."""

START_S = 120.0
"""How long worker processes may take to start."""

Announce = Callable[[str], None]


def serve(options: ServeOptions, announce: Announce) -> int:
    """Serve until SIGTERM or Ctrl-C, then answer open requests and end; returns the exit code.

    `announce` gets one line when the server is ready. Raises `InputError` for an address that
    cannot be used, and what `Service.open` raises.
    """
    listener = _listen(options)
    port = listener.getsockname()[1]
    if options.workers > 1:
        return _serve_in_processes(options, listener, lambda: announce(_line(options, port)))
    log_to_stderr()
    service = Service.open(options.models, options.indexes)
    service.admission.max_tokens = options.max_queue_tokens
    try:
        config = _config(options, create_app(options, service))
        line = _line(options, port, service)
        return asyncio.run(_serve(_Server(config, lambda: announce(line)), listener))
    finally:
        service.close()


class _Server(uvicorn.Server):
    """Announces that it is ready."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


async def _serve(server: uvicorn.Server, listener: socket.socket) -> int:
    try:
        await server.serve([listener])
    except KeyboardInterrupt:
        return 0
    return 0 if server.started else 1


class _Supervisor(Multiprocess):
    """Worker processes; announces when all of them serve."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], on_ready: Callable[[], None]
    ) -> None:
        super().__init__(config, sockets)
        self._on_ready = on_ready

    def init_processes(self) -> None:
        super().init_processes()
        for process in self.processes:
            if not process.wait_until_ready(START_S, self.should_exit):
                self.should_exit.set()
                return
        self._on_ready()


def _serve_in_processes(
    options: ServeOptions, listener: socket.socket, on_ready: Callable[[], None]
) -> int:
    Service.check(options.models, options.indexes)
    config = _config(options, partial(worker_app, options))
    supervisor = _Supervisor(config, [listener], on_ready)
    supervisor.run()
    return 0


def worker_app(options: ServeOptions) -> FastAPI:
    """The app of a worker process, which gets its share of the cores."""
    log_to_stderr()
    os.environ.setdefault("RESIFT_THREADS", str(max(cores() // options.workers, 1)))
    return create_app(options)


def _config(options: ServeOptions, app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # an app or a factory
        factory=not isinstance(app, FastAPI),
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        workers=options.workers,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key and str(options.tls_key),
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=75,
        backlog=2048,
    )


def _listen(options: ServeOptions) -> socket.socket:
    """A listening socket; its port is free or was asked for. Raises `InputError`."""
    try:
        found = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        raise InputError(
            f"{options.host}:{options.port}: cannot be listened at ({error.strerror}); "
            "name another --host or --port"
        ) from error
    listener.set_inheritable(True)
    return listener


def _line(options: ServeOptions, port: int, service: Service | None = None) -> str:
    """The line that says where the server is and what it has."""
    url = options.url(port)
    if service is None:
        models = options.models or (Settings.load().model or BUNDLED,)
        indexes = options.indexes
    else:
        models, indexes = tuple(service.models), tuple(service.indexes)
    parts = [f"models {', '.join(models)}"]
    if indexes:
        parts.append(f"indexes {', '.join(indexes)}")
    return f"resift serves {'; '.join(parts)} at {url}; page {url}/"
