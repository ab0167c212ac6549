"""What a search goes on without, and what it must not hide."""

import logging

from resift.errors import IndexMismatch, InputError, QueryError, VersionGone

_LOG = logging.getLogger("resift")

_MISTAKES = (
    Warning,  # made an error by whoever runs Python with -W error
    TypeError,
    AttributeError,
    NameError,
    AssertionError,
    ImportError,  # with it a missing extra
    SyntaxError,
    NotImplementedError,
    IndexMismatch,  # another embedder's vectors: no outage ends that
    VersionGone,  # the newest version is read instead (`Index`)
)


def is_outage(error: BaseException) -> bool:
    """Whether a part of a search failed at its work, so that the rest may answer.

    That is what resift raises for models, servers and stores, a query that is too long for the
    model, and what an embedder or a reranker of somebody else's may raise: any `Exception`. Not:
    what only a mistake in code or in the installation raises, an argument that no call can use, a
    warning that was made an error, and what is no `Exception` (Ctrl-C).
    """
    if isinstance(error, QueryError):
        return True
    return isinstance(error, Exception) and not isinstance(error, (*_MISTAKES, InputError))


def noted(part: str, error: BaseException) -> str:
    """Log what failed, with its traceback, to ``resift``; give the reason for the receipt."""
    _LOG.warning("%s failed; the search goes on without it", part, exc_info=error)
    said = " ".join(str(error).split()) or "no message"
    if isinstance(error, QueryError):
        return f"not reranked: {said}"
    return f"{part} failed: {type(error).__name__}: {said}"
