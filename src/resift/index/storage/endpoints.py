"""Checks endpoints, because Rust code panics at some of them or reports them late. Pure."""

import re

from resift.errors import SettingsError
from resift.transport.urls import split_url


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
