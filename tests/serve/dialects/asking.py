"""An app with the routes of some dialects, asked in this process."""

from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.testclient import TestClient

from resift.serve.service import Service


def client_of(service: Service, *routers: APIRouter) -> TestClient:
    """A client of an app with these routes and nothing around them."""
    app = FastAPI()
    for router in routers:
        app.include_router(router)
    app.state.service = service
    return TestClient(app)


class Raising(Service):
    """A service whose rankings raise an error."""

    error: Exception

    async def rank(self, *arguments: Any, **options: Any) -> Any:
        raise self.error


def raising(service: Service, error: Exception) -> Service:
    """The models of a service, in one whose rankings raise an error."""
    other = Raising(service.models, service.indexes, service.admission)
    other.error = error
    return other
