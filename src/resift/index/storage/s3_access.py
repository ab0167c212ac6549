"""Access to S3 and the stores that speak it: endpoint, region, keys, and signed listings."""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_address
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request

from resift.errors import SettingsError
from resift.extras import require
from resift.index.storage.access import Access, SignListing
from resift.index.storage.credentials import find_credentials
from resift.index.storage.endpoints import check_endpoint
from resift.index.storage.location import Location
from resift.settings import StorageSettings
from resift.storage_settings import ENVIRONMENT

# obstore requires keys even for a request that is not signed.
_UNUSED_KEYS = {
    "aws_skip_signature": "false",
    "aws_access_key_id": "none",
    "aws_secret_access_key": "none",
}
# The clock skew that AWS accepts.
_SIGNED_FOR = timedelta(minutes=15)


def s3_access(location: Location) -> Access:
    """Combine the settings with those of the AWS profile.

    Raise `SettingsError` for invalid settings; Rust code would panic at some of them.
    """
    storage = location.access
    credentials = find_credentials(storage)
    options = storage.options()
    if not storage.skip_signature:
        _check_keys(storage)
    if credentials:
        if credentials.region:
            options.setdefault("aws_region", credentials.region)
        if credentials.endpoint:
            options.setdefault("aws_endpoint", credentials.endpoint)
    _check_region(options.get("aws_region", ""), storage)
    if location.storage.table_of(location.uri):
        _hide_environment(storage, options)
    is_of_profile = credentials and credentials.endpoint and not storage.endpoint
    name = "endpoint_url of the AWS profile" if is_of_profile else storage.name_of("endpoint")
    endpoint = check_endpoint(options.get("aws_endpoint", ""), name)
    if endpoint.startswith("http://"):
        options["allow_http"] = "true"
    if endpoint and storage.virtual_hosted:
        endpoint = _add_bucket_to_host(endpoint, str(location.bucket), storage)
    if endpoint:  # set both names, or the environment would set the other one
        options |= {"aws_endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
    return Access(
        "S3Store",
        {"bucket": str(location.bucket)},
        options,
        provider=credentials,
        lance_keys=credentials.options if credentials else dict,
        ca_file=storage.ca_file,
    )


def _hide_environment(storage: StorageSettings, options: dict[str, str]) -> None:
    """Keep variables of other URIs from obstore and Lance, which add them to a table's values."""
    token = os.environ.get("AWS_SESSION_TOKEN")
    if token and storage.access_key_id and not storage.session_token:
        raise SettingsError(
            "AWS_SESSION_TOKEN: is set, and belongs to other keys than those of the table: unset "
            "it, or name a profile in the table"
        )
    if "aws_endpoint" not in options and any(map(os.environ.get, ENVIRONMENT["endpoint"])):
        region = options.setdefault("aws_region", "us-east-1")
        options["aws_endpoint"] = f"https://s3.{region}.amazonaws.com"


def _check_region(region: str, storage: StorageSettings) -> None:
    if region and not re.fullmatch(r"[A-Za-z0-9._-]{1,60}", region):
        raise SettingsError(
            f"{storage.name_of('region')}: {ascii(region)[:100]} is not a region; expected one "
            "like eu-west-1"
        )


def _check_keys(storage: StorageSettings) -> None:
    keys = {
        storage.name_of("access_key_id"): storage.access_key_id,
        storage.name_of("secret_access_key"): storage.secret_access_key,
    }
    token_name = storage.name_of("session_token")
    missing = [name for name, value in keys.items() if not value]
    if len(missing) == 1 or (missing and storage.session_token):
        present = [name for name in keys if name not in missing] or [token_name]
        raise SettingsError(f"{present[0]}: is set without {missing[0]}: set both, or neither")
    for name, value in (keys | {token_name: storage.session_token}).items():
        if value and not re.fullmatch(r"[!-~]+", value):
            raise SettingsError(f"{name}: contains blanks or unusual characters; copy it again")


def _add_bucket_to_host(endpoint: str, bucket: str, storage: StorageSettings) -> str:
    """Put the bucket before the endpoint's host, as object_store expects, unless it is there."""
    url = urlsplit(endpoint)
    if _is_ip_address(str(url.hostname)):
        raise SettingsError(
            f"{storage.name_of('virtual_hosted')}: puts the bucket in front of the host, and "
            f"{url.hostname} is an address: name the host in {storage.name_of('endpoint')}, or set "
            "it to false"
        )
    host = url.netloc if url.netloc.startswith(f"{bucket}.") else f"{bucket}.{url.netloc}"
    return url._replace(netloc=host).geturl()


def _is_ip_address(host: str) -> bool:
    try:
        return bool(ip_address(host.partition("%")[0]))
    except ValueError:
        return False


def s3_list_signer(location: Location) -> SignListing:
    """Make a function from query parameters to a request with a signed URL that lists the bucket.

    The URL is valid for minutes and must be kept secret. obstore signs the URL of a key, without
    parameters; here they are part of the endpoint, so that obstore signs them too, with credentials
    that it finds and renews. With `skip_signature` the URL is not signed.
    """
    sign_url = require("obstore", "index").sign
    access = s3_access(location)
    is_signed = not location.access.skip_signature
    keys = {} if is_signed else _UNUSED_KEYS  # then obstore only makes the bucket's URL

    def sign(key: str, **config: str) -> str:
        store = access.store(config={**keys, **config})
        return str(sign_url(store, "GET", key, _SIGNED_FOR))

    root = ""

    def sign_listing(query: Mapping[str, str]) -> Request:
        nonlocal root
        root = root or sign("x").partition("?")[0].removesuffix("/x")
        url = f"{root}?{urlencode(query, quote_via=quote, safe='')}"
        if not is_signed:
            return Request(url)
        # obstore appends a slash to the last parameter; stores ignore the value of this one.
        endpoint = f"{url}&x-id=ListObjectsV2"
        both = {"aws_endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
        return Request(sign("", **both, aws_virtual_hosted_style_request="true"))

    return sign_listing
