"""``/mcp`` of the HTTP server: the tools for agents, where the package mcp is installed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from resift.extras import require
from resift.serve.native import DIALECT
from resift.serve.options import ServeOptions
from resift.serve.problems import Kind, Problem
from resift.serve.service import Service


class MCPEndpoint:
    """An ASGI app for ``/mcp``; it answers while `running`."""

    def __init__(
        self, options: ServeOptions, get_service: Callable[[], Awaitable[Service]]
    ) -> None:
        self._options = options
        self._get_service = get_service
        self._app: ASGIApp = _not_installed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["resift.dialect"] = "mcp"
        if scope["method"] != "POST":  # there is no session, and so no stream of one to open
            await Response(status_code=405, headers={"allow": "POST"})(scope, receive, send)
            return
        await self._app(scope, receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer calls until the end of the block."""
        if find_spec("mcp") is None:
            yield
            return
        over_http = require("resift.serve.mcp", "mcp").over_http
        async with over_http(self._get_service, self._options) as self._app:
            yield


async def _not_installed(scope: Scope, receive: Receive, send: Send) -> None:
    message = "mcp is not installed: run  pip install 'resift[mcp]'"
    response = DIALECT.response(Problem(Kind.not_found, message))
    await response(scope, receive, send)
