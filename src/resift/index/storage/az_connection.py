"""Which Azure account a URI is of, and its key, by the URI, the settings and connection strings."""

import base64
import binascii
import os
import re
from dataclasses import dataclass, field

from resift.errors import SettingsError
from resift.index.storage.bucket_uris import account_of
from resift.index.storage.endpoints import check_endpoint
from resift.index.storage.location import Location

_HOST = "blob.core.windows.net"
_NAME = re.compile(r"[a-z0-9]{3,24}")
# The account of Azure's emulator, whose key is in its documentation.
_EMULATOR = {
    "AccountName": "devstoreaccount1",
    "AccountKey": (
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    ),
    "BlobEndpoint": "http://127.0.0.1:10000/devstoreaccount1",
}
# Lance adds these variables to its options, and prefers a key to a SAS token.
_LANCE_KEYS = ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY")


@dataclass(frozen=True, slots=True)
class Account:
    """An account with the base URL of its blobs, and at most one of its kinds of keys."""

    name: str
    endpoint: str
    key: str = field(default="", repr=False)
    sas_token: str = field(default="", repr=False)
    is_anonymous: bool = False


def find_account(location: Location) -> Account:
    """Find the account of a URI; raise `SettingsError` if none is named, or for a malformed key.

    The keys of one account are never sent to another one.
    """
    settings = location.access.az
    given = _connection(settings.connection_string) if settings.connection_string else {}
    named = given.get("AccountName") or settings.account_name or ""
    in_uri = account_of(location.host) if location.host else ""
    if in_uri and named and in_uri != named:
        raise SettingsError(
            f"AZURE_STORAGE_ACCOUNT_NAME: {named} is not the account of {location.uri}: write the "
            f'other account\'s key into a table [storage."{location.uri}"]'
        )
    name = in_uri or named
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"AZURE_STORAGE_ACCOUNT_NAME: {ascii(name)[:60] if name else 'nothing'} is not an "
            f"account's name; expected 3 to 24 small letters and digits, here or in abfss://{location.bucket}@ACCOUNT."
            "dfs.core.windows.net"
        )
    host = location.host.replace(".dfs.", ".blob.", 1) or f"{name}.{_suffix(given)}"
    endpoint = given.get("BlobEndpoint") or settings.endpoint or f"https://{host}"
    endpoint = check_endpoint(endpoint, "AZURE_STORAGE_ENDPOINT")
    if settings.skip_signature:
        return Account(name, endpoint, is_anonymous=True)
    key = given.get("AccountKey") or settings.account_key or ""
    sas_token = given.get("SharedAccessSignature") or settings.sas_token or ""
    if key:
        return Account(name, endpoint, key=_checked_key(key))
    if sas_token:
        return Account(name, endpoint, sas_token=_checked_sas(sas_token))
    return Account(name, endpoint)


def _connection(text: str) -> dict[str, str]:
    """Parse a connection string; no message shows a part of it."""
    parts = dict(part.strip().split("=", 1) for part in text.split(";") if "=" in part)
    if parts.get("UseDevelopmentStorage", "").lower() == "true":
        return _EMULATOR
    if not parts.get("AccountName") and not parts.get("BlobEndpoint"):
        raise SettingsError(
            "AZURE_STORAGE_CONNECTION_STRING: names no account; expected "
            "AccountName=...;AccountKey=...;EndpointSuffix=core.windows.net"
        )
    if "AccountName" not in parts:
        parts["AccountName"] = account_of(parts["BlobEndpoint"].partition("://")[2])
    return parts


def _suffix(given: dict[str, str]) -> str:
    return f"blob.{given['EndpointSuffix']}" if given.get("EndpointSuffix") else _HOST


def _checked_key(key: str) -> str:
    try:
        base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raise SettingsError(
            "AZURE_STORAGE_ACCOUNT_KEY: not in base64; copy it again from the account's access keys"
        ) from None
    return key


def _checked_sas(token: str) -> str:
    token = token.strip().removeprefix("?")
    if not re.fullmatch(r"[!-~]+", token) or "sig=" not in token:
        raise SettingsError(
            "AZURE_STORAGE_SAS_TOKEN: has no signature (sig=); expected the part of the URL after ?"
        )
    present = next((name for name in _LANCE_KEYS if os.environ.get(name)), None)
    if present:
        raise SettingsError(
            f"{present}: is set too, and Lance prefers it to the SAS token: unset one of them"
        )
    return token
