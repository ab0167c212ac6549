"""The tools for agents over MCP, the Model Context Protocol: on stdin and stdout, or over HTTP.

Knows no tool by its name: `resift.serve.agents` has them.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

from mcp import types
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp

import resift
from resift.errors import OutputError
from resift.files import reason
from resift.serve.agents.tools import INSTRUCTIONS, TOOLS, ToolProblem, call
from resift.serve.messages import messages
from resift.serve.opening import ServiceOpening
from resift.serve.options import ServeOptions
from resift.serve.pipes import STDIN, LineReader, TextWriter, taken_stdout
from resift.serve.service import Service

LIST_TTL_MS = 3_600_000
"""How long a client may keep the list of tools, which does not change while a server runs."""

LAST_WRITES_S = 3.0
"""How long a client that has closed its side of the pipes may take to read the last answers."""

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
EVERY_ADDRESS = ("", "0.0.0.0", "::")

GetService = Callable[[], Awaitable[Service]]


def create_server(get_service: GetService) -> "Server[Any]":
    """The protocol's server; it asks for the service when a tool is called."""

    async def list_tools(context: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=_tools())

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            answer = await call(get_service, params.name, params.arguments or {})
        except ToolProblem as problem:
            return types.CallToolResult(content=[_text(str(problem))], is_error=True)
        return types.CallToolResult(
            content=[_text(answer.text)], structured_content=answer.structured
        )

    server: Server[Any] = Server(
        "resift",
        version=resift.__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        cache_hints={"tools/list": CacheHint(ttl_ms=LIST_TTL_MS, scope="public")},
    )
    server.middleware = []  # its spans would have names and messages of what a caller sends
    return server


@asynccontextmanager
async def over_http(get_service: GetService, options: ServeOptions) -> AsyncIterator[ASGIApp]:
    """An ASGI app that answers POST requests of the protocol with JSON; it keeps no sessions."""
    manager = StreamableHTTPSessionManager(
        create_server(get_service),
        json_response=True,
        stateless=True,
        security_settings=security(options),
        max_request_body_size=sys.maxsize,  # the gate has a limit
    )
    async with manager.run():
        yield manager.handle_request


def security(options: ServeOptions) -> TransportSecuritySettings:
    """Which Host and Origin headers are accepted: this machine's, the bound one, those named.

    Otherwise a page in a browser could reach a server on its user's machine by a name of its own
    that it points at that machine.
    """
    names = [*LOOPBACK, *options.allowed_hosts]
    if options.host not in EVERY_ADDRESS:
        names.append(f"[{options.host}]" if ":" in options.host else options.host)
    hosts = [pattern for name in names for pattern in _with_ports(name.lower())]
    origins = [f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts]
    return TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=origins)


def serve_stdio(models: Sequence[str], indexes: Sequence[str]) -> None:
    """Serve one client on stdin and stdout until it closes them, SIGTERM or Ctrl-C.

    Models are loaded in the background; the first call of a tool waits for them. Raises
    `InputError` for names of models or indexes that are not valid.
    """
    Service.check(models, indexes)
    opening = ServiceOpening(partial(Service.open, models, indexes))
    asyncio.run(_until_told(opening, taken_stdout()))


async def _until_told(opening: ServiceOpening, stdout: int) -> None:
    """Serve until a signal, or until the client has gone."""
    opening.start()
    reader, writer = LineReader(STDIN), TextWriter(stdout)
    _on_signals(reader.end)
    ending = asyncio.create_task(_give_up(reader, writer))
    try:
        await _serve_pipes(opening, reader, writer)
    finally:
        ending.cancel()
        await opening.close()


async def _give_up(reader: LineReader, writer: TextWriter) -> None:
    """Some time after the end of the input, wait no longer for the output to be read."""
    await reader.has_ended.wait()
    await asyncio.sleep(LAST_WRITES_S)
    writer.give_up()


async def _serve_pipes(opening: ServiceOpening, reader: LineReader, writer: TextWriter) -> None:
    server = create_server(opening.service)
    try:
        lines = messages(reader, writer)
        async with stdio_server(cast(Any, lines), cast(Any, writer)) as (requests, responses):
            await server.run(requests, responses, server.create_initialization_options())
    except* BrokenPipeError:  # the client has gone, which ends the work here
        pass
    except* OSError as errors:
        cause = errors.exceptions[0]
        reasons = reason(cause) if isinstance(cause, OSError) else "several times"
        raise OutputError(f"the output cannot be written ({reasons})") from errors


def _on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` in the event loop on SIGTERM and Ctrl-C."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))


def _with_ports(name: str) -> tuple[str, ...]:
    """The patterns of a host name with any port and without one, or of a name with its port."""
    has_port = not name.endswith("]") and ":" in name.rpartition("]")[2]
    return (name,) if has_port else (name, f"{name}:*")


def _tools() -> list[types.Tool]:
    return [
        types.Tool(
            name=tool.name,
            title=tool.title,
            description=tool.description,
            input_schema=tool.input_schema,
            output_schema=tool.result.model_json_schema(),
            annotations=types.ToolAnnotations(
                title=tool.title, read_only_hint=True, idempotent_hint=True, open_world_hint=False
            ),
        )
        for tool in TOOLS.values()
    ]


def _text(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)
