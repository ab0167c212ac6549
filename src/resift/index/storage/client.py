"""An ``s3://`` prefix through obstore and through Lance, reached in the same way by both."""

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
    """The timeout of one try, how often a request is retried, and for how many seconds."""

    timeout: str
    retries: int
    seconds: int


# A mistyped endpoint is reported within seconds; object_store's own defaults take three minutes.
_CONNECT_TIMEOUT = "5s"
_IMPATIENT, _PATIENT = _Retry("10s", 4, 10), _Retry("60s", 10, 60)
# Lance would start again on what its client has already tried for so long.
_LANCE_PATIENT_TIMEOUT, _LANCE_DOWNLOAD_RETRIES = "45s", "0"
# For a request that is not signed: obstore wants keys nevertheless.
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
        """Make an obstore store; `config` wins over the options of this record."""
        merged = {**self.options, **config}
        allow_http = merged.pop("allow_http", "false") == "true"
        if self.credentials:
            options["credential_provider"] = self.credentials
        return require("obstore.store", "index").S3Store(
            config=merged, client_options={**client, "allow_http": allow_http}, **options
        )


def open_bucket(location: Location, *, patient: bool = False) -> Any:
    """Open an obstore store rooted at the prefix. Sends no request.

    `patient` is for a store that has answered before: then a pause does not end the work.
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

    They hold a profile's current keys: reopen what stays open for longer than these are valid.
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
    """Make a function from query parameters to a signed URL that lists the bucket for minutes.

    obstore signs the URL of a key, without parameters. Here they are put into its endpoint, so
    that they are signed with the rest of it, by credentials that obstore finds and renews. The
    URL is a secret. Without signatures it is the plain one.
    """
    sign_url = require("obstore", "index").sign
    access = _access(location)
    is_signed = not location.storage.skip_signature
    keys = {} if is_signed else _UNUSED_KEYS  # obstore is only asked for the bucket's URL then

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
        # obstore appends a slash to the last parameter; stores ignore this one.
        endpoint = f"{url}&x-id=ListObjectsV2"
        both = {"aws_endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
        return sign("", **both, aws_virtual_hosted_style_request="true")

    return sign_listing


class TooSlow(OSError):
    """Bytes arrive too slowly to wait for the rest; `storage.errors` knows the text."""


class TransferRate:
    """Counts the bytes of one answer, from the first on.

    A timeout of each read does not notice a store that sends a byte a second.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._bytes = 0

    def note(self, count: int) -> None:
        """Add bytes that have arrived; raise `TooSlow` if a whole window had too few of them."""
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
    """Read an object, or a part of it: its bytes and its metadata.

    `check` gets the metadata and may raise before any byte is read. A transfer that is too slow is
    tried once more. Raise `TooSlow` after that, and what obstore raises.
    """
    get = require("obstore", "index").get

    def read() -> tuple[bytes, Mapping[str, Any]]:
        answer = get(store, key, options=options)
        check(answer.meta)
        rate = TransferRate()
        blocks = []
        for block in answer.stream(min_chunk_size=1):  # each as it arrives
            rate.note(len(block))
            blocks.append(bytes(block))
        return b"".join(blocks), answer.meta

    try:
        return read()
    except TooSlow:
        return read()


def _access(location: Location) -> _Access:
    """Combine the settings and what the profile adds to them.

    Raise `SettingsError` for what no request can be made with: Rust code panics at some of it.
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
        raise SettingsError(f"AWS_REGION: {ascii(region)[:100]} is no region, such as eu-west-1")
    endpoint = _checked_endpoint(options.get("aws_endpoint", ""))
    if endpoint.startswith("http://"):
        options["allow_http"] = "true"
    if endpoint and storage.virtual_hosted:
        endpoint = _with_bucket_in_host(endpoint, str(location.bucket))
    if endpoint:  # under both names: the environment would otherwise fill in the other one
        options |= {"aws_endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
    return _Access(options, credentials)


def _check_keys(storage: StorageSettings) -> None:
    keys = {
        "AWS_ACCESS_KEY_ID": storage.access_key_id,
        "AWS_SECRET_ACCESS_KEY": storage.secret_access_key,
    }
    missing = [name for name, value in keys.items() if not value]
    if len(missing) == 1 or (missing and storage.session_token):
        given = [name for name in keys if name not in missing] or ["AWS_SESSION_TOKEN"]
        raise SettingsError(f"{given[0]}: is set without {missing[0]}: set both, or neither")
    for name, value in (keys | {"AWS_SESSION_TOKEN": storage.session_token}).items():
        if value and not re.fullmatch(r"[!-~]+", value):
            raise SettingsError(f"{name}: has blanks or odd characters in it; copy it again")


def _checked_endpoint(endpoint: str) -> str:
    """Put an endpoint's scheme and host in lower case; "" stays."""
    if not endpoint:
        return ""
    try:
        url = urlsplit(endpoint)
        port = url.port
    except ValueError:  # a port that is no number, an incomplete IPv6 address
        url, port = urlsplit(""), 0
    usable = url.scheme in ("http", "https") and url.hostname and port != 0
    if not usable or not re.fullmatch(r"[!-~]+", endpoint) or url.query or url.fragment:
        shown = ascii(endpoint.rpartition("@")[2])
        raise SettingsError(
            f"AWS_ENDPOINT_URL: {shown[:100]} is no endpoint; expected http(s)://host[:port]"
        )
    if "@" in url.netloc:
        raise SettingsError(
            "AWS_ENDPOINT_URL: has a user in it; put keys into AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    return url._replace(netloc=url.netloc.lower()).geturl().rstrip("/")


def _with_bucket_in_host(endpoint: str, bucket: str) -> str:
    """Put the bucket before the endpoint's host, as object_store wants it; once is enough."""
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
