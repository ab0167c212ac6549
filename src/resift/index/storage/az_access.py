"""Access to Azure Blob Storage: an account's key, a SAS token, or tokens of azure-identity.

A listing is requested without obstore, so it is signed here, as Azure's Shared Key protocol says.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request

from resift.errors import SettingsError
from resift.extras import require
from resift.index.storage.access import Access, SignListing
from resift.index.storage.az_connection import Account, find_account
from resift.index.storage.location import Location
from resift.index.storage.lookups import cached_for_minutes
from resift.index.storage.unprinted import unprinted
from resift.transport.certificates import bundle

_SCOPE = "https://storage.azure.com/.default"
_VERSION = "2021-12-02"  # the first one that escapes the names XML cannot hold was 2021-02-12


def az_access(location: Location) -> Access:
    """Combine the settings with Azure's credentials; raise `SettingsError` if there are none."""
    account = find_account(location)
    options = {
        "azure_storage_account_name": account.name,
        "azure_storage_endpoint": account.endpoint,
    }
    if account.endpoint.startswith("http://"):
        options["allow_http"] = "true"
    access = Access(
        "AzureStore",
        {"container_name": str(location.bucket)},
        options,
        ca_file=location.access.ca_file,
    )
    if account.is_anonymous:
        return replace(access, options={**options, "azure_skip_signature": "true"})
    if account.key:
        return replace(
            access,
            provider=lambda: {"access_key": account.key, "expires_at": None},
            lance_keys=lambda: {"azure_storage_account_key": account.key},
        )
    if account.sas_token:
        return replace(
            access,
            provider=lambda: {"sas_token": account.sas_token, "expires_at": None},
            lance_keys=lambda: {"azure_storage_sas_key": account.sas_token},
        )
    tokens = _find_tokens(location.access.ca_file)
    return replace(
        access,
        provider=tokens,
        lance_keys=lambda: {"azure_storage_token": tokens()["token"]},
    )


def az_list_signer(location: Location) -> SignListing:
    """Make a function from query parameters to a request that lists the container."""
    account = find_account(location)
    needs_token = not (account.is_anonymous or account.key or account.sas_token)
    tokens = _find_tokens(location.access.ca_file) if needs_token else None
    root = f"{account.endpoint}/{quote(str(location.bucket), safe='$')}"

    def sign_listing(query: Mapping[str, str]) -> Request:
        url = f"{root}?{urlencode(query, quote_via=quote, safe='')}"
        headers = {
            "x-ms-date": format_datetime(datetime.now(UTC), usegmt=True),
            "x-ms-version": _VERSION,
        }
        if account.sas_token:
            return Request(f"{url}&{account.sas_token}", headers=headers)
        if account.key:
            headers["Authorization"] = _shared_key(account, urlsplit(root).path, query, headers)
        elif tokens:
            headers["Authorization"] = f"Bearer {tokens()['token']}"
        return Request(url, headers=headers)

    return sign_listing


def _shared_key(
    account: Account, path: str, query: Mapping[str, str], headers: Mapping[str, str]
) -> str:
    """Return the Authorization header of a GET: method, headers and resource, signed."""
    unused = "\n" * 12  # the standard headers, none of which is sent
    named = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    parameters = "".join(f"\n{name.lower()}:{query[name]}" for name in sorted(query))
    text = f"GET{unused}{named}/{account.name}{path}{parameters}"
    key = base64.b64decode(account.key)
    signature = base64.b64encode(hmac.digest(key, text.encode(), hashlib.sha256)).decode()
    return f"SharedKey {account.name}:{signature}"


class _Tokens:
    """Tokens of azure-identity, which caches and renews them. Threads may share it."""

    def __init__(self, credential: Any) -> None:
        self._credential = credential

    def __call__(self) -> dict[str, Any]:
        """Return the current token for obstore, which calls again when it has expired."""
        try:
            with unprinted("azure"):
                token = self._credential.get_token(_SCOPE)
        except Exception as error:  # of a server, a file or a command
            raise SettingsError(
                f"Azure: no token ({type(error).__name__}): set AZURE_STORAGE_ACCOUNT_KEY, "
                "AZURE_STORAGE_SAS_TOKEN or AZURE_CLIENT_ID and its secret, or run az login, or "
                "set AZURE_SKIP_SIGNATURE=true for a container that is open to all"
            ) from None
        return {"token": token.token, "expires_at": datetime.fromtimestamp(token.expires_on, UTC)}


@cached_for_minutes(max_results=2)
def _find_tokens(ca_file: str | None) -> _Tokens:
    options: dict[str, Any] = {}
    if ca_file:
        options["connection_verify"] = bundle(ca_file)
    identity = require("azure.identity", "az")
    with unprinted("azure"):
        return _Tokens(identity.DefaultAzureCredential(**options))
