"""Checks endpoints, because Rust code panics at some of them or reports them late. Pure."""

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from resift.errors import SettingsError


def check_endpoint(endpoint: str, name: str) -> str:
    """Return an endpoint with scheme and host in lower case; "" stays empty.

    `name` is the setting that a `SettingsError` names.
    """
    if not endpoint:
        return ""
    url = split_url(endpoint)
    is_valid = url.scheme in ("http", "https") and url.hostname
    if not is_valid or not re.fullmatch(r"[!-~]+", endpoint) or url.query or url.fragment:
        shown = ascii(endpoint.rpartition("@")[2].partition("?")[0])
        raise SettingsError(
            f"{name}: {shown[:100]} is not an endpoint; expected http(s)://host[:port]"
        )
    if "@" in url.netloc:
        raise SettingsError(f"{name}: contains a user; put keys into the settings for keys")
    return url._replace(netloc=url.netloc.lower()).geturl().rstrip("/")


def split_url(url: str) -> SplitResult:
    """Split a URL; all parts are empty if its host or its port is not valid."""
    empty = urlsplit("")
    try:
        parts = urlsplit(url)
        return empty if parts.port == 0 else parts
    except ValueError:  # the port is not a number, or an IPv6 address is incomplete
        return empty


def is_loopback(host: str) -> bool:
    """Whether a host is this machine; other names may resolve to any address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
