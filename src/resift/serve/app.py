"""The app: all routers over one service, with what surrounds them. Opens and closes the service."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

import resift
from resift.rerank.reranker import Reranker
from resift.serve import native, probes
from resift.serve.admission import Admission
from resift.serve.dialect import noted_problem
from resift.serve.dialects import choose
from resift.serve.gate import MCP_PATH, Gate
from resift.serve.hosts import Hosts
from resift.serve.keys import Keys
from resift.serve.mcp_endpoint import MCPEndpoint
from resift.serve.observer import Observed, Observer
from resift.serve.observer import router as metrics_router
from resift.serve.options import ServeOptions
from resift.serve.page import page
from resift.serve.service import Service

WARM_UP_WORDS = (8, 60, 150, 300, 500)
"""Words of the texts that are ranked before the server is ready: runtimes compile per length."""


def create_app(options: ServeOptions, service: Service | None = None) -> FastAPI:
    """The server as an ASGI app. Opens a service of `options` at its start, unless it gets one."""
    observer = Observer()

    async def the_service() -> Service:
        opened: Service = app.state.service
        return opened

    agents = MCPEndpoint(options, the_service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.service = await _opened(app, options, service, stack)
            stack.enter_context(observer.watching(app.state.service))
            _run_until_end(stack, observer.keep_fresh())
            await stack.enter_async_context(agents.running())
            yield

    app = FastAPI(
        title="resift",
        summary="Reranking and two-stage search, in the dialects of other rerankers",
        version=resift.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        # FastAPI's would have paths, queries and the messages of exceptions; tracing.py has ours.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.service, app.state.observer = None, observer
    routers = (native.router, *choose.routers(), probes.router, metrics_router, page.router)
    for router in routers:
        app.include_router(router)
    app.router.routes.append(Route(MCP_PATH, agents))
    app.add_exception_handler(HTTPException, _answer_error)
    app.add_exception_handler(Exception, _answer_error)
    keys = None if options.keys is None else Keys(options.keys)
    app.add_middleware(
        Gate,
        dialect_of=choose.dialect_of,
        on_finished=observer.on_finished,
        keys=keys,
        hosts=Hosts(options),
    )
    app.add_middleware(Observed)
    return app


def open_service(options: ServeOptions) -> Service:
    """The models and indexes of a server. Raises as `Service.open` does."""
    admission = Admission(options.max_queue_tokens)
    return Service.open(options.models, options.indexes, admission=admission)


async def _opened(
    app: FastAPI, options: ServeOptions, service: Service | None, stack: AsyncExitStack
) -> Service:
    """The service, warm, and kept up to date until the end of the stack."""
    if service is None:
        service = await asyncio.to_thread(open_service, options)
        stack.callback(service.close)
    await asyncio.gather(
        service.open_indexes(),
        *(asyncio.to_thread(warm_up, reranker) for reranker in service.models.values()),
    )
    _run_until_end(stack, service.keep_renewed())
    return service


def _run_until_end(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    """Run work beside the requests, and cancel it at the end of the stack."""
    stack.push_async_callback(_ended, asyncio.create_task(work))


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def warm_up(reranker: Reranker) -> None:
    """Rank texts of several lengths, so that the first callers do not wait for the runtime."""
    texts = [" ".join(["warm"] * words) for words in WARM_UP_WORDS for _ in range(4)]
    reranker.rank("is it warm", texts, exact=True)


async def _answer_error(request: Request, error: Exception) -> Response:
    """The answer to a path or method that is not there, and to a fault outside of routes."""
    response = choose.dialect_of(request.url.path).response(noted_problem(error))
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    return response
