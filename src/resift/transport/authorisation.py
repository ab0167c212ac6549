"""Secrets of requests: the header that carries them, and where they may go. Pure."""

import base64
from dataclasses import dataclass, field
from urllib.parse import SplitResult

from resift.errors import InputError
from resift.transport.urls import is_loopback, split_url


@dataclass(frozen=True, slots=True)
class Authorisation:
    """The value of the Authorization header, if any, and the secrets to hide in messages."""

    header: str | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


NONE = Authorisation()


def basic(user: str) -> Authorisation:
    """The header for ``user:password``."""
    coded = base64.b64encode(user.encode()).decode()
    name, _, password = user.partition(":")
    return Authorisation(f"Basic {coded}", (coded, user, password or name))


def bearer(key: str, name: str) -> Authorisation:
    """The header for a key; raise `InputError` with the key's `name` if no header can hold it."""
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"{name}: has characters that no HTTP header can hold; copy it again")
    return Authorisation(f"Bearer {key}", (key,))


def check_encrypted(url: SplitResult, variable: str) -> None:
    """Raise `InputError` if a secret would leave this machine unencrypted.

    `variable` is the environment variable that holds it.
    """
    if url.scheme != "https" and not is_loopback(str(url.hostname)):
        raise InputError(
            f"{url.scheme}://{url.hostname}: a key or password would be sent there for all to "
            f"read; use https, or leave {variable} and the user out"
        )


def is_same_server(url: SplitResult, other: str) -> bool:
    """Whether two URLs have the same scheme, host and port."""
    ports = {"http": 80, "https": 443}
    servers = [
        (parts.scheme, parts.hostname, parts.port or ports.get(parts.scheme))
        for parts in (url, split_url(other))
    ]
    return servers[0] == servers[1]
