"""A server on a free port of loopback, in a thread of this process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from resift.serve.app import create_app
from resift.serve.options import ServeOptions
from resift.serve.protocol import Protocol
from resift.serve.service import Service


@contextmanager
def running(service: Service, options: ServeOptions | None = None) -> Iterator[str]:
    """The URL of a server, without a slash at its end."""
    app = create_app(options or ServeOptions(), service)
    config = uvicorn.Config(
        app, port=0, http=Protocol, ws="none", lifespan="on", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive() and time.monotonic() < until, "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not stop"
