"""Access to Google Cloud Storage: google-auth finds credentials and renews their tokens.

obstore and Lance find credentials of some kinds only, and give no token for a listing; so all
three get the tokens of google-auth.
"""

import json
import threading
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import Request

from resift.errors import InputError, ResiftError, SettingsError
from resift.extras import require
from resift.files import from_home, read_regular, reason
from resift.index.storage.access import Access, SignListing
from resift.index.storage.endpoints import check_endpoint
from resift.index.storage.location import Location
from resift.index.storage.lookups import cached_for_minutes
from resift.index.storage.unprinted import unprinted
from resift.storage_settings import GsSettings
from resift.transport.certificates import bundle

_ENDPOINT = "https://storage.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_MAX_KEY_BYTES = 1 << 20
_KEY_FILE = "a key file of Google Cloud: of a service account, a user or a workload identity"


def gs_access(location: Location) -> Access:
    """Combine the settings with Google's credentials; raise `SettingsError` if there are none."""
    settings = location.access
    endpoint = _endpoint(settings.gs)
    options = {"google_base_url": endpoint}
    if endpoint.startswith("http://"):
        options["allow_http"] = "true"
    tokens = _find_tokens(settings.gs, settings.ca_file)
    if tokens is None:
        options["google_skip_signature"] = "true"
        return Access("GCSStore", _bucket(location), options, ca_file=settings.ca_file)
    return Access(
        "GCSStore",
        _bucket(location),
        options,
        provider=tokens,
        lance_keys=lambda: {"google_storage_token": tokens()["token"]},
        ca_file=settings.ca_file,
    )


def gs_list_signer(location: Location) -> SignListing:
    """Make a function from query parameters to a request that lists the bucket."""
    settings = location.access
    tokens = _find_tokens(settings.gs, settings.ca_file)
    root = f"{_endpoint(settings.gs)}/{quote(str(location.bucket), safe='')}"

    def sign_listing(query: Mapping[str, str]) -> Request:
        headers = {"Authorization": f"Bearer {tokens()['token']}"} if tokens else {}
        return Request(f"{root}?{urlencode(query, quote_via=quote, safe='')}", headers=headers)

    return sign_listing


class _Tokens:
    """Tokens of google-auth's credentials, renewed before they expire. Threads may share it."""

    def __init__(self, credentials: Any, request: Any) -> None:
        self._credentials = credentials
        self._request = request
        self._lock = threading.Lock()

    def __call__(self) -> dict[str, Any]:
        """Return the current token for obstore, which calls again when it has expired."""
        with self._lock:
            if not self._credentials.valid:
                try:
                    with unprinted("google"):
                        self._credentials.refresh(self._request)
                except Exception as error:  # of a server, a file or a command
                    raise _unusable(error) from None
            expiry = self._credentials.expiry
        return {"token": self._credentials.token, "expires_at": expiry and _aware(expiry)}


def _find_tokens(settings: GsSettings, ca_file: str | None) -> _Tokens | None:
    """Look up credentials; None if requests are not signed, or for an emulator without keys."""
    has_keys = settings.credentials_file or settings.credentials_json
    if settings.skip_signature or (settings.endpoint and not has_keys):
        return None
    return _look_up(settings, ca_file)


@cached_for_minutes(max_results=8)
def _look_up(settings: GsSettings, ca_file: str | None) -> _Tokens:
    auth = require("google.auth", "gs")
    session = require("requests", "gs").Session()
    if ca_file:
        session.verify = bundle(ca_file)
    request = require("google.auth.transport.requests", "gs").Request(session)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about quota projects
            # About files of strangers: this one is named by the user's settings.
            warnings.simplefilter("ignore", DeprecationWarning)
            with unprinted("google"):
                credentials = _load(auth, settings, request)
    except ResiftError:
        raise
    except Exception as error:  # of a file or a server
        raise _unusable(error) from None
    return _Tokens(credentials, request)


def _load(auth: Any, settings: GsSettings, request: Any) -> Any:
    scopes = [_SCOPE]
    if settings.credentials_json:
        label, text = settings.name_of("credentials_json"), settings.credentials_json
    elif settings.credentials_file:
        label = f"{settings.name_of('credentials_file')}={settings.credentials_file}"
        text = _read_key(label, settings.credentials_file)
    else:
        return auth.default(scopes=scopes, request=request)[0]
    try:
        info = json.loads(text)
    except (ValueError, RecursionError):
        raise SettingsError(f"{label}: not JSON; expected {_KEY_FILE}") from None
    if not isinstance(info, dict) or not isinstance(info.get("type"), str):
        raise SettingsError(f"{label}: JSON, but no key: it has no type; expected {_KEY_FILE}")
    try:
        return auth.load_credentials_from_dict(info, scopes=scopes, request=request)[0]
    except Exception as error:  # its message may quote the key
        problem = f"not a key that can be used ({type(error).__name__})"
        raise SettingsError(f"{label}: {problem}; expected {_KEY_FILE}") from None


def _read_key(label: str, file: str) -> str:
    try:
        return read_regular(from_home(file), _MAX_KEY_BYTES).decode("utf-8-sig")
    except InputError as error:
        raise SettingsError(f"{label}: {error}") from error
    except UnicodeError:
        raise SettingsError(f"{label}: not JSON; expected {_KEY_FILE}") from None
    except OSError as error:
        raise SettingsError(f"{label}: {reason(error)}; expected {_KEY_FILE}") from error


def _unusable(error: Exception) -> SettingsError:
    """Make an error without google-auth's message, which may quote a file or a response."""
    if type(error).__name__ == "DefaultCredentialsError":
        problem = (
            "no credentials: set GOOGLE_APPLICATION_CREDENTIALS, or run "
            "gcloud auth application-default login, or set GOOGLE_SKIP_SIGNATURE=true for a bucket "
            "that is open to all"
        )
    else:
        problem = f"gives no token ({type(error).__name__}): renew the credentials, or log in again"
    return SettingsError(f"Google Cloud: {problem}")


def _endpoint(settings: GsSettings) -> str:
    return check_endpoint(settings.endpoint or _ENDPOINT, settings.name_of("endpoint"))


def _bucket(location: Location) -> dict[str, str]:
    return {"bucket": str(location.bucket)}


def _aware(expiry: datetime) -> datetime:
    return expiry if expiry.tzinfo else expiry.replace(tzinfo=UTC)
