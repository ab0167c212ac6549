"""Who we are to AWS, where obstore cannot find that out itself.

Keys that were given come first, then what obstore and Lance look for on their own: web identity,
a container's role, a machine's. Profiles are not among that, and what stands in them: keys, SSO,
roles to assume, a command that prints keys. botocore reads those, where a profile is named or
AWS's shared files are there.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from resift.errors import InputError, MissingExtra, SettingsError
from resift.extras import require
from resift.files import from_home
from resift.settings import StorageSettings

# botocore gives no keys that expire in less than ten minutes while it can get others.
_GOOD_FOR = timedelta(minutes=10)
_KNOWN_FOR_S = 300.0
_SHARED_FILES = {
    "AWS_CONFIG_FILE": "~/.aws/config",
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
}


class Credentials:
    """Keys as botocore finds and renews them. Threads may share it; its repr shows none."""

    def __init__(self, session: Any, found: Any, name: str) -> None:
        """Hold what `find_credentials` found."""
        self._found = found
        self._name = name
        self.region: str | None = session.get_config_variable("region")
        self.endpoint: str | None = session.get_scoped_config().get("endpoint_url")

    def options(self) -> dict[str, str]:
        """The keys of this moment, in object_store's words."""
        now = self._now()
        keys = {
            "aws_access_key_id": now.access_key,
            "aws_secret_access_key": now.secret_key,
            "aws_session_token": now.token,
        }
        return {key: value for key, value in keys.items() if value}

    def __call__(self) -> dict[str, Any]:
        """The same for obstore, which asks again when they have expired."""
        expires = datetime.now(UTC) + _GOOD_FOR
        now = self._now()
        return {
            "access_key_id": now.access_key,
            "secret_access_key": now.secret_key,
            "token": now.token,
            "expires_at": expires,
        }

    def _now(self) -> Any:
        try:
            return self._found.get_frozen_credentials()
        except Exception as error:  # a command, a server or a file of any kind is behind this
            _fail(self._name, error)


class _CachedCredentials:
    """What was found, for as long as nothing says otherwise: looking takes a file or a program.

    botocore renews by itself what expires; keys without an end are looked up anew after a while,
    and whenever one of AWS's files has changed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[object, ...], tuple[float, Credentials | None]] = {}

    def get(
        self, name: tuple[object, ...], find: Callable[[], Credentials | None]
    ) -> Credentials | None:
        """The same as last time, or what `find` gives; a failure is not remembered."""
        with self._lock:
            until, credentials = self._found.get(name, (0.0, None))
            if time.monotonic() < until:
                return credentials
            credentials = find()
            self._found = {name: (time.monotonic() + _KNOWN_FOR_S, credentials)}
            return credentials


_KNOWN = _CachedCredentials()


def find_credentials(storage: StorageSettings) -> Credentials | None:
    """RankOptions botocore, or give None where obstore and Lance find their own.

    Searches ask often, so what was found is remembered for some minutes. Raise `SettingsError` for
    a named profile that is not there or gives no keys.
    """
    if (
        storage.skip_signature
        or storage.access_key_id
        or not (storage.profile or _has_shared_files())
    ):
        return None
    return _KNOWN.get((storage.profile, *_surroundings()), lambda: _ask(storage))


def _ask(storage: StorageSettings) -> Credentials | None:
    try:
        botocore = require("botocore.session", "aws")
    except MissingExtra:
        if storage.profile:
            raise
        return None
    name = storage.profile or "default"
    try:
        session = botocore.Session(profile=storage.profile)
        found = session.get_credentials()
    except Exception as error:  # as above
        _fail(name, error)
    if found is not None:
        return Credentials(session, found, name)
    if storage.profile:
        raise SettingsError(f"AWS profile {name!r}: gives no credentials: run  aws configure list")
    return None


def _shared_files() -> list[Path]:
    """AWS's own files, whether they are there or not; none where there is no home."""
    places = (os.environ.get(name) or usual for name, usual in _SHARED_FILES.items())
    found = []
    for place in places:
        with suppress(InputError):  # nobody's home
            found.append(from_home(place))
    return found


def _has_shared_files() -> bool:
    return any(path.is_file() for path in _shared_files())


def _surroundings() -> tuple[object, ...]:
    """What botocore's answer depends on: AWS's variables, and the state of its files."""
    variables = sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
    states: list[object] = []
    for path in _shared_files():
        try:
            state = path.stat()
        except OSError:
            states.append((str(path), None))
        else:
            states.append((str(path), state.st_mtime_ns, state.st_size, state.st_ino))
    return (tuple(variables), *states)


def _fail(name: str, error: Exception) -> NoReturn:
    """Interpolation which profile; never what botocore says, for a command's own words may be in that."""
    if type(error).__name__ == "ProfileNotFound":
        what = "no such profile: check AWS_PROFILE and AWS_CONFIG_FILE"
    else:
        what = f"its credentials cannot be had ({type(error).__name__}): renew them, or log in"
    raise SettingsError(f"AWS profile {name!r}: {what}") from None
