"""What a failed request to the hub means, in one line with a remedy."""

from http import HTTPStatus
from typing import Any

from resift.errors import HubError, ModelError, ModelNotFound, shortened
from resift.extras import require
from resift.files import reason
from resift.rerank.native import first_line

_WRONG_TOKEN = "invalid credentials"
_RETRIED = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


def is_unreachable(error: Exception) -> bool:
    """Whether the hub did not answer, or could not, so that a local copy is as good."""
    error = _cause(error)
    errors = require("huggingface_hub.errors", "hub")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return True
    if isinstance(error, errors.HfHubHTTPError):
        return _status(error) in _RETRIED
    is_local = isinstance(error, OSError) and error.errno is not None  # of the disk
    return not is_local and not isinstance(error, ValueError)


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed a moment later."""
    offline = require("huggingface_hub.errors", "hub").OfflineModeIsEnabled
    return is_unreachable(error) and not isinstance(_cause(error), offline)


def retry_after_s(error: Exception) -> float | None:
    """The seconds that a busy hub asks to wait; None if there is no such header."""
    headers = getattr(getattr(_cause(error), "response", None), "headers", {})
    value = str(headers.get("Retry-After", ""))
    return float(value) if value.isdecimal() and len(value) < 9 else None


def explained(error: Exception, name: str, revision: str | None) -> ModelError:
    """The error to raise for what a call of huggingface_hub raised about a repository."""
    error = _cause(error)
    errors = require("huggingface_hub.errors", "hub")
    name, revision = shortened(name), revision and shortened(revision)
    at = f"{name} at {revision}" if revision else name
    if isinstance(error, errors.OfflineModeIsEnabled):
        option = f" --revision {revision}" if revision else ""
        return ModelNotFound(
            f"{at}: not on this machine, and HF_HUB_OFFLINE is set; run  resift models fetch "
            f"{name}{option}  where there is a network"
        )
    if isinstance(error, errors.GatedRepoError):
        return HubError(_gated(error, name))
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelNotFound(
            f"{at}: there is no such revision; expected a commit, branch or tag of {_page(name)}"
        )
    if isinstance(error, errors.HfHubHTTPError):
        return _refused(error, at, name)
    if isinstance(error, errors.HFValidationError):
        return ModelNotFound(
            f"{name}: no such folder, and not a hub id; expected OWNER/NAME of letters, digits, "
            "single dots and hyphens, at most 96 characters each"
        )
    if isinstance(error, OSError) and error.errno is not None:
        return HubError(
            f"{at}: cannot be written to {error.filename or _cache()} ({reason(error)}); HF_HOME "
            "names the folder of the hub's files"
        )
    detail = f"{type(error).__name__}: {first_line(error)}".rstrip(": ")
    return HubError(
        f"{at}: no such folder, and {_endpoint()} cannot be reached or broke off ({detail}); check "
        "the network, HTTPS_PROXY and HF_ENDPOINT, and run it again: whole files are not fetched "
        "twice"
    )


def _refused(error: Any, at: str, name: str) -> ModelError:
    status = _status(error)
    if status == HTTPStatus.UNAUTHORIZED and _has_wrong_token(error):
        return HubError(
            f"{at}: {_endpoint()} does not accept the token; make a new one, or unset HF_TOKEN "
            "(and run  hf auth logout)"
        )
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND):
        is_known = "has no access to it" if _token() else "is not given: set HF_TOKEN"
        return ModelNotFound(
            f"{at}: no such folder, and no such repository on {_endpoint()}, or it is private and "
            f"the token {is_known}; check the name"
        )
    if status == HTTPStatus.FORBIDDEN:
        return HubError(f"{at}: {_endpoint()} forbids it (403); check the rights of HF_TOKEN")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = retry_after_s(error)
        when = f"in {wait:.0f} s" if wait is not None else "in some minutes"
        return HubError(
            f"{at}: {_endpoint()} has had too many requests from here (429); try again {when}, or "
            "set HF_TOKEN: accounts may ask more often"
        )
    return HubError(f"{at}: {_endpoint()} answers {status}; try again later")


def _gated(error: Any, name: str) -> str:
    if _token() is None:
        return (
            f"{name}: its authors ask for consent; accept their terms on {_page(name)} and set "
            "HF_TOKEN to a token of that account"
        )
    return (
        f"{name}: the account of this token may not read it; accept its authors' terms on "
        f"{_page(name)}, or wait for their consent ({_status(error)})"
    )


def _has_wrong_token(error: Any) -> bool:
    message = f"{error.response.headers.get('X-Error-Message', '')} {error.server_message or ''}"
    return _WRONG_TOKEN in message.lower()


def _cause(error: Exception) -> Exception:
    """The error before that of a file which is not in the hub's cache either."""
    missing = require("huggingface_hub.errors", "hub").LocalEntryNotFoundError
    while isinstance(error, missing) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _status(error: Any) -> int:
    return int(error.response.status_code)


def _token() -> str | None:
    token: str | None = require("huggingface_hub", "hub").get_token()
    return token


def _endpoint() -> str:
    return str(require("huggingface_hub.constants", "hub").ENDPOINT)


def _cache() -> str:
    return str(require("huggingface_hub.constants", "hub").HF_HUB_CACHE)


def _page(name: str) -> str:
    return f"{_endpoint()}/{name}"
