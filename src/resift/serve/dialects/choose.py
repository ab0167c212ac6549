"""Which dialect a path speaks. At ``/rerank`` and ``/v1/rerank`` the body decides."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import reduce
from json import JSONDecodeError
from operator import or_
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, WrapValidator
from starlette.responses import Response

from resift.serve import native
from resift.serve.call import TheCall
from resift.serve.dialect import Dialect, JSONRequest, noted_problem
from resift.serve.dialects import cohere, infinity, jina, tei, vllm, voyage
from resift.serve.responses import JSON


@dataclass(frozen=True, slots=True)
class Spoken:
    """A dialect at a shared path: the body that it reads, and the handler that answers."""

    dialect: Dialect
    routers: tuple[APIRouter, ...]
    body: type[BaseModel]
    rerank: Callable[[Any, Any], Awaitable[Response]]

    @property
    def routes(self) -> list[APIRoute]:
        """The dialect's own routes."""
        routes = (route for router in self.routers for route in router.routes)
        return [route for route in routes if isinstance(route, APIRoute)]


TEI = Spoken(tei.DIALECT, (tei.router,), tei.Body, tei.rerank)
INFINITY = Spoken(infinity.DIALECT, (infinity.router,), infinity.Body, infinity.rerank)
VOYAGE = Spoken(voyage.DIALECT, (voyage.router,), voyage.Body, voyage.rerank)
COHERE = Spoken(
    cohere.DIALECT, (cohere.v2_router, cohere.v1_router), cohere.V1Body, cohere.rerank_v1
)
VLLM = Spoken(vllm.DIALECT, (vllm.router,), vllm.Body, vllm.rerank)
JINA = Spoken(jina.DIALECT, (jina.router,), jina.Body, jina.rerank)

PREFIXES = {
    f"/{spoken.dialect.name}": spoken for spoken in (COHERE, JINA, VOYAGE, TEI, VLLM, INFINITY)
}
"""Below its prefix a dialect has all its paths."""

AT_ROOT = {
    "/v2/rerank": COHERE,
    "/score": VLLM,
    "/v1/score": VLLM,
    "/v1/models": VLLM,
    "/models": INFINITY,
    "/info": TEI,
}
"""Paths that no other dialect has are at the root too."""

SHARED = ("/rerank", "/v1/rerank")

RULE: tuple[tuple[tuple[str, ...], Spoken], ...] = (
    (("texts",), TEI),
    (("raw_scores",), INFINITY),
    (("top_k", "truncation"), VOYAGE),
    (("rank_fields", "max_chunks_per_doc"), COHERE),
    (
        (
            "use_activation",
            "truncate_prompt_tokens",
            "truncation_side",
            "max_tokens_per_query",
            "max_tokens_per_doc",
            "request_id",
            "priority",
            "instruction",
            "cache_salt",
            "chat_template_kwargs",
            "mm_processor_kwargs",
        ),
        VLLM,
    ),
)
"""The dialect of a body that has one of the fields, other than null; the first match counts."""

WITHOUT_MODEL, OTHERWISE = VLLM, JINA
"""The dialects of bodies that have none of the fields: without ``model``, and with it."""


def spoken_in(body: object) -> Spoken:
    """The dialect of a body at a shared path."""
    if not isinstance(body, dict):
        return OTHERWISE
    given = {name for name, value in body.items() if value is not None}
    for names, spoken in RULE:
        if given.intersection(names):
            return spoken
    return OTHERWISE if "model" in given else WITHOUT_MODEL


def dialect_of(path: str) -> Dialect:
    """The dialect of a path, for problems before a route is known."""
    prefix, below, _ = path.removeprefix("/").partition("/")
    if below and f"/{prefix}" in PREFIXES:
        return PREFIXES[f"/{prefix}"].dialect
    if path in SHARED:
        return OTHERWISE.dialect
    return AT_ROOT[path].dialect if path in AT_ROOT else native.DIALECT


class _SharedRoute(APIRoute):
    """A route whose body decides how it is answered, whatever becomes of the request."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler; problems are answered in the dialect of the body."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            request = JSONRequest(request.scope, request.receive)
            try:
                dialect = spoken_in(await request.json()).dialect
            except JSONDecodeError:
                dialect = OTHERWISE.dialect
            request.scope["resift.dialect"] = dialect.name
            try:
                return await handle(request)
            except Exception as error:
                return dialect.response(noted_problem(error))

        return answer


def _validated(value: Any, _: object) -> BaseModel:
    """The body in the form of its dialect, without a try of the others."""
    return spoken_in(value).body.model_validate(value)


_ONE = {"query": "how do I reset my password", "documents": ["Press Reset.", "It is closed."]}
_EXAMPLES: dict[str, Any] = {
    "tei": {"query": _ONE["query"], "texts": _ONE["documents"], "return_text": True},
    "infinity": {**_ONE, "raw_scores": True, "top_n": 1},
    "voyage": {**_ONE, "model": "bundled", "top_k": 1, "return_documents": True},
    "cohere": {**_ONE, "model": "bundled", "max_chunks_per_doc": 1},
    "vllm": {**_ONE, "top_n": 1, "max_tokens_per_doc": 100},
    "jina": {**_ONE, "model": "bundled", "top_n": 1},
}

AnyBody = Annotated[
    tei.Body | infinity.Body | voyage.Body | cohere.V1Body | vllm.Body | jina.Body,
    WrapValidator(_validated),
    Body(openapi_examples={name: {"value": value} for name, value in _EXAMPLES.items()}),
]

_BY_BODY = {spoken.body: spoken for spoken in PREFIXES.values()}


async def rerank(body: AnyBody, call: TheCall) -> Response:
    """Rerank in the dialect of the body: TEI, infinity, Voyage, Cohere v1, vLLM or Jina."""
    return await _BY_BODY[type(body)].rerank(body, call)


def _responses() -> dict[int | str, dict[str, Any]]:
    """What any of the dialects may answer, by status."""
    models: dict[int | str, list[Any]] = {}
    for spoken in PREFIXES.values():
        route = next(route for route in spoken.routes if route.endpoint is spoken.rerank)
        for status, response in route.responses.items():
            if "model" in response:
                models.setdefault(status, []).append(response["model"])
    return {status: {"model": reduce(or_, kinds)} for status, kinds in models.items()}


def routers() -> list[APIRouter]:
    """The routers of all dialects: the shared paths, those at the root, and all below prefixes."""
    shared = APIRouter(tags=["the body decides"], route_class=_SharedRoute)
    for path in SHARED:
        shared.post(path, summary="Rerank", responses=_responses(), response_class=JSON)(rerank)
    root = APIRouter()
    for path, spoken in AT_ROOT.items():
        root.routes += [route for route in spoken.routes if route.path == path]
    below = APIRouter()
    for prefix, spoken in PREFIXES.items():
        for router in spoken.routers:
            below.include_router(router, prefix=prefix)
    return [shared, root, below]
