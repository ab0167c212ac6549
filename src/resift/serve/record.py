"""What is known of the request under way, for metrics, logs and spans: numbers and names, no texts.

The outermost middleware begins a record. What runs for the request finds it by `current`, also in
tasks that the request starts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from starlette.types import Scope

from resift.types import Receipt

OTHER = "other"
"""The path of a request that no route has taken: a wrong one, or one that was refused before."""


@dataclass(slots=True)
class Record:
    """One request: the receipts of its rankings and searches, and the kind of its problem.

    `trace_id` is 32 hex digits, None for a request outside of any trace.
    """

    scope: Scope
    trace_id: str | None = None
    receipts: list[Receipt] = field(default_factory=list)
    problem: str | None = None

    @property
    def request_id(self) -> str | None:
        """The request's id, once it is known."""
        request_id: str | None = self.scope.get("resift.request_id")
        return request_id

    @property
    def path(self) -> str:
        """The template of the path, such as ``/v1/passages/{passage_id}``, or `OTHER`."""
        route = self.scope.get("route")
        # FastAPI includes routers lazily: only its context knows their prefixes.
        context = self.scope.get("fastapi", {}).get("effective_route_context")
        template: str | None = getattr(context or route, "path_format", None)
        return template or self._fixed_path() or OTHER

    def _fixed_path(self) -> str | None:
        """The path of a route that the scope does not name: FastAPI's own, or a mounted app."""
        path = self.scope["path"] + "/"
        routes = self.scope["app"].routes if "app" in self.scope else ()
        names = [getattr(route, "path", "") for route in routes]
        return next((name for name in names if name and path.startswith(name + "/")), None)

    @property
    def tokens(self) -> int:
        """Tokens that the models read for the request."""
        return sum(receipt.tokens for receipt in self.receipts)

    @property
    def documents(self) -> int:
        """Documents that the request ranked."""
        return sum(receipt.depth for receipt in self.receipts)

    @property
    def partial(self) -> bool:
        """Whether a ranking of the request is partial."""
        return any(receipt.partial for receipt in self.receipts)

    @property
    def model(self) -> str | None:
        """The model of the first ranking; None without a ranking."""
        return self.receipts[0].model if self.receipts else None


_current: ContextVar[Record | None] = ContextVar("resift_request", default=None)


def current() -> Record | None:
    """The record of the request under way; None outside of a request."""
    return _current.get()


@contextmanager
def recording(record: Record) -> Iterator[None]:
    """Make a record the current one, until the end of the block."""
    token = _current.set(record)
    try:
        yield
    finally:
        _current.reset(token)


def note_problem(kind: str) -> None:
    """Add the kind of a problem to the request under way."""
    record = _current.get()
    if record is not None:
        record.problem = kind
