"""Settings, read once at start from a TOML file and the environment; frozen from then on.

The file is the one that ``RESIFT_CONFIG`` names; a variable wins over the file::

    runtime = "openvino"            # RESIFT_RUNTIME: openvino or onnxruntime
    threads = 2                     # RESIFT_THREADS: 0 is all cores
    model = "/models/mine"          # RESIFT_MODEL: artifact folder instead of the bundled one
    calibration = "/models/mine.json"  # RESIFT_CALIBRATION: of that model, by resift calibrate
    max_memory_mb = 512             # RESIFT_MAX_MEMORY_MB: for running, beyond the loaded model
    cache_mb = 64                   # RESIFT_CACHE_MB: for scores of pairs read before; 0 is none
    halves_mb = 64                  # RESIFT_HALVES_MB: for documents' halves read before; 0 is none
    cache_file = "/var/pairs.db"    # RESIFT_CACHE_FILE: where they outlive the process, if named;
                                    # a new name or a cache of resift: nothing else is written to

    embedder = "bundled"            # RESIFT_EMBEDDER: or wordllama, a folder, https://host/v1#model
    embedder_key = "..."            # RESIFT_EMBEDDER_KEY, OPENAI_API_KEY: for an embedder at a URL

    cache_dir = "/var/cache/resift" # RESIFT_CACHE_DIR: searches of s3:// indexes read a copy there
    cache_gb = 10                   # RESIFT_CACHE_GB: of it; larger indexes are read in place

    [storage]                       # the usual AWS variables, for s3:// URIs
    endpoint = "http://127.0.0.1:8333"   # AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL
    region = "eu-central-1"              # AWS_REGION, AWS_DEFAULT_REGION
    access_key_id = "..."                # AWS_ACCESS_KEY_ID
    secret_access_key = "..."            # AWS_SECRET_ACCESS_KEY
    session_token = "..."                # AWS_SESSION_TOKEN
    profile = "work"                     # AWS_PROFILE: asked where no keys are given; extra aws
    virtual_hosted = true                # AWS_VIRTUAL_HOSTED_STYLE_REQUEST: bucket in the host's
                                         # name; else in the path, which every store understands
    server_side_encryption = "aws:kms"   # AWS_SERVER_SIDE_ENCRYPTION: AES256 or aws:kms
    kms_key_id = "arn:aws:kms:..."       # AWS_SSE_KMS_KEY_ID: else the account's own key
    bucket_key = true                    # AWS_SSE_BUCKET_KEY_ENABLED: fewer calls of KMS
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resift.errors import SettingsError

_ENVIRONMENT = {
    "runtime": ("RESIFT_RUNTIME",),
    "threads": ("RESIFT_THREADS",),
    "model": ("RESIFT_MODEL",),
    "calibration": ("RESIFT_CALIBRATION",),
    "max_memory_mb": ("RESIFT_MAX_MEMORY_MB",),
    "cache_mb": ("RESIFT_CACHE_MB",),
    "cache_file": ("RESIFT_CACHE_FILE",),
    "halves_mb": ("RESIFT_HALVES_MB",),
    "embedder": ("RESIFT_EMBEDDER",),
    "cache_dir": ("RESIFT_CACHE_DIR",),
    "cache_gb": ("RESIFT_CACHE_GB",),
    "embedder_key": ("RESIFT_EMBEDDER_KEY", "OPENAI_API_KEY"),
}
_STORAGE_ENVIRONMENT = {
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "access_key_id": ("AWS_ACCESS_KEY_ID",),
    "secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN",),
    "profile": ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"),
    "virtual_hosted": ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST",),
    "server_side_encryption": ("AWS_SERVER_SIDE_ENCRYPTION",),
    "kms_key_id": ("AWS_SSE_KMS_KEY_ID",),
    "bucket_key": ("AWS_SSE_BUCKET_KEY_ENABLED",),
}
_FLAGS = ("virtual_hosted", "bucket_key")
ENCRYPTIONS = ("AES256", "aws:kms")
RUNTIMES = ("openvino", "onnxruntime")
LEAST_MEMORY_MB = 256


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """How ``s3://`` URIs are reached. What is None is left to the S3 client's own defaults."""

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

    def options(self) -> dict[str, str]:
        """The object_store configuration that both obstore and Lance take."""
        named = {
            "aws_endpoint": self.endpoint,
            "aws_region": self.region,
            "aws_access_key_id": self.access_key_id,
            "aws_secret_access_key": self.secret_access_key,
            "aws_session_token": self.session_token,
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
    """What the library needs to know of its surroundings."""

    runtime: str | None = None
    threads: int = 0
    model: str | None = None
    calibration: str | None = None
    max_memory_mb: int = 512
    cache_mb: int = 0
    cache_file: str | None = None
    halves_mb: int = 0
    cache_dir: str | None = None
    cache_gb: int = 10
    storage: StorageSettings = field(default_factory=StorageSettings)
    embedder: str | None = field(default=None, repr=False)  # a URL may name a password
    embedder_key: str | None = field(default=None, repr=False)

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the file and the environment; raise `SettingsError` for what makes no sense."""
        environ = os.environ if environ is None else environ
        values = _read_file(environ.get("RESIFT_CONFIG"))
        storage = values.pop("storage", {})
        if not isinstance(storage, dict):
            raise SettingsError("storage: expected a [storage] table in the settings file")
        _refuse_unknown(values, _ENVIRONMENT, "")
        _refuse_unknown(storage, _STORAGE_ENVIRONMENT, "storage.")
        values |= _from_environment(environ, _ENVIRONMENT)
        storage |= _from_environment(environ, _STORAGE_ENVIRONMENT)
        return cls(
            runtime=_runtime(values.get("runtime")),
            threads=_count("threads", values.get("threads", 0), 0, "0 for all cores"),
            model=_text("model", values.get("model")),
            calibration=_text("calibration", values.get("calibration")),
            max_memory_mb=_count(
                "max_memory_mb", values.get("max_memory_mb", 512), LEAST_MEMORY_MB
            ),
            cache_mb=_count("cache_mb", values.get("cache_mb", 0), 0, "0 for none"),
            cache_file=_text("cache_file", values.get("cache_file")),
            halves_mb=_count("halves_mb", values.get("halves_mb", 0), 0, "0 for none"),
            cache_dir=_text("cache_dir", values.get("cache_dir")),
            cache_gb=_count("cache_gb", values.get("cache_gb", 10), 1),
            storage=_storage(storage),
            embedder=_text("embedder", values.get("embedder")),
            embedder_key=_secret("embedder_key", values.get("embedder_key")),
        )


def cache_folder(environ: Mapping[str, str] | None = None) -> Path | None:
    """Where what can be made again is kept between processes; None where there is no home."""
    environ = os.environ if environ is None else environ
    try:
        return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "resift"
    except RuntimeError:
        return None


def _read_file(name: str | None) -> dict[str, Any]:
    if not name:
        return {}
    try:
        return tomllib.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"RESIFT_CONFIG={name}: not a readable TOML file ({error})") from error


def _refuse_unknown(values: Mapping[str, Any], known: Mapping[str, Any], prefix: str) -> None:
    for name in values.keys() - known.keys():
        raise SettingsError(
            f"{prefix}{name}: no such setting; there are {', '.join(sorted(known))}"
        )


def _from_environment(
    environ: Mapping[str, str], names: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    found = {}
    for setting, variables in names.items():
        for variable in variables:
            if environ.get(variable):
                found[setting] = environ[variable]
                break
    return found


def _storage(values: Mapping[str, Any]) -> StorageSettings:
    checked: dict[str, Any] = {
        name: (_flag if name in _FLAGS else _text)(f"storage.{name}", value)
        for name, value in values.items()
    }
    encryption = checked.get("server_side_encryption")
    if encryption not in (None, *ENCRYPTIONS):
        raise SettingsError(
            f"storage.server_side_encryption={encryption!r}: "
            f"expected one of {', '.join(ENCRYPTIONS)}"
        )
    for name in ("kms_key_id", "bucket_key"):
        if checked.get(name) and encryption != "aws:kms":
            raise SettingsError(f"storage.{name}: expected server_side_encryption = 'aws:kms' too")
    return StorageSettings(**checked)


def _runtime(value: Any) -> str | None:
    if value is None:
        return None
    if value in RUNTIMES:
        return str(value)
    raise SettingsError(f"runtime={value!r}: expected one of {', '.join(RUNTIMES)}")


def _text(name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise SettingsError(f"{name}={value!r}: expected text")


def _secret(name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise SettingsError(f"{name}: expected text, got {type(value).__name__}")


def _flag(name: str, value: Any) -> bool:
    said = str(value).lower()
    if said in ("true", "false", "1", "0"):
        return said in ("true", "1")
    raise SettingsError(f"{name}={value!r}: expected true or false")


def _count(name: str, value: Any, least: int, meaning: str = "") -> int:
    try:
        count = int(value) if isinstance(value, str) or type(value) is int else -1
    except ValueError:
        count = -1
    if count < least:
        more = f", {meaning}" if meaning else f" from {least}"
        raise SettingsError(f"{name}={value!r}: expected a whole number{more}")
    return count
