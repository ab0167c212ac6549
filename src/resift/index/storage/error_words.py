"""The names of settings, and the codes of failures, of each kind of store. Pure.

`storage.errors` writes its remedies in the words of S3; here are those of the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

S3_ACCESS = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy"
S3_ENDPOINT = "AWS_ENDPOINT_URL"
_AZ_ACCESS = (
    "check AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or the role Storage Blob Data "
    "Contributor (for a source: Reader)"
)
_AZ_REFUSED = f"access denied: {_AZ_ACCESS}"
_AZ_KEY = "the key or the SAS token is wrong or has expired, or this machine's clock is: renew it"


@dataclass(frozen=True, slots=True)
class StoreWords:
    """What to check when access is denied, where the endpoint is set, and more codes."""

    access: str = S3_ACCESS
    endpoint: str = S3_ENDPOINT
    codes: Mapping[str, str] = field(default_factory=dict)

    def of(self, phrase: str) -> str:
        """Write a phrase of S3 in the words of this store."""
        if self.access == S3_ACCESS:
            return phrase
        phrase = phrase.replace("an S3 listing", "a listing of a bucket")
        return phrase.replace(S3_ACCESS, self.access).replace(S3_ENDPOINT, self.endpoint)


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


def words_of(uri: str) -> StoreWords:
    """Return the words for the store of a URI."""
    return _BY_SCHEME.get(uri.partition("://")[0], _S3)
