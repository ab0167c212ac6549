"""Opens an ``s3://`` prefix, with the same options for obstore and for Lance."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from resift.errors import SettingsError
from resift.extras import require
from resift.index.storage.credentials import Credentials, find_credentials
from resift.index.storage.location import Location
from resift.settings import StorageSettings


class _Retry(NamedTuple):
    """The timeout of one try, and the limits of retries in number and in seconds."""

    timeout: str
    retries: int
    seconds: int


# Reports a mistyped endpoint within seconds; object_store's defaults take three minutes.
_CONNECT_TIMEOUT = "5s"
_IMPATIENT, _PATIENT = _Retry("10s", 4, 10), _Retry("60s", 10, 60)
# Lance must not retry again after its client has already retried for this long.
_LANCE_PATIENT_TIMEOUT, _LANCE_DOWNLOAD_RETRIES = "45s", "0"
# obstore requires keys even for a request that is not signed.
_UNUSED_KEYS = {
    "aws_skip_signature": "false",
    "aws_access_key_id": "none",
    "aws_secret_access_key": "none",
}
# The clock skew that AWS accepts.
_SIGNED_FOR = timedelta(minutes=15)
_RATE_WINDOW_S, _RATE_MIN_BYTES = 10.0, 5_000


@dataclass(frozen=True, slots=True)
class _Access:
    """object_store's options for a bucket, and credentials that obstore renews."""

    options: dict[str, str]
    credentials: Credentials | None

    def store(self, config: Mapping[str, str], client: Mapping[str, str], **options: Any) -> Any:
        """Make an obstore store; `config` overrides the options of this record."""
        merged = {**self.options, **config}
        allow_http = merged.pop("allow_http", "false") == "true"
        if self.credentials:
            options["credential_provider"] = self.credentials
        return require("obstore.store", "index").S3Store(
            config=merged, client_options={**client, "allow_http": allow_http}, **options
        )


def open_bucket(location: Location, *, patient: bool = False) -> Any:
    """Open an obstore store rooted at the prefix. Sends no request.

    With `patient` wait longer, for a store that has answered before.
    """
    timeout, retries, seconds = _PATIENT if patient else _IMPATIENT
    return _access(location).store(
        config={},
        client={"connect_timeout": _CONNECT_TIMEOUT, "timeout": timeout},
        bucket=location.bucket,
        prefix=location.path or None,
        retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=seconds)},
    )


def lance_options(location: Location, *, patient: bool = False) -> dict[str, str]:
    """Make ``storage_options`` of Lance for the same bucket; empty for the local disk.

    They contain a profile's current keys, so a table must be reopened before these expire.
    """
    if location.bucket is None:
        return {}
    access = _access(location)
    timeout, retries, seconds = _PATIENT if patient else _IMPATIENT
    return {
        **access.options,
        **(access.credentials.options() if access.credentials else {}),
        "connect_timeout": _CONNECT_TIMEOUT,
        "timeout": _LANCE_PATIENT_TIMEOUT if patient else timeout,
        "download_retry_count": _LANCE_DOWNLOAD_RETRIES,
        "client_max_retries": str(retries),
        "client_retry_timeout": str(seconds),
    }


def list_signer(location: Location) -> Callable[[Mapping[str, str]], str]:
    """Make a function from query parameters to a signed URL that lists the bucket.

    The URL is valid for minutes and must be kept secret. obstore signs the URL of a key, without
    parameters; here they are part of the endpoint, so that obstore signs them too, with credentials
    that it finds and renews. With `skip_signature` the URL is not signed.
    """
    sign_url = require("obstore", "index").sign
    access = _access(location)
    is_signed = not location.storage.skip_signature
    keys = {} if is_signed else _UNUSED_KEYS  # then obstore only makes the bucket's URL

    def sign(key: str, **config: str) -> str:
        store = access.store(config={**keys, **config}, client={}, bucket=location.bucket)
        return str(sign_url(store, "GET", key, _SIGNED_FOR))

    root = ""

    def sign_listing(query: Mapping[str, str]) -> str:
        nonlocal root
        root = root or sign("x").partition("?")[0].removesuffix("/x")
        url = f"{root}?{urlencode(query, quote_via=quote, safe='')}"
        if not is_signed:
            return url
        # obstore appends a slash to the last parameter; stores ignore the value of this one.
        endpoint = f"{url}&x-id=ListObjectsV2"
        both = {"aws_endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
        return sign("", **both, aws_virtual_hosted_style_request="true")

    return sign_listing


class TooSlow(OSError):
    """Bytes arrive too slowly to wait for the rest; `storage.errors` recognises the message."""


class TransferRate:
    """Measures the rate of a response, from its first bytes on.

    A timeout for each read would not notice a store that sends a byte a second.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._bytes = 0

    def add(self, count: int) -> None:
        """Count bytes that have arrived; raise `TooSlow` if a whole window had too few."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        self._bytes += count
        if now - self._since < _RATE_WINDOW_S:
            return
        if self._bytes < _RATE_MIN_BYTES:
            raise TooSlow(
                f"transfer too slow: {self._bytes:,} bytes in {now - self._since:.0f} s, expected "
                f"at least {_RATE_MIN_BYTES:,}"
            )
        self._since, self._bytes = now, 0


def fetch(
    store: Any,
    key: str,
    check: Callable[[Mapping[str, Any]], None],
    options: Mapping[str, Any] | None = None,
) -> tuple[bytes, Mapping[str, Any]]:
    """Read an object, or a part of it; return its bytes and its metadata.

    `check` gets the metadata and may raise before any byte is read. A transfer that is too slow is
    tried once more. Raise `TooSlow` after that, and obstore's errors.
    """
    get = require("obstore", "index").get

    def read() -> tuple[bytes, Mapping[str, Any]]:
        response = get(store, key, options=options)
        check(response.meta)
        rate = TransferRate()
        blocks = []
        for block in response.stream(min_chunk_size=1):  # each as it arrives
            rate.add(len(block))
            blocks.append(bytes(block))
        return b"".join(blocks), response.meta

    try:
        return read()
    except TooSlow:
        return read()


def _access(location: Location) -> _Access:
    """Combine the settings with those of the AWS profile.

    Raise `SettingsError` for invalid settings; Rust code would panic at some of them.
    """
    storage = location.storage
    credentials = find_credentials(storage)
    options = storage.options()
    if not storage.skip_signature:
        _check_keys(storage)
    if credentials:
        if credentials.region:
            options.setdefault("aws_region", credentials.region)
        if credentials.endpoint:
            options.setdefault("aws_endpoint", credentials.endpoint)
    region = options.get("aws_region", "")
    if region and not re.fullmatch(r"[A-Za-z0-9._-]{1,60}", region):
        raise SettingsError(
            f"AWS_REGION: {ascii(region)[:100]} is not a region; expected one like eu-west-1"
        )
    endpoint = _check_endpoint(options.get("aws_endpoint", ""))
    if endpoint.startswith("http://"):
        options["allow_http"] = "true"
    if endpoint and storage.virtual_hosted:
        endpoint = _add_bucket_to_host(endpoint, str(location.bucket))
    if endpoint:  # set both names, or the environment would set the other one
        options |= {"aws_endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
    return _Access(options, credentials)


def _check_keys(storage: StorageSettings) -> None:
    keys = {
        "AWS_ACCESS_KEY_ID": storage.access_key_id,
        "AWS_SECRET_ACCESS_KEY": storage.secret_access_key,
    }
    missing = [name for name, value in keys.items() if not value]
    if len(missing) == 1 or (missing and storage.session_token):
        present = [name for name in keys if name not in missing] or ["AWS_SESSION_TOKEN"]
        raise SettingsError(f"{present[0]}: is set without {missing[0]}: set both, or neither")
    for name, value in (keys | {"AWS_SESSION_TOKEN": storage.session_token}).items():
        if value and not re.fullmatch(r"[!-~]+", value):
            raise SettingsError(f"{name}: contains blanks or unusual characters; copy it again")


def _check_endpoint(endpoint: str) -> str:
    """Return an endpoint with scheme and host in lower case; "" stays empty."""
    if not endpoint:
        return ""
    try:
        url = urlsplit(endpoint)
        port = url.port
    except ValueError:  # the port is not a number, or an IPv6 address is incomplete
        url, port = urlsplit(""), 0
    is_valid = url.scheme in ("http", "https") and url.hostname and port != 0
    if not is_valid or not re.fullmatch(r"[!-~]+", endpoint) or url.query or url.fragment:
        shown = ascii(endpoint.rpartition("@")[2])
        raise SettingsError(
            f"AWS_ENDPOINT_URL: {shown[:100]} is not an endpoint; expected http(s)://host[:port]"
        )
    if "@" in url.netloc:
        raise SettingsError(
            "AWS_ENDPOINT_URL: contains a user; put keys into AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    return url._replace(netloc=url.netloc.lower()).geturl().rstrip("/")


def _add_bucket_to_host(endpoint: str, bucket: str) -> str:
    """Put the bucket before the endpoint's host, as object_store expects, unless it is there."""
    url = urlsplit(endpoint)
    if _is_ip_address(str(url.hostname)):
        raise SettingsError(
            f"AWS_VIRTUAL_HOSTED_STYLE_REQUEST: puts the bucket in front of the host, and "
            f"{url.hostname} is an address: name the host in AWS_ENDPOINT_URL, or set it to false"
        )
    host = url.netloc if url.netloc.startswith(f"{bucket}.") else f"{bucket}.{url.netloc}"
    return url._replace(netloc=host).geturl()


def _is_ip_address(host: str) -> bool:
    try:
        return bool(ip_address(host.partition("%")[0]))
    except ValueError:
        return False
