"""The names of settings, and the codes of failures, of each kind of store. Pure.

`storage.errors` writes its remedies in the words of S3, with its variables; here are those of the
others, and the names of the settings that were used in their place.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from resift.index.storage.location import Location
from resift.storage_settings import AZ_ENVIRONMENT, ENVIRONMENT, GS_ENVIRONMENT

S3_ACCESS = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy"
S3_ENDPOINT = "AWS_ENDPOINT_URL"
_AZ_KEYS = "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN"
_AZ_ACCESS = f"check {_AZ_KEYS}, or the role Storage Blob Data Contributor (for a source: Reader)"
_AZ_REFUSED = f"access denied: {_AZ_ACCESS}"
_AZ_KEY = "the key or the SAS token is wrong or has expired, or this machine's clock is: renew it"


_PROXY = "HTTPS_PROXY"  # what may be wrong with a store whose endpoint is not set
_VARIABLE = re.compile(r"\b[A-Z]+(?:_[A-Z0-9]+)+\b")
_SETTINGS = {"gs": GS_ENVIRONMENT, "az": AZ_ENVIRONMENT}


@dataclass(frozen=True, slots=True)
class StoreWords:
    """What to check when access is denied, where the endpoint is set, and more codes.

    `names` maps a variable to the name of the variable or table that was used in its place.
    """

    access: str = S3_ACCESS
    endpoint: str = S3_ENDPOINT
    codes: Mapping[str, str] = field(default_factory=dict)
    keys: str = _AZ_KEYS
    names: Mapping[str, str] = field(default_factory=dict)

    def of(self, phrase: str) -> str:
        """Write a phrase of S3 in the words of this store."""
        phrase = phrase.replace(S3_ACCESS, self.access).replace(_AZ_KEYS, self.keys)
        if self.endpoint != S3_ENDPOINT:
            phrase = phrase.replace("an S3 listing", "a listing of a bucket")
            phrase = phrase.replace(S3_ENDPOINT, self.endpoint)
        return _VARIABLE.sub(lambda match: self.names.get(match[0], match[0]), phrase)


_S3 = StoreWords()
_GS = StoreWords(
    access=(
        "check GOOGLE_APPLICATION_CREDENTIALS, and the role Storage Object User for the bucket "
        "(for a source: Storage Object Viewer)"
    ),
    endpoint="STORAGE_EMULATOR_HOST",
    codes={
        "AuthenticationRequired": (
            "the token is not accepted: renew GOOGLE_APPLICATION_CREDENTIALS, or log in again"
        ),
        "UserProjectMissing": "the bucket bills its readers, which is not supported: copy it first",
        "AccountProblem": "the account of the bucket has a problem: see its billing",
    },
)
_AZ = StoreWords(
    access=_AZ_ACCESS,
    endpoint="AZURE_STORAGE_ENDPOINT",
    codes={
        "AuthenticationFailed": _AZ_KEY,
        "InvalidAuthenticationInfo": _AZ_KEY,
        "AuthorizationFailure": f"{_AZ_REFUSED}, and the account's firewall",
        "AuthorizationPermissionMismatch": _AZ_REFUSED,
        "AuthorizationResourceTypeMismatch": _AZ_REFUSED,
        "AuthorizationSourceIPMismatch": "the SAS token is not valid from this address: renew it",
        "KeyBasedAuthenticationNotPermitted": (
            "the account accepts no keys: unset AZURE_STORAGE_ACCOUNT_KEY, and run az login"
        ),
        "NoAuthenticationInformation": _AZ_REFUSED,
        "PublicAccessNotPermitted": "the account has no public containers: unset skip_signature",
        "ResourceNotFound": "there is no such container, or it is not public: check the URI",
        "ContainerNotFound": "there is no such container: create it, or check URI and account",
        "ContainerBeingDeleted": "the container is being deleted: try again in some minutes",
        "InvalidResourceName": "no container can have that name: check the URI",
        "AccountIsDisabled": "the account is disabled: see its subscription",
        "ServerBusy": "the store asks for fewer requests: try again later",
        "BlobArchived": "the object is archived: restore it first",
        "BlobImmutableDueToPolicy": "a retention policy forbids this change: choose another place",
        "LeaseIdMissing": "the object is locked by a lease: break it, or try again later",
    },
)
_PUBLIC = StoreWords(
    access="the bucket is not open to all: name it by s3://, gs:// or az://, and set keys",
    endpoint="the URL, which must be of a bucket that anybody may list, not of a web page",
)
_BY_SCHEME = {"gs": _GS, "az": _AZ, "abfss": _AZ, "https": _PUBLIC, "http": _PUBLIC}
BAD_KEYS = ("AuthenticationFailed", "InvalidAuthenticationInfo", "AuthenticationRequired")
"""The codes after which every request with these credentials fails."""

NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")


def words_of(where: Location | str) -> StoreWords:
    """Return the words for the store of a location, or of a URI whose settings are not known."""
    if isinstance(where, str):
        return _BY_SCHEME.get(where.partition("://")[0], _S3)
    words = _BY_SCHEME.get(where.scheme, _S3)
    if where.bucket is None or where.is_read_only:
        return words
    access = where.access
    if where.scheme == "gs":
        words = replace(words, endpoint=words.endpoint if access.gs.endpoint else _PROXY)
    elif where.scheme == "az":
        account = "the account in the URI" if where.host else "AZURE_STORAGE_ACCOUNT_NAME"
        words = replace(words, endpoint=words.endpoint if access.az.endpoint else account)
        if access.az.connection_string:
            words = replace(words, keys="AZURE_STORAGE_CONNECTION_STRING")
    elif access.profile and not access.access_key_id:
        words = replace(words, access="check AWS_PROFILE and the bucket's policy")
    return replace(words, names=_names(where))


def _names(location: Location) -> dict[str, str]:
    """The names of the settings that were used, by the variables that messages are written with."""
    access = location.access
    stores = {"gs": access.gs.origins, "az": access.az.origins}
    origins = stores.get(location.scheme, access.origins)
    names = {
        variables[0]: _in_a_sentence(origins[setting])
        for setting, variables in _SETTINGS.get(location.scheme, ENVIRONMENT).items()
        if setting in origins
    }
    if location.scheme == "s3" and "endpoint" in origins:
        names[S3_ENDPOINT] = _in_a_sentence(origins["endpoint"])
    if location.scheme == "gs" and access.gs.credentials_json:
        names["GOOGLE_APPLICATION_CREDENTIALS"] = _in_a_sentence(
            access.gs.name_of("credentials_json")
        )
    return names


def _in_a_sentence(name: str) -> str:
    """The name of a setting, as in "check the network and storage.endpoint in resift.toml"."""
    file, colon, setting = name.rpartition(": ")
    return f"{setting} in {file}" if colon else name
