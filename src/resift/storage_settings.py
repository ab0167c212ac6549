"""Settings of object stores: S3, Google Cloud Storage, Azure; for all URIs, and for single ones.

A table for a URI holds for all URIs below it; of several tables the longest URI holds. Its values
replace those of the general table in groups, so that keys never go to another endpoint than theirs:
the address (endpoint, region, ...), the credentials, the encryption. `origins` of a record maps the
name of a setting to the variable or table of its value, which messages name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from resift.errors import SettingsError, shown
from resift.setting_values import flag, secret, text

ENVIRONMENT = {
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
GS_ENVIRONMENT = {
    "credentials_file": (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
    ),
    "credentials_json": ("GOOGLE_SERVICE_ACCOUNT_KEY",),
    "endpoint": ("STORAGE_EMULATOR_HOST", "GOOGLE_BASE_URL"),
    "skip_signature": ("GOOGLE_SKIP_SIGNATURE",),
}
AZ_ENVIRONMENT = {
    "account_name": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"),
    "account_key": ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"),
    "sas_token": ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"),
    "connection_string": ("AZURE_STORAGE_CONNECTION_STRING",),
    "endpoint": ("AZURE_STORAGE_ENDPOINT",),
    "skip_signature": ("AZURE_SKIP_SIGNATURE",),
}
ENCRYPTIONS = ("AES256", "aws:kms")
_FLAGS = ("virtual_hosted", "bucket_key", "skip_signature")
_SECRETS = ("access_key_id", "secret_access_key", "session_token")
_GROUPS = (
    ("endpoint", "region", "virtual_hosted"),
    ("access_key_id", "secret_access_key", "session_token", "profile", "skip_signature"),
    ("server_side_encryption", "kms_key_id", "bucket_key"),
)
_GS_GROUPS = (("endpoint",), ("credentials_file", "credentials_json", "skip_signature"))
_AZ_GROUPS = (tuple(AZ_ENVIRONMENT),)  # a key is of one account


@dataclass(frozen=True, slots=True)
class GsSettings:
    """Access to ``gs://`` URIs; without values, Google's application default credentials.

    `credentials_file` is a path, `credentials_json` the content of such a file. `endpoint` is for
    an emulator. Raises `SettingsError` for invalid values.
    """

    credentials_file: str | None = None
    credentials_json: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    skip_signature: bool = False
    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_fields(self, "storage.gs", GS_ENVIRONMENT, ("credentials_json",))
        if self.endpoint and "://" not in self.endpoint:  # as in STORAGE_EMULATOR_HOST
            object.__setattr__(self, "endpoint", f"http://{self.endpoint}")

    def name_of(self, name: str) -> str:
        """The variable or table of a setting, or the variable that would set it; for messages."""
        return self.origins.get(name) or GS_ENVIRONMENT[name][0]


@dataclass(frozen=True, slots=True)
class AzSettings:
    """Access to ``az://`` and ``abfss://`` URIs.

    A connection string holds an account's name and key, or a SAS token, and perhaps its endpoint.
    Without any key, tokens are requested as Azure's tools do. Raises `SettingsError` for invalid
    values.
    """

    account_name: str | None = None
    account_key: str | None = field(default=None, repr=False)
    sas_token: str | None = field(default=None, repr=False)
    connection_string: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    skip_signature: bool = False
    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        secrets = ("account_key", "sas_token", "connection_string")
        _check_fields(self, "storage.az", AZ_ENVIRONMENT, secrets)

    def name_of(self, name: str) -> str:
        """The variable or table of a setting, or the variable that would set it; for messages."""
        return self.origins.get(name) or AZ_ENVIRONMENT[name][0]


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Access to ``s3://`` URIs, and in `gs` and `az` to others. None is the client's default.

    `ca_file` is that of `Settings`. `by_uri` maps a URI to the settings of all URIs below it, of
    the class for its scheme. Flags may be text, as in environment variables. Raises
    `SettingsError` for invalid values.
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
    ca_file: str | None = None
    gs: GsSettings = field(default_factory=GsSettings)
    az: AzSettings = field(default_factory=AzSettings)
    by_uri: "Mapping[str, StorageSettings | GsSettings | AzSettings]" = field(
        default_factory=dict, hash=False
    )
    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_fields(self, "storage", ENVIRONMENT, _SECRETS)
        ca_name = self.origins.get("ca_file", "storage.ca_file")
        object.__setattr__(self, "ca_file", text(ca_name, self.ca_file))
        encryption = self.server_side_encryption
        if encryption not in (None, *ENCRYPTIONS):
            raise SettingsError(
                f"{self.origins.get('server_side_encryption', 'storage.server_side_encryption')}="
                f"{shown(encryption)}: expected one of {', '.join(ENCRYPTIONS)}"
            )
        for name in ("kms_key_id", "bucket_key"):
            if getattr(self, name) and encryption != "aws:kms":
                raise SettingsError(
                    f"{self.origins.get(name, f'storage.{name}')}: expected "
                    "server_side_encryption = 'aws:kms' too"
                )
        for name, kind in (("gs", GsSettings), ("az", AzSettings)):
            _expect(f"storage.{name}", getattr(self, name), kind)
        if not isinstance(self.by_uri, Mapping):
            raise SettingsError(f"storage.by_uri={shown(self.by_uri)}: expected a dict by URI")
        by_uri: dict[str, StorageSettings | GsSettings | AzSettings] = {}
        for name, table in self.by_uri.items():
            uri = table_uri(name)
            _expect(f"storage.by_uri[{uri!r}]", table, kind_of_table(uri))
            if uri in by_uri:
                raise SettingsError(f'storage."{name}": a second table for {uri}: merge them')
            by_uri[uri] = table
        object.__setattr__(self, "by_uri", by_uri)

    def name_of(self, name: str) -> str:
        """The variable or table of a setting, or the variable that would set it; for messages."""
        usual = {"endpoint": "AWS_ENDPOINT_URL", "ca_file": "ca_file"}
        return self.origins.get(name) or usual.get(name) or ENVIRONMENT[name][0]

    def of(self, uri: str) -> "StorageSettings":
        """The settings for one URI: those of its table, and of the general one for the rest."""
        name = self.table_of(uri)
        if name is None:
            return replace(self, by_uri={}) if self.by_uri else self
        table = self.by_uri[name]
        if isinstance(table, GsSettings):
            return replace(self, gs=_merge(self.gs, table, _GS_GROUPS, name), by_uri={})
        if isinstance(table, AzSettings):
            return replace(self, az=_merge(self.az, table, _AZ_GROUPS, name), by_uri={})
        return replace(_merge(self, table, _GROUPS, name), by_uri={})

    def table_of(self, uri: str) -> str | None:
        """The URI of the table that holds for `uri`; None if only the general one does."""
        above = [name for name in self.by_uri if f"{uri}/".startswith(f"{name}/")]
        return max(above, key=len, default=None)

    def options(self) -> dict[str, str]:
        """The object_store configuration of S3, for obstore and Lance; no keys if they are unused.

        `skip_signature` says that they are.
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


_KINDS: Mapping[str, type[StorageSettings | GsSettings | AzSettings]] = {
    "s3": StorageSettings,
    "gs": GsSettings,
    "az": AzSettings,
    "abfss": AzSettings,
}


_T = TypeVar("_T", StorageSettings, GsSettings, AzSettings)


def kind_of_table(uri: str) -> type[StorageSettings | GsSettings | AzSettings]:
    """The class of the settings for a URI; raises `SettingsError` for other schemes."""
    kind = _KINDS.get(uri.partition("://")[0])
    if kind is None:
        raise SettingsError(
            f'storage."{uri}": expected a URI like s3://bucket, gs://bucket, az://container or '
            "abfss://container@account.dfs.core.windows.net"
        )
    return kind


def table_uri(uri: object) -> str:
    """The URI of a table in canonical form; raises `SettingsError` for anything but text."""
    if not isinstance(uri, str):
        raise SettingsError(f"storage.by_uri: {shown(uri)}: expected a URI as text")
    scheme, separator, rest = uri.partition("://")
    return f"{scheme.lower()}{separator}{rest.strip('/')}"


def _expect(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise SettingsError(f"{name}: expected {kind.__name__}, got {type(value).__name__}")


def _check_fields(
    settings: Any, prefix: str, names: Mapping[str, object], secrets: tuple[str, ...]
) -> None:
    """Store the checked values of the fields `names` in a frozen record."""
    if not isinstance(settings.origins, Mapping):
        raise SettingsError(f"{prefix}.origins={shown(settings.origins)}: expected names in a dict")
    for name in names:
        check = flag if name in _FLAGS else secret if name in secrets else text
        label = settings.origins.get(name, f"{prefix}.{name}")
        object.__setattr__(settings, name, check(label, getattr(settings, name)))


def _merge(general: _T, table: _T, groups: tuple[tuple[str, ...], ...], uri: str) -> _T:
    """Take each group from the table if the table has a value of it, otherwise as it is."""
    names = [
        name for group in groups if any(getattr(table, name) for name in group) for name in group
    ]
    values = {name: getattr(table, name) for name in names}
    origins = {name: table.origins.get(name, f'storage."{uri}".{name}') for name in names}
    return replace(general, **values, origins={**general.origins, **origins})
