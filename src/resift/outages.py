"""Which errors of a component a call survives, and what its receipt tells of them."""

import logging

from resift.errors import (
    EmbedderError,
    HubError,
    IndexMismatch,
    InputError,
    ModelError,
    Overloaded,
    RerankerError,
    RuntimeFailure,
    SettingsError,
    VersionGone,
)

_LOG = logging.getLogger("resift")

_MISTAKES = (
    Warning,  # raised as an error under python -W error
    TypeError,
    AttributeError,
    NameError,
    AssertionError,
    ImportError,  # includes a missing extra
    SyntaxError,
    NotImplementedError,
    InputError,
    SettingsError,
    IndexMismatch,  # another embedder's vectors: no later call will succeed either
    VersionGone,  # `Index` then reads the newest version
)
_MODEL_OUTAGES = (HubError, RuntimeFailure)
"""Errors of models that may pass. All others need another name or file, or an open reranker."""


def is_outage(error: BaseException) -> bool:
    """Whether the search continues without the component that raised `error`.

    True for errors of resift about models, servers and stores, and for most errors of a custom
    embedder or reranker. False for errors that point to a mistake in code or in the installation,
    for invalid arguments, such as a query that is too long for the model, for settings that are not
    valid, for a model that is not there, damaged or of another kind, for a closed reranker, for
    warnings that filters turned into errors, and for anything that is not an `Exception` (Ctrl-C).
    """
    if isinstance(error, ModelError) and not isinstance(error, _MODEL_OUTAGES):
        return False
    return isinstance(error, Exception) and not isinstance(error, _MISTAKES)


def outage_reason(component: str, error: BaseException) -> str:
    """Log a failure to ``resift``; return the reason for the receipt.

    The log has the traceback, except of errors that are expected: `Overloaded`, and what a server
    elsewhere does.
    """
    message = " ".join(str(error).split()).removeprefix(f"{component}: ") or "no message"
    if isinstance(error, Overloaded):
        _LOG.warning("%s is overloaded; the search goes on without it: %s", component, message)
    elif isinstance(error, RerankerError | EmbedderError):
        _LOG.warning("%s failed; the search goes on without it: %s", component, message)
    else:
        _LOG.warning("%s failed; the search goes on without it", component, exc_info=error)
    return f"{component} failed: {type(error).__name__}: {message}"
