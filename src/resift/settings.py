"""Settings, read once from a TOML file and the environment, and frozen.

``RESIFT_CONFIG`` names the file; a variable overrides the file::

    runtime = "openvino"            # RESIFT_RUNTIME: openvino or onnxruntime
    threads = 2                     # RESIFT_THREADS: 0 is all cores this process may use
    model = "/models/mine"          # RESIFT_MODEL: a name of `open_ranker` instead of bundled
    calibration = "/models/mine.json"  # RESIFT_CALIBRATION: by resift calibrate, for this model
    max_memory_mb = 512             # RESIFT_MAX_MEMORY_MB: for running, beyond the loaded model
    cache_mb = 64                   # RESIFT_CACHE_MB: for scores of earlier pairs; 0 is none
    state_cache_mb = 64             # RESIFT_STATE_CACHE_MB: for token states; 0 is none
    cache_file = "/var/pairs.db"    # RESIFT_CACHE_FILE: keeps scores between processes; any other
                                    # kind of file there is left alone

    embedder = "bundled"            # RESIFT_EMBEDDER: or wordllama, a hub id such as
                                    # "intfloat/e5-small-v2", a folder, https://host/v1#model
    embedder_key = "..."            # RESIFT_EMBEDDER_KEY: for the server that embedder names
    openai_key = "..."              # OPENAI_API_KEY: for https://api.openai.com and no other
    cohere_key = "..."              # COHERE_API_KEY, CO_API_KEY: for https://api.cohere.com
    jina_key = "..."                # JINA_API_KEY: for https://api.jina.ai
    voyage_key = "..."              # VOYAGE_API_KEY: for https://api.voyageai.com
    reranker_key = "..."            # RESIFT_RERANKER_KEY: for a reranker at a URL of yours

    cache_dir = "/var/cache/resift" # RESIFT_CACHE_DIR: by default $XDG_CACHE_HOME/resift or
                                    # ~/.cache/resift: keeps models made from checkpoints; if it
                                    # is set, s3:// indexes are copied to it, and searches read
                                    # the copy
    cache_gb = 10                   # RESIFT_CACHE_GB: of copies; larger indexes are not copied

    ca_file = "/etc/ssl/corp.pem"   # RESIFT_CA_FILE, AWS_CA_BUNDLE: certificates of authorities
                                    # to trust beside the system's, by stores and HTTP services

    [storage]                       # the usual AWS variables, for s3:// URIs
    endpoint = "http://127.0.0.1:8333"   # AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL
    region = "eu-central-1"              # AWS_REGION, AWS_DEFAULT_REGION
    access_key_id = "..."                # AWS_ACCESS_KEY_ID
    secret_access_key = "..."            # AWS_SECRET_ACCESS_KEY
    session_token = "..."                # AWS_SESSION_TOKEN
    profile = "work"                     # AWS_PROFILE: used where no keys are given; extra aws
    skip_signature = true                # AWS_SKIP_SIGNATURE: no keys, for public buckets
    virtual_hosted = true                # AWS_VIRTUAL_HOSTED_STYLE_REQUEST: bucket in the host
                                         # name; else in the path, as every store accepts
    server_side_encryption = "aws:kms"   # AWS_SERVER_SIDE_ENCRYPTION: AES256 or aws:kms
    kms_key_id = "arn:aws:kms:..."       # AWS_SSE_KMS_KEY_ID: by default the account's key
    bucket_key = true                    # AWS_SSE_BUCKET_KEY_ENABLED: fewer KMS requests

    [storage.gs]                    # for gs:// URIs; extra gs
    credentials_file = "/keys/sa.json"   # GOOGLE_APPLICATION_CREDENTIALS; else Google's defaults
    credentials_json = "{...}"           # GOOGLE_SERVICE_ACCOUNT_KEY: the content of such a file
    endpoint = "http://127.0.0.1:4443"   # STORAGE_EMULATOR_HOST
    skip_signature = true                # GOOGLE_SKIP_SIGNATURE: for public buckets

    [storage.az]                    # for az:// and abfss:// URIs
    account_name = "docs"                # AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT
    account_key = "..."                  # AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_KEY
    sas_token = "sv=..."                 # AZURE_STORAGE_SAS_TOKEN
    connection_string = "..."            # AZURE_STORAGE_CONNECTION_STRING
    endpoint = "https://..."             # AZURE_STORAGE_ENDPOINT: with the account in its path
    skip_signature = true                # AZURE_SKIP_SIGNATURE: for public containers

    [storage."s3://other-bucket"]   # for URIs below this one, before all of the above
    region = "us-east-1"
    profile = "other"
"""

import difflib
import logging
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from resift.errors import InputError, SettingsError, shown
from resift.files import from_home, read_regular, reason
from resift.setting_values import from_environment, refuse_unknown, secret, text
from resift.storage_settings import AzSettings as AzSettings
from resift.storage_settings import GsSettings as GsSettings
from resift.storage_settings import StorageSettings as StorageSettings
from resift.storage_tables import read_storage

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
    "ca_file": ("RESIFT_CA_FILE", "AWS_CA_BUNDLE"),
    "embedder_key": ("RESIFT_EMBEDDER_KEY",),
    "openai_key": ("OPENAI_API_KEY",),
    "cohere_key": ("COHERE_API_KEY", "CO_API_KEY"),
    "jina_key": ("JINA_API_KEY",),
    "voyage_key": ("VOYAGE_API_KEY",),
    "reranker_key": ("RESIFT_RERANKER_KEY",),
}
_KEYS = ("embedder_key", "openai_key", "cohere_key", "jina_key", "voyage_key", "reranker_key")
_SECRETS = ("embedder", *_KEYS)  # the URL of an embedder may name a password
RUNTIMES = ("openvino", "onnxruntime")
MIN_MEMORY_MB = 256
MAX_COUNT = 1_000_000_000
"""The limit of all counts: a larger one is a mistake, and runtimes do not accept it."""

_FILE_BYTES = 1_000_000
_PREFIX = "RESIFT_"
_FILE_VARIABLE = "RESIFT_CONFIG"
_OTHER_VARIABLES = (_FILE_VARIABLE, "RESIFT_DEBUG")

_log = logging.getLogger("resift")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the library; the module's docstring explains each.

    A ``~`` in a path is the home folder; empty text is None. `origins` maps the name of a setting
    to the variable or file of its value. Raises `SettingsError` for invalid values.
    """

    runtime: str | None = None
    threads: int = 0
    model: str | None = field(default=None, repr=False)  # a URL may name a password
    calibration: str | None = None
    max_memory_mb: int = 512
    cache_mb: int = 0
    cache_file: str | None = None
    state_cache_mb: int = 0
    cache_dir: str | None = None
    cache_gb: int = 10
    ca_file: str | None = None
    storage: StorageSettings = field(default_factory=StorageSettings)
    embedder: str | None = field(default=None, repr=False)  # a URL may name a password
    embedder_key: str | None = field(default=None, repr=False)
    openai_key: str | None = field(default=None, repr=False)
    cohere_key: str | None = field(default=None, repr=False)
    jina_key: str | None = field(default=None, repr=False)
    voyage_key: str | None = field(default=None, repr=False)
    reranker_key: str | None = field(default=None, repr=False)
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
                source = f" (from {self.origins[name]})" if name in self.origins else ""
                raise SettingsError(f"{error}{source}") from None
        if self.ca_file and not self.storage.ca_file:
            object.__setattr__(self, "storage", self._with_ca_file())

    def _with_ca_file(self) -> StorageSettings:
        origin = self.origins.get("ca_file")
        is_variable = origin is None or origin in _ENVIRONMENT["ca_file"]
        name = origin or "ca_file" if is_variable else f"{origin}: ca_file"
        origins = {**self.storage.origins, "ca_file": name}
        return replace(self.storage, ca_file=self.ca_file, origins=origins)

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the file and the environment. Raises `SettingsError` for invalid values.

        Logs unknown variables ``RESIFT_…``, each with the most similar known one.
        """
        environ = os.environ if environ is None else environ
        file = environ.get(_FILE_VARIABLE, "").strip()
        values = _read_file(file) if file else {}
        storage = values.pop("storage", {})
        if not isinstance(storage, dict):
            raise SettingsError("storage: expected a [storage] table in the settings file")
        refuse_unknown(values, _ENVIRONMENT, f"{file}: ")
        _warn_of_unknown(environ)
        variables = from_environment(environ, _ENVIRONMENT)
        origins = dict.fromkeys(values, file)
        origins |= {name: variable for name, (variable, _) in variables.items()}
        values |= {name: value for name, (_, value) in variables.items()}
        source = f"{file}: " if file else ""
        return cls(**values, storage=read_storage(storage, environ, source), origins=origins)

    def without_secrets(self) -> "Settings":
        """The settings of models alone: without stores, keys and the embedder, for a pickle."""
        is_url = "://" in (self.model or "")
        model = None if is_url else self.model
        secrets: dict[str, Any] = dict.fromkeys(_SECRETS)
        return replace(self, model=model, storage=StorageSettings(), **secrets)

    def origin(self, name: str) -> str | None:
        """The variable or file of a value; None for defaults and arguments of the constructor."""
        return self.origins.get(name)


def variable_of(name: str) -> str:
    """The environment variable of a setting; the first one if there are several."""
    return _ENVIRONMENT[name][0]


def expand_home(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` or ``~user`` expanded; unchanged if there is no such home folder."""
    homeless = os.environ.get("HOME") == ""
    return Path(path if homeless else os.path.expanduser(path))


def checked_settings(settings: Settings | None) -> Settings:
    """The settings; for None those of file and environment. Raises `SettingsError` otherwise."""
    if settings is not None and not isinstance(settings, Settings):
        raise SettingsError(
            f"settings: expected Settings, got {type(settings).__name__}; for instance "
            "Settings(threads=2)"
        )
    return settings or Settings.load()


def cache_folder(settings: Settings, environ: Mapping[str, str] | None = None) -> Path | None:
    """The folder for caches; None if there is no home folder."""
    environ = os.environ if environ is None else environ
    try:
        if settings.cache_dir:
            return from_home(settings.cache_dir)
        return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "resift"
    except (InputError, RuntimeError):
        return None


def debugging() -> bool:
    """Whether ``RESIFT_DEBUG`` is set: the command then shows tracebacks."""
    return bool(os.environ.get("RESIFT_DEBUG"))


def _read_file(name: str) -> dict[str, Any]:
    """The values of a settings file. Refuses pipes and devices, which may never end."""
    file = expand_home(name)
    try:
        content = b"" if os.fspath(file) == os.devnull else read_regular(file, _FILE_BYTES)
        return tomllib.loads(content.decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        detail = reason(error) if isinstance(error, OSError) else error
        raise SettingsError(
            f"{_FILE_VARIABLE}={name}: not a readable TOML file ({detail})"
        ) from error


def _warn_of_unknown(environ: Mapping[str, str]) -> None:
    """Log unknown variables; not an error, since they may belong to another version."""
    variables = [variable for names in _ENVIRONMENT.values() for variable in names]
    known = [variable for variable in variables if variable.startswith(_PREFIX)]
    short = [variable.removeprefix(_PREFIX) for variable in known]
    for variable in sorted(environ):
        if variable.startswith(_PREFIX) and variable not in (*known, *_OTHER_VARIABLES):
            nearest = difflib.get_close_matches(variable.removeprefix(_PREFIX), short, 1)
            hint = f"; is {_PREFIX}{nearest[0]} meant?" if nearest else ""
            _log.warning("%s: no such setting%s", variable, hint)


def _runtime(name: str, value: Any) -> str | None:
    """One of `RUNTIMES`, or None."""
    runtime = text(name, value) if isinstance(value, str) else value
    if runtime is None or (isinstance(runtime, str) and runtime in RUNTIMES):
        return runtime
    raise SettingsError(f"{name}={shown(value)}: expected one of {', '.join(RUNTIMES)}")


def _path(name: str, value: Any) -> str | None:
    """A path with its home folder expanded; an empty one becomes None."""
    path = text(name, os.fspath(value) if isinstance(value, os.PathLike) else value)
    if path is not None and "\0" in path:
        raise SettingsError(f"{name}={shown(path)}: not a valid file name")
    return None if path is None else os.fspath(expand_home(path))


def _model(name: str, value: Any) -> str | None:
    """A path, or a name with a URL, which stays as it is."""
    return value if isinstance(value, str) and "://" in value else _path(name, value)


def _count(lowest: int, meaning: str = "") -> Callable[[str, Any], int]:
    """A check for whole numbers, also as text."""

    def check(name: str, value: Any) -> int:
        digits = value.strip() if isinstance(value, str) else ""
        readable = type(value) is int or (digits.isdecimal() and len(digits) < 1000)
        number = int(value) if readable else -1
        if number > MAX_COUNT:
            raise SettingsError(
                f"{name}: expected a whole number up to {MAX_COUNT:,}, got a larger one"
            )
        if number < lowest:
            expected = f", {meaning}" if meaning else f" from {lowest}"
            is_short = type(value) is not int or abs(value) < MAX_COUNT
            text = shown(value)[:40] if is_short else "under zero"
            raise SettingsError(f"{name}={text}: expected a whole number{expected}")
        return number

    return check


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "runtime": _runtime,
    "threads": _count(0, "0 for all cores"),
    "model": _model,
    "calibration": _path,
    "max_memory_mb": _count(MIN_MEMORY_MB),
    "cache_mb": _count(0, "0 for none"),
    "cache_file": _path,
    "state_cache_mb": _count(0, "0 for none"),
    "cache_dir": _path,
    "cache_gb": _count(1),
    "ca_file": _path,
    **dict.fromkeys(_SECRETS, secret),
}
