"""What can go wrong with a request, in kinds. Each dialect has a status and a body for a kind."""

from dataclasses import dataclass
from enum import StrEnum

from resift.errors import (
    InputError,
    ModelError,
    Overloaded,
    QueryError,
    RerankerClosed,
    ResiftError,
    StoreError,
)
from resift.rerank.tokenization import QueryTooLong


class Kind(StrEnum):
    """The kind of a problem."""

    malformed = "malformed"
    """The body is not JSON, or a field is missing or has another type."""
    invalid = "invalid"
    """A value that is not valid, such as an empty query."""
    empty = "empty"
    """No documents."""
    too_long = "too_long"
    """A query of more tokens than the model reads, or a document that the caller wants uncut."""
    unauthorized = "unauthorized"
    """The key is missing or not known."""
    forbidden = "forbidden"
    """A host or origin that may not call this server."""
    unknown_model = "unknown_model"
    not_found = "not_found"
    """No such path, index or passage."""
    wrong_method = "wrong_method"
    too_large = "too_large"
    """The body has more bytes, or the list more documents, than the server accepts."""
    too_slow = "too_slow"
    """The body did not arrive in time."""
    overloaded = "overloaded"
    unavailable = "unavailable"
    """The server stops, or an index cannot be read."""
    failed = "failed"
    """A fault of the server."""


STATUS = {
    Kind.malformed: 400,
    Kind.invalid: 400,
    Kind.empty: 400,
    Kind.too_long: 400,
    Kind.unauthorized: 401,
    Kind.forbidden: 403,
    Kind.unknown_model: 404,
    Kind.not_found: 404,
    Kind.wrong_method: 405,
    Kind.too_large: 413,
    Kind.too_slow: 408,
    Kind.overloaded: 429,
    Kind.unavailable: 503,
    Kind.failed: 500,
}
"""The status of a problem, where a dialect has no other."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem with a message of one line. `field` names the part of the body, if known."""

    kind: Kind
    message: str
    field: str | None = None
    retry_after_s: float | None = None


class RequestProblem(Exception):
    """Raised where a request cannot be answered; the route of its dialect makes the response."""

    def __init__(
        self,
        kind: Kind,
        message: str,
        field: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.problem = Problem(kind, message, field, retry_after_s)


class UnknownModel(InputError):
    """The body names a model that this server does not have."""


class TooLong(InputError):
    """A document has more tokens than the model reads, and the caller wants no cut.

    `index` is its place in the list. `dropped` tokens, or of a very long document more, are beyond
    the `max_tokens` that the model reads of it and the query.
    """

    def __init__(self, index: int, dropped: int, max_tokens: int) -> None:
        super().__init__(
            f"documents[{index}]: {max_tokens + dropped} tokens with the query, but this model "
            f"reads {max_tokens}; shorten it, or let it be cut"
        )
        self.index, self.dropped, self.max_tokens = index, dropped, max_tokens


class UnknownIndex(InputError):
    """The request names an index that this server does not have."""


FAILED = "the server failed; its log says why"
UNREADABLE = "the index cannot be read now; /ready says when it can, and the server's log why"


def problem_of(error: Exception) -> Problem:
    """The problem that an exception is. Texts of unknown exceptions are not shown to callers."""
    match error:
        case RequestProblem():
            return error.problem
        case InputError():
            return _input_problem(error)
        case Overloaded():
            return Problem(Kind.overloaded, str(error), retry_after_s=error.retry_after_s)
        case RerankerClosed():
            return Problem(Kind.unavailable, "the server stops; ask again")
        case StoreError():  # its message has paths of this machine
            return Problem(Kind.unavailable, UNREADABLE)
        case ModelError() | ResiftError():
            return Problem(Kind.failed, str(error))
    return Problem(Kind.failed, FAILED)


def _input_problem(error: InputError) -> Problem:
    match error:
        case UnknownModel():
            return Problem(Kind.unknown_model, str(error), "model")
        case UnknownIndex():
            return Problem(Kind.not_found, str(error), "index")
        case TooLong():
            return Problem(Kind.too_long, str(error), "documents")
        case QueryTooLong():
            return Problem(Kind.too_long, str(error), "query")
        case QueryError():
            return Problem(Kind.invalid, str(error), "query")
    return Problem(Kind.invalid, str(error))
