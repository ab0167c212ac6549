"""Settings, read once at start from a TOML file and the environment; frozen from then on.

The file is the one that ``RESIFT_CONFIG`` names; a variable wins over the file::

    runtime = "openvino"            # RESIFT_RUNTIME: openvino or onnxruntime
    threads = 2                     # RESIFT_THREADS: 0 is all cores that are ours
    model = "/models/mine"          # RESIFT_MODEL: artifact folder instead of the bundled one
    calibration = "/models/mine.json"  # RESIFT_CALIBRATION: of that model, by resift calibrate
    max_memory_mb = 512             # RESIFT_MAX_MEMORY_MB: for running, beyond the loaded model
    cache_mb = 64                   # RESIFT_CACHE_MB: for scores of pairs read before; 0 is none
    state_cache_mb = 64                  # RESIFT_STATE_CACHE_MB: for documents' halves read before; 0 is none
    cache_file = "/var/pairs.db"    # RESIFT_CACHE_FILE: where they outlive the process, if named;
                                    # a new name or a cache of resift: nothing else is written to

    embedder = "bundled"            # RESIFT_EMBEDDER: or wordllama, a folder, https://host/v1#model
    embedder_key = "..."            # RESIFT_EMBEDDER_KEY: for the server that embedder names
    openai_key = "..."              # OPENAI_API_KEY: for https://api.openai.com and no other

    cache_dir = "/var/cache/resift" # RESIFT_CACHE_DIR: for all that can be made again, else
                                    # $XDG_CACHE_HOME/resift or ~/.cache/resift; if it is named,
                                    # searches of s3:// indexes read a copy there
    cache_gb = 10                   # RESIFT_CACHE_GB: of copies; larger indexes are read in place

    [storage]                       # the usual AWS variables, for s3:// URIs
    endpoint = "http://127.0.0.1:8333"   # AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL
    region = "eu-central-1"              # AWS_REGION, AWS_DEFAULT_REGION
    access_key_id = "..."                # AWS_ACCESS_KEY_ID
    secret_access_key = "..."            # AWS_SECRET_ACCESS_KEY
    session_token = "..."                # AWS_SESSION_TOKEN
    profile = "work"                     # AWS_PROFILE: asked where no keys are given; extra aws
    skip_signature = true                # AWS_SKIP_SIGNATURE: no keys, for buckets open to all
    virtual_hosted = true                # AWS_VIRTUAL_HOSTED_STYLE_REQUEST: bucket in the host's
                                         # name; else in the path, which every store understands
    server_side_encryption = "aws:kms"   # AWS_SERVER_SIDE_ENCRYPTION: AES256 or aws:kms
    kms_key_id = "arn:aws:kms:..."       # AWS_SSE_KMS_KEY_ID: else the account's own key
    bucket_key = true                    # AWS_SSE_BUCKET_KEY_ENABLED: fewer calls of KMS
"""

import difflib
import logging
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resift.errors import InputError, SettingsError, shown
from resift.files import from_home, read_regular
from resift.setting_values import RUNTIMES as RUNTIMES
from resift.setting_values import count, flag, path, runtime, secret, text
from resift.setting_values import expanded as expanded

_ENVIRONMENT = {
    "runtime": ("RESIFT_RUNTIME",),
    "threads": ("RESIFT_THREADS",),
    "model": ("RESIFT_MODEL",),
    "calibration": ("RESIFT_CALIBRATION",),
    "max_memory_mb": ("RESIFT_MAX_MEMORY_MB",),
    "cache_mb": ("RESIFT_CACHE_MB",),
    "cache_file": ("RESIFT_CACHE_FILE",),
    "state_cache_mb": ("RESIFT_STATE_CACHE_MB",),
    "embedder": ("RESIFT_EMBEDDER",),
    "cache_dir": ("RESIFT_CACHE_DIR",),
    "cache_gb": ("RESIFT_CACHE_GB",),
    "embedder_key": ("RESIFT_EMBEDDER_KEY",),
    "openai_key": ("OPENAI_API_KEY",),
}
_STORAGE_ENVIRONMENT = {
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "access_key_id": ("AWS_ACCESS_KEY_ID",),
    "secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN",),
    "profile": ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"),
    "skip_signature": ("AWS_SKIP_SIGNATURE",),
    "virtual_hosted": ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST",),
    "server_side_encryption": ("AWS_SERVER_SIDE_ENCRYPTION",),
    "kms_key_id": ("AWS_SSE_KMS_KEY_ID",),
    "bucket_key": ("AWS_SSE_BUCKET_KEY_ENABLED",),
}
_FLAGS = ("virtual_hosted", "bucket_key", "skip_signature")
_SECRETS = ("access_key_id", "secret_access_key", "session_token")
ENCRYPTIONS = ("AES256", "aws:kms")
LEAST_MEMORY_MB = 256

_FILE_BYTES = 1_000_000
_PREFIX = "RESIFT_"
_FILE_VARIABLE = "RESIFT_CONFIG"
_OTHER_VARIABLES = (_FILE_VARIABLE, "RESIFT_DEBUG")

_log = logging.getLogger("resift")


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """How ``s3://`` URIs are reached. What is None is left to the S3 client's own defaults.

    Flags may be in words, as variables have them. Raises `SettingsError` for what makes no sense.
    """

    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    virtual_hosted: bool = False
    server_side_encryption: str | None = None
    kms_key_id: str | None = None
    bucket_key: bool = False
    skip_signature: bool = False

    def __post_init__(self) -> None:
        for name in _STORAGE_ENVIRONMENT:
            check = flag if name in _FLAGS else secret if name in _SECRETS else text
            object.__setattr__(self, name, check(f"storage.{name}", getattr(self, name)))
        encryption = self.server_side_encryption
        if encryption not in (None, *ENCRYPTIONS):
            raise SettingsError(
                f"storage.server_side_encryption={shown(encryption)}: "
                f"expected one of {', '.join(ENCRYPTIONS)}"
            )
        for name in ("kms_key_id", "bucket_key"):
            if getattr(self, name) and encryption != "aws:kms":
                raise SettingsError(
                    f"storage.{name}: expected server_side_encryption = 'aws:kms' too"
                )

    def options(self) -> dict[str, str]:
        """The object_store configuration that both obstore and Lance take.

        Without signatures there are no keys in it, whatever keys are there.
        """
        keys = {
            "aws_access_key_id": self.access_key_id,
            "aws_secret_access_key": self.secret_access_key,
            "aws_session_token": self.session_token,
        }
        named = {
            "aws_endpoint": self.endpoint,
            "aws_region": self.region,
            **({"aws_skip_signature": "true"} if self.skip_signature else keys),
            "aws_virtual_hosted_style_request": "true" if self.virtual_hosted else None,
            "aws_server_side_encryption": self.server_side_encryption,
            "aws_sse_kms_key_id": self.kms_key_id,
            "aws_sse_bucket_key_enabled": "true" if self.bucket_key else None,
        }
        options = {key: value for key, value in named.items() if value}
        if self.endpoint and self.endpoint.startswith("http://"):
            options["allow_http"] = "true"
        return options


@dataclass(frozen=True, slots=True)
class Settings:
    """What the library needs to know of its surroundings.

    A ``~`` in a path is the home, where there is one; an empty text is none. `origins` says by name
    which variable or file gave a value. Raises `SettingsError` for a value that makes no sense.
    """

    runtime: str | None = None
    threads: int = 0
    model: str | None = None
    calibration: str | None = None
    max_memory_mb: int = 512
    cache_mb: int = 0
    cache_file: str | None = None
    state_cache_mb: int = 0
    cache_dir: str | None = None
    cache_gb: int = 10
    storage: StorageSettings = field(default_factory=StorageSettings)
    embedder: str | None = field(default=None, repr=False)  # a URL may name a password
    embedder_key: str | None = field(default=None, repr=False)
    openai_key: str | None = field(default=None, repr=False)
    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.storage, StorageSettings):
            raise SettingsError(
                f"storage: expected StorageSettings, got {type(self.storage).__name__}"
            )
        if not isinstance(self.origins, Mapping):
            raise SettingsError(f"origins: expected names, got {type(self.origins).__name__}")
        for name, check in _CHECKS.items():
            try:
                object.__setattr__(self, name, check(name, getattr(self, name)))
            except SettingsError as error:
                raise SettingsError(f"{error}{self._source(name)}") from None

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the file and the environment; raise `SettingsError` for what makes no sense.

        A variable ``RESIFT_…`` that is none of ours is named in the log, with the nearest one.
        """
        environ = os.environ if environ is None else environ
        file = environ.get(_FILE_VARIABLE, "").strip()
        values = _read_file(file) if file else {}
        storage = values.pop("storage", {})
        if not isinstance(storage, dict):
            raise SettingsError("storage: expected a [storage] table in the settings file")
        _refuse_unknown(values, _ENVIRONMENT, f"{file}: ")
        _refuse_unknown(storage, _STORAGE_ENVIRONMENT, f"{file}: storage.")
        _name_unknown(environ)
        variables = _from_environment(environ, _ENVIRONMENT)
        origins = dict.fromkeys(values, file) | {name: own for name, (own, _) in variables.items()}
        values |= {name: value for name, (_, value) in variables.items()}
        more = _from_environment(environ, _STORAGE_ENVIRONMENT)
        storage |= {name: value for name, (_, value) in more.items()}
        return cls(**values, storage=StorageSettings(**storage), origins=origins)

    def origin(self, name: str) -> str | None:
        """The variable or the file that gave a value; None where the caller or nobody did."""
        return self.origins.get(name)

    def _source(self, name: str) -> str:
        return f" (from {self.origins[name]})" if name in self.origins else ""


def checked_settings(settings: Settings | None) -> Settings:
    """The settings given, or those of the surroundings; raise `SettingsError` for other things."""
    if settings is not None and not isinstance(settings, Settings):
        raise SettingsError(
            f"settings: expected Settings, got {type(settings).__name__}; for instance "
            "Settings(threads=2)"
        )
    return settings or Settings.load()


def cache_folder(settings: Settings, environ: Mapping[str, str] | None = None) -> Path | None:
    """Where what can be made again is kept between processes; None where there is no home."""
    environ = os.environ if environ is None else environ
    try:
        if settings.cache_dir:
            return from_home(settings.cache_dir)
        return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "resift"
    except (InputError, RuntimeError):
        return None


def debugging() -> bool:
    """Whether errors of the command show where they came from: ``RESIFT_DEBUG``."""
    return bool(os.environ.get("RESIFT_DEBUG"))


def _read_file(name: str) -> dict[str, Any]:
    """A settings file; never waits, as a pipe would make it, and reads no endless device."""
    file = expanded(name)
    try:
        content = b"" if os.fspath(file) == os.devnull else read_regular(file, _FILE_BYTES)
        return tomllib.loads(content.decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(
            f"{_FILE_VARIABLE}={name}: not a readable TOML file ({reason})"
        ) from error


def _refuse_unknown(values: Mapping[str, Any], known: Mapping[str, Any], prefix: str) -> None:
    for name in sorted(values.keys() - known.keys()):
        raise SettingsError(
            f"{prefix}{name}: no such setting; there are {', '.join(sorted(known))}"
        )


def _name_unknown(environ: Mapping[str, str]) -> None:
    """A mistyped variable would be no setting at all. Another version's may be there as well."""
    known = [own for names in _ENVIRONMENT.values() for own in names if own.startswith(_PREFIX)]
    short = [own.removeprefix(_PREFIX) for own in known]
    for variable in sorted(environ):
        if variable.startswith(_PREFIX) and variable not in (*known, *_OTHER_VARIABLES):
            nearest = difflib.get_close_matches(variable.removeprefix(_PREFIX), short, 1)
            hint = f"; is {_PREFIX}{nearest[0]} meant?" if nearest else ""
            _log.warning("%s: no such setting%s", variable, hint)


def _from_environment(
    environ: Mapping[str, str], names: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, str]]:
    """The variable and the value of each setting that has one."""
    given = {}
    for setting, variables in names.items():
        for variable in variables:
            if environ.get(variable, "").strip():
                given[setting] = (variable, environ[variable])
                break
    return given


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "runtime": runtime,
    "threads": count(0, "0 for all cores"),
    "model": path,
    "calibration": path,
    "max_memory_mb": count(LEAST_MEMORY_MB),
    "cache_mb": count(0, "0 for none"),
    "cache_file": path,
    "state_cache_mb": count(0, "0 for none"),
    "cache_dir": path,
    "cache_gb": count(1),
    "embedder": secret,
    "embedder_key": secret,
    "openai_key": secret,
}
