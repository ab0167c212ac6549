"""What a dialect is: how it says that something went wrong. And the route class of its paths."""

import json
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.exceptions import HTTPException

from resift.errors import shown
from resift.serve.problems import Kind, Problem, problem_of
from resift.serve.record import note_problem
from resift.serve.responses import JSON, retry_after

_log = logging.getLogger("resift")


@dataclass(frozen=True, slots=True)
class Dialect:
    """The name of a dialect, and its status and JSON body of a problem."""

    name: str
    status_and_body: Callable[[Problem], tuple[int, Any]]

    def response(self, problem: Problem) -> Response:
        """The response to a request with a problem."""
        status, body = self.status_and_body(problem)
        headers = {"x-problem": problem.kind.value}
        if problem.retry_after_s is not None:
            headers["retry-after"] = retry_after(problem.retry_after_s)
        if problem.kind is Kind.unauthorized:
            headers["www-authenticate"] = "Bearer"
        if body is None:
            return Response(status_code=status, headers=headers)
        return JSON(body, status, headers)

    def route_class(self) -> type[APIRoute]:
        """A class of routes that answer problems in this dialect."""
        dialect = self

        class Route(APIRoute):
            def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
                handle = super().get_route_handler()

                async def answer(request: Request) -> Response:
                    request.scope["resift.dialect"] = dialect.name
                    try:
                        return await handle(JSONRequest(request.scope, request.receive))
                    except Exception as error:
                        return dialect.response(noted_problem(error))

                return answer

        return Route


class JSONRequest(Request):
    """A request whose JSON may have lone surrogates (they become U+FFFD), but no NaN."""

    async def json(self) -> Any:
        """The body. Raises ``json.JSONDecodeError`` for what is not JSON or is nested too deep."""
        if not hasattr(self, "_json"):
            self._json = read_json(await self.body())
        return self._json


def read_json(body: bytes) -> Any:
    """The value of a JSON text. Raises ``json.JSONDecodeError``."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        if b"\\ud" not in body.lower():
            raise json.JSONDecodeError(str(error), "", 0) from None
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False)
        mended = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return from_json(mended, allow_inf_nan=False)
    except (ValueError, RecursionError) as error:
        raise json.JSONDecodeError(str(error), "", 0) from None


def noted_problem(error: Exception) -> Problem:
    """The problem of a request that raised; faults of the server go to the log."""
    problem = _problem(error)
    note_problem(problem.kind)
    if problem.kind is Kind.failed:
        _log.error("a request failed: %s", type(error).__name__, exc_info=error)
    elif problem.kind is Kind.unavailable:
        _log.warning("a request could not be answered: %s", error)
    return problem


def _problem(error: Exception) -> Problem:
    match error:
        case RequestValidationError():
            return validation_problem(error)
        case HTTPException():
            return Problem(_kind_of_status(error.status_code), str(error.detail))
    return problem_of(error)


def validation_problem(error: RequestValidationError) -> Problem:
    """The first fault of a body as one line: the field, what was found, what was expected."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or None  # after "body" or "query"
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return Problem(Kind.malformed, f"the body is not JSON: {first['ctx']['error']}")
    if isinstance(first.get("input"), bytes):
        return Problem(Kind.malformed, "expected a JSON body, with Content-Type: application/json")
    if first["type"] != "missing" and field:
        message = f"{field}={shown(first.get('input'))}: {message}"
    elif field:
        message = f"{field}: {message}"
    return Problem(Kind.malformed, " ".join(message.split()), field)


def _kind_of_status(status: int) -> Kind:
    return {400: Kind.malformed, 404: Kind.not_found, 405: Kind.wrong_method}.get(
        status, Kind.failed
    )
