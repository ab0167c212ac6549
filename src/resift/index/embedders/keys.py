"""Which secret goes to which server: a key is for the host that it was named for, and no other.

What is sent without encryption can be read on the way, so it goes no further than this machine.
"""

import base64
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from resift.errors import InputError

OPENAI = "api.openai.com"


@dataclass(frozen=True, slots=True)
class Keys:
    """What is at hand: a key for the embedder that the settings name, and one for OpenAI alone."""

    embedder: str | None = field(default=None, repr=False)
    openai: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Authorisation:
    """The header's value, if one is sent, and all that no message may hold."""

    header: str | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def authorise(url: SplitResult, user: str | None, keys: Keys) -> Authorisation:
    """Choose what is sent to `url`: its own ``user:password``, else the key that is meant for it.

    Raise `InputError` where a secret would leave this machine in the clear, and for a key that no
    header can hold.
    """
    if user:
        coded = base64.b64encode(user.encode()).decode()
        sent = Authorisation(f"Basic {coded}", (coded, user, user.partition(":")[2]))
    else:
        key = (keys.embedder or "").strip()
        if not key and is_openai(url):
            key = (keys.openai or "").strip()
        if not key:
            return Authorisation()
        if not (key.isascii() and key.isprintable()):
            raise InputError(
                "embedder_key: has characters that no HTTP header can hold; copy it again"
            )
        sent = Authorisation(f"Bearer {key}", (key,))
    if url.scheme != "https" and not is_loopback(url.hostname):
        raise InputError(
            f"{url.scheme}://{url.hostname}: a key or password would be sent there for all to "
            "read; use https, or leave RESIFT_EMBEDDER_KEY and the user out"
        )
    return sent


def is_openai(url: SplitResult) -> bool:
    """Whether this is OpenAI's own server, reached in the only way that a key may take."""
    return url.scheme == "https" and url.hostname == OPENAI and url.port in (None, 443)


def is_loopback(host: str | None) -> bool:
    """Whether what is sent to `host` never leaves this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:  # a name, and names can be anybody's
        return False


def same_server(url: str, other: str) -> bool:
    """Whether two URLs lead to the same port of the same host in the same way."""
    usual = {"http": 80, "https": 443}
    try:
        servers = [
            (parts.scheme, parts.hostname, parts.port or usual.get(parts.scheme))
            for parts in (urlsplit(url), urlsplit(other))
        ]
    except ValueError:  # one of them is none
        return False
    return servers[0] == servers[1]
