"""URIs of buckets: which store, which bucket and which path in it. Reads nothing.

An ``https://`` URI names a bucket that is open to all, in one of the forms that stores use: the
bucket in the host (``BUCKET.s3.REGION.amazonaws.com``, ``BUCKET.storage.googleapis.com``) or first
in the path (any other host). An Azure account's host is the same store as ``abfss://``.
"""

import re
from typing import NamedTuple
from urllib.parse import SplitResult, unquote_to_bytes

from resift.errors import InputError
from resift.transport.urls import is_loopback, split_url

SCHEMES = ("s3", "gs", "az", "abfs", "abfss", "http", "https")
EXPECTED = "expected a folder or s3://bucket/prefix"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PUBLIC = "https:// names a public bucket, like https://BUCKET.s3.REGION.amazonaws.com/PREFIX"
# The names that AWS and other stores allow or have allowed; all are valid in a URL.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_CONTAINER = re.compile(r"\$(?:root|web|logs)|[a-z0-9](?:-?[a-z0-9]){2,62}")
_ACCOUNT_HOST = re.compile(
    r"([a-z0-9]{3,24})\.(?:dfs|blob)\.(core\.[a-z.]+|fabric\.microsoft\.com)"
)
_AWS_HOST = re.compile(
    r"(?:(.+)\.)?s3[.-](?:dualstack\.)?(?:([a-z0-9-]+)\.)?amazonaws\.com(?:\.cn)?"
)
_GOOGLE_HOST = re.compile(r"(?:(.+)\.)?storage\.googleapis\.com")
_WEB = ("http", "https")
_SIGNATURE = re.compile(r"\?(?:.*&)?sig=")


class BucketUri(NamedTuple):
    """A bucket and a path in it.

    `host` is an Azure account's host, or the server of a public bucket with its port; otherwise "".
    """

    scheme: str
    bucket: str
    path: str
    host: str = ""


def parse_bucket_uri(uri: str) -> BucketUri:
    """Parse a URI of one of `SCHEMES`; raise `InputError` if a part of it is not valid."""
    parts = split_key(uri, is_typed=True)
    path = parts.path.strip("/")
    if parts.scheme == "az" and _SIGNATURE.search(path):
        raise InputError(
            f"{shown(uri)}: has a SAS token; set it as AZURE_STORAGE_SAS_TOKEN, not in the URI"
        )
    has_invalid_part = path and any(part in ("", ".", "..") for part in path.split("/"))
    if has_invalid_part or CONTROL.search(path):
        raise InputError(
            f"{shown(uri)}: a prefix with control characters or an empty or dotted "
            f"part; {EXPECTED} without"
        )
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InputError(f"{shown(uri)}: not UTF-8; {EXPECTED} that is") from None
    return parts._replace(path=path)


def split_key(uri: str, *, is_typed: bool = False) -> BucketUri:
    """Split the URI of an object; the path is its key as it is, with slashes and dots.

    In an ``https://`` URI that a person typed, ``%20`` is a blank.
    """
    scheme, _, rest = uri.partition("://")
    scheme = scheme.lower()
    if scheme in _WEB:
        return _split_web(uri, scheme, is_typed)
    authority, _, path = rest.partition("/")
    if scheme in ("abfs", "abfss"):
        container, _, host = authority.partition("@")
        return _azure(uri, container, host, path)
    if scheme == "az":
        _check_container(uri, authority)
    elif not _BUCKET.fullmatch(authority):
        name = shown(f"{scheme}://{authority.rpartition('@')[2]}")  # a secret may precede the @
        raise InputError(
            f"{name}: not the name of a bucket; {EXPECTED}: letters, digits, dots and dashes"
        )
    return BucketUri(scheme, authority, path)


def is_in_host(host: str, bucket: str) -> bool:
    """Whether a public bucket's name is a part of its server's name."""
    match = _AWS_HOST.fullmatch(host) or _GOOGLE_HOST.fullmatch(host)
    return match is not None and match[1] == bucket


def region_of(host: str) -> str | None:
    """Return the region in the host's name, if it is one of AWS."""
    match = _AWS_HOST.fullmatch(host)
    return match[2] if match else None


def account_of(host: str) -> str:
    """Return the account in the name of an Azure host."""
    return host.partition(".")[0]


def shown(uri: str) -> str:
    """Format a URI in one line, without secrets: a user before an @, and all after a ?."""
    scheme, separator, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    if separator and not scheme.lower().startswith("abfs"):
        host = host.rpartition("@")[2]
    if "?" in path and (scheme.lower() in _WEB or _SIGNATURE.search(path)):
        path = f"{path.partition('?')[0]}?…"
    whole = f"{scheme}{separator}{host}{slash}{path}" if separator else uri
    text = whole if whole.isprintable() or "…" in whole else ascii(whole)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _split_web(uri: str, scheme: str, is_typed: bool) -> BucketUri:
    url = _checked_url(uri)
    host = url.netloc.lower()
    if scheme == "http" and not is_loopback(str(url.hostname)):
        raise InputError(
            f"{shown(uri)}: http:// only to this machine: write https://, or s3:// and name the "
            "server in AWS_ENDPOINT_URL"
        )
    path = url.path if is_typed else uri.partition("://")[2].partition("/")[2]
    path = path.removeprefix("/")
    if is_typed:
        _check_query(uri, url)
        path = _decoded(uri, path)
    if _ACCOUNT_HOST.fullmatch(host):
        container, _, path = path.partition("/")
        return _azure(uri, container, host, path)
    match = _AWS_HOST.fullmatch(host) or _GOOGLE_HOST.fullmatch(host)
    bucket = match[1] if match and match[1] else ""
    if not bucket:
        bucket, _, path = path.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise InputError(f"{shown(uri)}: names no bucket; {_PUBLIC}, or https://HOST/BUCKET/PREFIX")
    return BucketUri(scheme, bucket, path, host)


def _checked_url(uri: str) -> SplitResult:
    url = split_url(uri)
    if not url.hostname or not re.fullmatch(r"[!-~]+", url.netloc):
        raise InputError(f"{shown(uri)}: not a URL; {_PUBLIC}")
    if "@" in url.netloc:
        raise InputError(f"{shown(uri)}: contains a user; {_PUBLIC}")
    return url


def _check_query(uri: str, url: SplitResult) -> None:
    if url.query or url.fragment:
        raise InputError(
            f"{shown(uri)}: has a query or a fragment; {_PUBLIC}; keys and SAS tokens belong into "
            "the settings, not into the URI"
        )


def _azure(uri: str, container: str, host: str, path: str) -> BucketUri:
    match = _ACCOUNT_HOST.fullmatch(host.lower())
    if not match:
        raise InputError(
            f"{shown(uri)}: names no account; expected "
            "abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PREFIX, or az://CONTAINER/PREFIX"
        )
    _check_container(uri, container)
    return BucketUri("az", container, path, f"{match[1]}.dfs.{match[2]}")


def _check_container(uri: str, name: str) -> None:
    if not _CONTAINER.fullmatch(name):
        raise InputError(
            f"{shown(uri)}: not the name of a container; {EXPECTED} or az://container/prefix: "
            "small letters, digits and single dashes"
        )


def _decoded(uri: str, path: str) -> str:
    try:
        return unquote_to_bytes(path.encode()).decode()
    except UnicodeError:
        raise InputError(f"{shown(uri)}: not UTF-8; {EXPECTED} that is") from None
