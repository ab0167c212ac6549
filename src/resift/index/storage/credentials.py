"""AWS credentials of profiles, which obstore and Lance cannot find by themselves.

Keys in the settings come first. obstore and Lance find web identities and the roles of containers
and machines. They do not read profiles, which hold keys, SSO, roles to assume or commands that
print keys; botocore does, if the settings name a profile or AWS's shared files exist.
"""

import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from resift.errors import InputError, MissingExtra, SettingsError
from resift.extras import require
from resift.files import from_home
from resift.index.storage.lookups import cached_for_minutes
from resift.index.storage.unprinted import unprinted
from resift.settings import StorageSettings

# botocore renews keys that expire within ten minutes, if it can.
_VALID_FOR = timedelta(minutes=10)
_SHARED_FILES = {
    "AWS_CONFIG_FILE": "~/.aws/config",
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
}


class Credentials:
    """Keys that botocore finds and renews. Threads may share it; its repr shows no key."""

    def __init__(self, session: Any, credentials: Any, profile: str) -> None:
        """Store botocore's credentials of a profile, with the profile's region and endpoint."""
        self._credentials = credentials
        self._profile = profile
        self.region: str | None = session.get_config_variable("region")
        self.endpoint: str | None = session.get_scoped_config().get("endpoint_url")

    def options(self) -> dict[str, str]:
        """Return the current keys under object_store's names."""
        keys = self._current()
        options = {
            "aws_access_key_id": keys.access_key,
            "aws_secret_access_key": keys.secret_key,
            "aws_session_token": keys.token,
        }
        return {name: value for name, value in options.items() if value}

    def __call__(self) -> dict[str, Any]:
        """Return the current keys for obstore, which calls again when they have expired."""
        expires = datetime.now(UTC) + _VALID_FOR
        keys = self._current()
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": expires,
        }

    def _current(self) -> Any:
        try:
            with unprinted("botocore"):
                return self._credentials.get_frozen_credentials()
        except Exception as error:  # of a command, a server or a file
            _raise_settings_error(self._profile, error)


def find_credentials(storage: StorageSettings) -> Credentials | None:
    """Look up a profile's credentials; None if obstore and Lance find their own.

    A lookup reads files or runs a command, so the result is cached for some minutes, or until AWS's
    files or variables change. botocore renews expired keys. Raise `SettingsError` for a named
    profile that does not exist or has no keys.
    """
    if (
        storage.skip_signature
        or storage.access_key_id
        or not (storage.profile or any(path.is_file() for path in _shared_files()))
    ):
        return None
    return _look_up(storage.profile, storage.name_of("profile"), _environment())


@cached_for_minutes(max_results=1)
def _look_up(profile: str | None, setting: str, _environment: object) -> Credentials | None:
    try:
        botocore = require("botocore.session", "aws")
    except MissingExtra:
        if profile:
            raise
        return None
    name = profile or "default"
    try:
        with unprinted("botocore"):
            session = botocore.Session(profile=profile)
            credentials = session.get_credentials()
    except Exception as error:  # of a command, a server or a file
        _raise_settings_error(name, error, setting)
    if credentials is not None:
        return Credentials(session, credentials, name)
    if profile:
        raise SettingsError(f"AWS profile {name!r}: gives no credentials: run  aws configure list")
    return None


def _shared_files() -> list[Path]:
    """Return the paths of AWS's shared files; none if the home folder is unknown."""
    paths = []
    for variable, default in _SHARED_FILES.items():
        with suppress(InputError):
            paths.append(from_home(os.environ.get(variable) or default))
    return paths


def _environment() -> tuple[object, ...]:
    """Return the state that botocore's result depends on: AWS's variables and files."""
    variables = sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
    states: list[object] = []
    for path in _shared_files():
        try:
            state = path.stat()
        except OSError:
            states.append((str(path), None))
        else:
            states.append((str(path), state.st_mtime_ns, state.st_size, state.st_ino))
    return (*variables, *states)


def _raise_settings_error(profile: str, error: Exception, setting: str = "AWS_PROFILE") -> NoReturn:
    """Raise an error without botocore's message, which may contain the output of a command."""
    if type(error).__name__ == "ProfileNotFound":
        problem = f"no such profile: check {setting} and AWS_CONFIG_FILE"
    else:
        problem = f"cannot get its credentials ({type(error).__name__}): renew them, or log in"
    raise SettingsError(f"AWS profile {profile!r}: {problem}") from None
