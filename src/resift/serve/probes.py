"""Is the server alive, and is it ready?"""

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from resift.serve.native import DIALECT
from resift.serve.responses import JSON

router = APIRouter(tags=["probes"], route_class=DIALECT.route_class())


class Health(BaseModel):
    """The server answers."""

    status: str = "ok"


class Readiness(BaseModel):
    """Whether models and indexes are open; `waiting_for` names what is not."""

    ready: bool
    models: list[str]
    waiting_for: list[str]


@router.get("/health", summary="Alive?", response_class=JSON)
@router.head("/health", include_in_schema=False)
@router.api_route("/ping", methods=["GET", "HEAD"], include_in_schema=False)
async def health() -> Health:
    """200 as long as the process answers."""
    return Health()


@router.get(
    "/ready",
    summary="Ready?",
    responses={200: {"model": Readiness}, 503: {"model": Readiness}},
    response_class=JSON,
)
async def ready(request: Request) -> Response:
    """200 once all models are loaded and all indexes are open, else 503."""
    service = request.app.state.service
    waiting = ["models"] if service is None else service.not_ready
    models = [] if service is None else list(service.models)
    readiness = Readiness(ready=not waiting, models=models, waiting_for=waiting)
    return JSON(readiness, 503 if waiting else 200)
