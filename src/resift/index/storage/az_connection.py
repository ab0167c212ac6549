"""Which Azure account a URI is of, and its key, by the URI, the settings and connection strings."""

import base64
import binascii
import os
import re
from dataclasses import dataclass, field, replace

from resift.errors import SettingsError
from resift.index.storage.bucket_uris import account_of
from resift.index.storage.endpoints import check_endpoint
from resift.index.storage.location import Location
from resift.storage_settings import AzSettings

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
    name_of = settings.name_of("connection_string" if given else "account_name")
    in_uri = account_of(location.host) if location.host else ""
    if in_uri and named and in_uri != named:
        raise SettingsError(
            f"{name_of}: {named} is not the account of {location.uri}: write the "
            f'other account\'s key into a table [storage."{_container(location)}"]'
        )
    name = in_uri or named
    if not name:
        raise SettingsError(
            f"{_container(location)}: no account is named: set "
            f"{settings.name_of('account_name')} or {settings.name_of('connection_string')}, or "
            f"write abfss://{location.bucket}@ACCOUNT.dfs.core.windows.net"
        )
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{location.uri if in_uri else name_of}: {ascii(name)[:60]} is not an account's name; "
            "expected 3 to 24 small letters and digits"
        )
    host = location.host.replace(".dfs.", ".blob.", 1) or f"{name}.{_suffix(given)}"
    endpoint = given.get("BlobEndpoint") or settings.endpoint or f"https://{host}"
    endpoint = check_endpoint(endpoint, settings.name_of("endpoint"))
    if settings.skip_signature:
        return Account(name, endpoint, is_anonymous=True)
    key = given.get("AccountKey") or settings.account_key or ""
    sas_token = given.get("SharedAccessSignature") or settings.sas_token or ""
    if key:
        is_given = given.get("AccountKey")
        key_name = settings.name_of("connection_string" if is_given else "account_key")
        _refuse_unnamed(key_name, named, location)
        return Account(name, endpoint, key=_checked_key(key, key_name))
    if sas_token:
        is_given = given.get("SharedAccessSignature")
        sas_name = settings.name_of("connection_string" if is_given else "sas_token")
        _refuse_unnamed(sas_name, named, location)
        return Account(name, endpoint, sas_token=_checked_sas(sas_token, sas_name))
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


def _container(location: Location) -> str:
    return replace(location, path="").uri


def _refuse_unnamed(key_name: str, named: str, location: Location) -> None:
    """Raise `SettingsError` for a key whose account only the URI names: it may be another's."""
    if named:
        return
    uri = location.storage.table_of(location.uri)
    table = location.storage.by_uri[uri] if uri else None
    if isinstance(table, AzSettings) and (
        table.account_key or table.sas_token or table.connection_string
    ):
        return  # the key is for this URI
    name = location.access.az.name_of("account_name")
    raise SettingsError(
        f"{key_name}: the key's account is not named, and a key is sent to no other: set {name}, "
        f'or write the key into a table [storage."{_container(location)}"]'
    )


def _checked_key(key: str, name: str) -> str:
    try:
        base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raise SettingsError(
            f"{name}: not in base64; copy it again from the account's access keys"
        ) from None
    return key


def _checked_sas(token: str, name: str) -> str:
    token = token.strip().removeprefix("?")
    if not re.fullmatch(r"[!-~]+", token) or "sig=" not in token:
        raise SettingsError(
            f"{name}: has no signature (sig=); expected the part of the URL after ?"
        )
    present = next((name for name in _LANCE_KEYS if os.environ.get(name)), None)
    if present:
        raise SettingsError(
            f"{present}: is set too, and Lance prefers it to the SAS token: unset one of them"
        )
    return token
