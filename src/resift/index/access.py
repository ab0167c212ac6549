"""Who we are to AWS, where obstore cannot find that out itself.

Keys that were given come first, then what obstore and Lance look for on their own: web identity,
a container's role, a machine's. Profiles are not among that, and what stands in them: keys, SSO,
roles to assume, a command that prints keys. botocore reads those, where a profile is named or
AWS's shared files are there.
"""

import os
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from resift.errors import InputError, MissingExtra, SettingsError
from resift.extras import require
from resift.files import from_home
from resift.settings import StorageSettings

# botocore gives no keys that expire in less than ten minutes while it can get others.
_GOOD_FOR = timedelta(minutes=10)
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


def find_credentials(storage: StorageSettings) -> Credentials | None:
    """Ask botocore, or give None where obstore and Lance find their own.

    Raise `SettingsError` for a named profile that is not there or gives no keys.
    """
    if storage.access_key_id or not (storage.profile or _has_shared_files()):
        return None
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


def _has_shared_files() -> bool:
    places = (os.environ.get(name) or usual for name, usual in _SHARED_FILES.items())
    try:
        return any(from_home(place).is_file() for place in places)
    except InputError:  # no home, so none of its files
        return False


def _fail(name: str, error: Exception) -> NoReturn:
    """Say which profile; never what botocore says, for a command's own words may be in that."""
    if type(error).__name__ == "ProfileNotFound":
        what = "no such profile: check AWS_PROFILE and AWS_CONFIG_FILE"
    else:
        what = f"its credentials cannot be had ({type(error).__name__}): renew them, or log in"
    raise SettingsError(f"AWS profile {name!r}: {what}") from None
