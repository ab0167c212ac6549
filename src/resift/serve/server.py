"""Runs the app: one process, or several that share a socket and are replaced when they die."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import parent_process

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from resift.cores import cores
from resift.errors import InputError
from resift.files import reason
from resift.serve.app import create_app, open_service
from resift.serve.logs import log_to_stderr, logging_to_stderr
from resift.serve.metrics import forget_process, shared_by_processes
from resift.serve.options import ServeOptions
from resift.serve.protocol import Protocol
from resift.serve.service import BUNDLED, Service
from resift.settings import Settings

DRAIN_S = 30
"""How long a server that was told to stop waits for its open requests."""

START_S = 120.0
"""How long worker processes may take to start."""

Announce = Callable[[str], None]

_log = logging.getLogger("resift")


def serve(options: ServeOptions, announce: Announce) -> int:
    """Serve until SIGTERM or Ctrl-C, then answer open requests and end; returns the exit code.

    `announce` gets one line when the server is ready. Raises `InputError` for an address that
    cannot be used, and what `Service.open` raises.
    """
    listener = _listen(options)
    port = listener.getsockname()[1]
    with logging_to_stderr():
        if options.workers > 1:
            return _serve_in_processes(options, listener, lambda: announce(_line(options, port)))
        return _serve_in_this_process(options, listener, announce)


def _serve_in_this_process(
    options: ServeOptions, listener: socket.socket, announce: Announce
) -> int:
    port = listener.getsockname()[1]
    _end_on_sigterm()
    service = open_service(options)
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
            _announce(self._on_ready)


def _announce(on_ready: Callable[[], None]) -> None:
    """Print that the server is ready; it serves also where nobody can be told."""
    try:
        on_ready()
    except (OSError, ValueError) as error:
        _log.warning("stdout cannot be written, and the server goes on: %s", error)


async def _serve(server: uvicorn.Server, listener: socket.socket) -> int:
    try:
        await server.serve([listener])
    except KeyboardInterrupt:
        return 0
    return 0 if server.started else 1


class _Supervisor(Multiprocess):
    """Worker processes; announces when all of them serve, and notes which have ended."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], on_ready: Callable[[], None]
    ) -> None:
        super().__init__(config, sockets)
        self.started = False
        self._on_ready = on_ready
        self._running: set[int] = set()

    def init_processes(self) -> None:
        super().init_processes()
        for process in self.processes:
            if not process.wait_until_ready(START_S, self.should_exit):
                _log.error("worker process %s did not start, and the server ends", process.pid)
                self.should_exit.set()
                return
        self._running = self._processes_now()
        self.started = True
        _announce(self._on_ready)

    def terminate_all(self) -> None:
        """Close the port, so that new connections are refused, and let the workers end."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def keep_subprocess_alive(self) -> None:
        """Replace processes that have died, and leave their state out of the metrics."""
        super().keep_subprocess_alive()
        running = self._processes_now()
        for ended in self._running - running:
            _log.warning("worker process %d has ended", ended)
            forget_process(ended)
        self._running = running

    def _processes_now(self) -> set[int]:
        return {process.pid for process in self.processes if process.pid is not None}


def _serve_in_processes(
    options: ServeOptions, listener: socket.socket, on_ready: Callable[[], None]
) -> int:
    Service.check(options.models, options.indexes)
    config = _config(options, partial(worker_app, options))
    with shared_by_processes():
        supervisor = _Supervisor(config, [listener], on_ready)
        supervisor.run()
    return 0 if supervisor.started else 1


def worker_app(options: ServeOptions) -> FastAPI:
    """The app of a worker process, which gets its share of the cores."""
    os.environ.setdefault("RESIFT_THREADS", str(max(cores() // options.workers, 1)))
    return create_app(options)


class _Config(uvicorn.Config):
    """The configuration of each process."""

    def configure_logging(self) -> None:
        """Called first in a worker process, and once in its parent."""
        if parent_process() is not None:
            log_to_stderr()
            _end_on_sigterm()
            threading.Thread(target=_end_with_parent, name="resift-parent", daemon=True).start()


def _end_with_parent() -> None:
    """End this worker process in order when its parent has been killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _end_on_sigterm() -> None:
    """Let SIGTERM end the process in order, so that all log lines are written.

    uvicorn raises it again when it has ended, and its default kills the process on the spot.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))


def _config(options: ServeOptions, app: object) -> uvicorn.Config:
    return _Config(
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
        addresses = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = addresses[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        raise InputError(
            f"{options.host}:{options.port}: cannot be listened at ({reason(error)}); "
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
