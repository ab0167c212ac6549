"""An ``s3://`` prefix through obstore and through Lance: both reach it in the same way."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from resift.errors import SettingsError
from resift.extras import require
from resift.index.storage.credentials import Credentials, find_credentials
from resift.index.storage.location import Location
from resift.settings import StorageSettings

# Whoever mistyped an endpoint is told so in seconds; object_store alone takes three minutes.
# A store that has answered before is worth waiting for: SlowDown, resets, a restart.
_CONNECT, _ANSWER, _PATIENT_ANSWER = "5s", "10s", "60s"
# Lance would ask anew, from the start, for what its client has tried in vain for so long already.
_LANCE_ANSWER, _LANCE_DOWNLOADS_AGAIN = "45s", "0"
_RETRIES, _SECONDS = 4, 10
_PATIENT_RETRIES, _PATIENT_SECONDS = 10, 60
_NO_KEYS = {
    "aws_skip_signature": "false",
    "aws_access_key_id": "none",
    "aws_secret_access_key": "none",
}
# As long as AWS puts up with a clock that is wrong.
_SIGNED_FOR = timedelta(minutes=15)


def open_bucket(location: Location, *, patient: bool = False) -> Any:
    """An obstore store rooted at the prefix. Asks the bucket nothing.

    `patient` is for a store that has answered before: then a pause does not end the work.
    """
    stores = require("obstore.store", "index")
    credentials = find_credentials(location.storage)
    options = _options(location, credentials)
    client = {
        "connect_timeout": _CONNECT,
        "timeout": _PATIENT_ANSWER if patient else _ANSWER,
        "allow_http": options.pop("allow_http", "false") == "true",
    }
    retries, seconds = _retries(patient)
    return stores.S3Store(
        location.bucket,
        prefix=location.path or None,
        config=options,
        client_options=client,
        retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=seconds)},
        **({"credential_provider": credentials} if credentials else {}),
    )


def lance_options(location: Location, *, patient: bool = False) -> dict[str, str]:
    """``storage_options`` of Lance for the same bucket; there are none on the local disk.

    A profile's keys are those of this moment: open anew what is open for longer than they last.
    """
    if location.bucket is None:
        return {}
    credentials = find_credentials(location.storage)
    options = _options(location, credentials)
    retries, seconds = _retries(patient)
    return {
        **options,
        **(credentials.options() if credentials else {}),
        "connect_timeout": _CONNECT,
        "timeout": _LANCE_ANSWER if patient else _ANSWER,
        "download_retry_count": _LANCE_DOWNLOADS_AGAIN,
        "client_max_retries": str(retries),
        "client_retry_timeout": str(seconds),
    }


def list_signer(location: Location) -> Callable[[Mapping[str, str]], str]:
    """What makes a URL that lists the bucket with these parameters, signed for some minutes.

    Where nothing is to be signed, the URL is all there is to it.

    obstore signs a key's URL and no parameters. They are put into its endpoint: they are signed
    along with the rest of it, with the credentials that it finds and renews for itself. Nobody
    else is to see such a URL.
    """
    stores = require("obstore.store", "index")
    obstore = require("obstore", "index")
    credentials = find_credentials(location.storage)
    options = _options(location, credentials)
    client = {"allow_http": options.pop("allow_http", "false") == "true"}
    provider = {"credential_provider": credentials} if credentials else {}

    if location.storage.skip_signature:  # no keys are needed to know where the bucket is
        options |= _NO_KEYS

    def sign(key: str, **changed: str) -> str:
        config = options | changed
        store = stores.S3Store(location.bucket, config=config, client_options=client, **provider)
        return str(obstore.sign(store, "GET", key, _SIGNED_FOR))

    root = ""

    def sign_listing(query: Mapping[str, str]) -> str:
        nonlocal root
        root = root or sign("x").partition("?")[0].removesuffix("/x")
        if location.storage.skip_signature:
            return f"{root}?{urlencode(query, quote_via=quote, safe='')}"
        # The last parameter is what a slash is added to; stores take no notice of it.
        endpoint = f"{root}?{urlencode(query, quote_via=quote, safe='')}&x-id=ListObjectsV2"
        named = {"aws_endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
        return sign("", **named, aws_virtual_hosted_style_request="true")

    return sign_listing


def _retries(patient: bool) -> tuple[int, int]:
    """How often a request is tried again, and for how many seconds."""
    return (_PATIENT_RETRIES, _PATIENT_SECONDS) if patient else (_RETRIES, _SECONDS)


def _options(location: Location, credentials: Credentials | None) -> dict[str, str]:
    """The settings, and what the profile adds to them.

    Raise `SettingsError` for what no request can be made with: Rust code panics at some of it.
    """
    storage = location.storage
    options = storage.options()
    if not storage.skip_signature:
        _check_keys(storage)
    if credentials:
        if credentials.region:
            options.setdefault("aws_region", credentials.region)
        if credentials.endpoint:
            options.setdefault("aws_endpoint", credentials.endpoint)
    _check_region(options.get("aws_region", ""))
    endpoint = _checked_endpoint(options.get("aws_endpoint", ""))
    if endpoint.startswith("http://"):
        options["allow_http"] = "true"
    if endpoint and storage.virtual_hosted:
        endpoint = _in_host(endpoint, str(location.bucket))
    if endpoint:  # under both names: the environment's own would win over the one that is not said
        options |= {"aws_endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
    return options


def _checked_endpoint(endpoint: str) -> str:
    """An endpoint with its scheme and host in lower case; nothing where there is none."""
    if not endpoint:
        return ""
    try:
        url = urlsplit(endpoint)
        port = url.port
    except ValueError:  # a port that is no number, half an IPv6 address
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


def _check_keys(storage: StorageSettings) -> None:
    keys = {
        "AWS_ACCESS_KEY_ID": storage.access_key_id,
        "AWS_SECRET_ACCESS_KEY": storage.secret_access_key,
    }
    missing = [name for name, value in keys.items() if not value]
    if len(missing) == 1 or (missing and storage.session_token):
        there = [name for name in keys if name not in missing] or ["AWS_SESSION_TOKEN"]
        raise SettingsError(f"{there[0]}: is set without {missing[0]}: set both, or neither")
    for name, value in (keys | {"AWS_SESSION_TOKEN": storage.session_token}).items():
        if value and not re.fullmatch(r"[!-~]+", value):
            raise SettingsError(f"{name}: has blanks or odd characters in it; copy it again")


def _check_region(region: str) -> None:
    if region and not re.fullmatch(r"[A-Za-z0-9._-]{1,60}", region):
        raise SettingsError(f"AWS_REGION: {ascii(region)[:100]} is no region, such as eu-west-1")


def _is_address(host: str) -> bool:
    try:
        return bool(ip_address(host.partition("%")[0]))
    except ValueError:
        return False


def _in_host(endpoint: str, bucket: str) -> str:
    """The endpoint with the bucket before its host, as object_store wants it; once is enough."""
    url = urlsplit(endpoint)
    if _is_address(str(url.hostname)):
        raise SettingsError(
            f"AWS_VIRTUAL_HOSTED_STYLE_REQUEST: puts the bucket in front of the host, and "
            f"{url.hostname} is an address: name the host in AWS_ENDPOINT_URL, or set it to false"
        )
    host = url.netloc if url.netloc.startswith(f"{bucket}.") else f"{bucket}.{url.netloc}"
    return url._replace(netloc=host).geturl()
