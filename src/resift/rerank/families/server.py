"""Where a service is, and the secret that it gets. Pure.

A key is sent only to the host that it belongs to, and leaves this machine only encrypted.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from resift.errors import InputError, SettingsError, shown
from resift.settings import Settings, variable_of
from resift.transport.authorisation import (
    Authorisation,
    basic,
    bearer,
    check_encrypted,
    is_same_server,
)
from resift.transport.urls import split_url


@dataclass(frozen=True, slots=True)
class Server:
    """A base URL without user, path and slash at its end; `variable` is that of its `key`."""

    base: str
    authorisation: Authorisation
    variable: str
    key: str | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """Host and port."""
        return urlsplit(self.base).netloc

    def url(self, path: str) -> str:
        """The URL of a path."""
        return self.base + path


@dataclass(frozen=True, slots=True)
class Public:
    """A service on the internet: its base URL, and the name of the setting with its key."""

    url: str
    key: str


def find_server(
    name: str,
    path: str,
    public: Public | None,
    url: str | None,
    key: str | None,
    settings: Settings,
) -> Server:
    """The server of a service at `url`, by default its `public` one, with the secret for it.

    The secret is `key`, else the ``user:password`` in the URL, else the key in the settings: the
    service's own key for its public server, and ``reranker_key`` for any other. Raise `InputError`
    for a URL or a key that cannot be used, or for a secret that would leave this machine
    unencrypted; `SettingsError` if a public server needs a key and there is none.
    """
    base, user = _parts(name, url if url is not None else public and public.url, path)
    is_public = public is not None and is_same_server(urlsplit(base), public.url)
    setting = public.key if public is not None and is_public else "reranker_key"
    variable = variable_of(setting)
    given = key if key is not None else None if user else getattr(settings, setting)
    if given is not None and not isinstance(given, str):
        raise InputError(f"key: expected text, got {type(given).__name__}")
    given = (given or "").strip()
    if given:
        authorisation = bearer(given, "key" if key is not None else setting)
    elif user:
        authorisation = basic(user)
    elif is_public:
        raise SettingsError(f"{name}: no key; set {variable}, or pass key=")
    else:
        authorisation = Authorisation()
    if authorisation.header:
        check_encrypted(urlsplit(base), variable)
    return Server(base, authorisation, variable, given or None)


def _parts(name: str, url: object, path: str) -> tuple[str, str | None]:
    """The base URL, and ``user:password``."""
    if url is None:
        raise InputError(f"{name}: pass the url of your server, such as http://host:8080")
    if not isinstance(url, str):
        raise InputError(f"url: expected text, got {type(url).__name__}")
    parts = split_url(url)
    if (
        not parts.hostname
        or parts.scheme not in ("http", "https")
        or parts.query
        or parts.fragment
        or not re.fullmatch(r"[!-~]+", url)
    ):
        raise InputError(
            f"url={shown(url.rpartition('@')[2])}: expected a URL such as http://host:8080"
        )
    user, _, host = parts.netloc.rpartition("@")
    base = parts.path.rstrip("/").removesuffix(path).rstrip("/")
    return f"{parts.scheme}://{host.lower()}{base}", unquote(user) or None
