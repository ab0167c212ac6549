"""Reads URLs without errors for broken ones. Pure."""

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit


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
