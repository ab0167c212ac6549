"""Which dialect a path speaks; at paths that several use, the body decides."""

from fastapi import APIRouter

from resift.serve import native
from resift.serve.dialect import Dialect
from resift.serve.dialects import cohere


def routers() -> list[APIRouter]:
    """The routers of all dialects: at their usual paths, and under a prefix each."""
    prefixed = APIRouter(prefix="/cohere")
    prefixed.include_router(cohere.router)
    return [cohere.router, prefixed]


def dialect_of(path: str) -> Dialect:
    """The dialect of a path, for problems before a route is known."""
    return cohere.DIALECT if path.startswith(("/cohere/", "/v2/rerank")) else native.DIALECT
