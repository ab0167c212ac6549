"""HTTP/1.1 of uvicorn, with a limit on the time that a request's headers take to arrive."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_S = 15.0
"""How long a connection may take to send the headers of its first, or of its next, request."""


class Protocol(HttpToolsProtocol):
    """Closes a connection that sends its headers too slowly, or nothing at all."""

    _headers_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to wait for the first request."""
        super().connection_made(transport)  # type: ignore[arg-type]  # a Transport, as there
        self._wait_for_headers()

    def on_message_begin(self) -> None:
        """Start to wait for the headers of a request."""
        super().on_message_begin()
        self._wait_for_headers()

    def on_headers_complete(self) -> None:
        """The headers are there."""
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        self._stop_waiting()
        self._headers_timer = self.loop.call_later(HEADERS_S, self._close)

    def _stop_waiting(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def protocol_options() -> dict[str, Any]:
    """The arguments of ``uvicorn.Config`` for this protocol."""
    return {"http": Protocol, "ws": "none"}
