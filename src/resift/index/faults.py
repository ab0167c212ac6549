"""What an object store's failure means to its user, in a few words.

obstore and Lance both fail with the text of the same Rust crate: the HTTP status and S3's own
error code are in it, and so are stack positions and request dumps that nobody should have to
read. Credentials are never in it, but only phrases written here are passed on where one fits.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from resift.errors import ResiftError, StoreError

_ACCESS = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy"
_KEY = "the KMS key cannot be used: check kms_key_id, and the key's policy for kms:GenerateDataKey"
_CUT = "the connection is cut again and again: check the network, or try again later"
_PHRASES = (
    # First, for a refusal to give credentials is no refusal of the bucket: this is where
    # object_store asks for them when it was given none.
    ("169.254.169.254", f"no credentials were found: {_ACCESS}"),
    ("External AWS credential provider", "the AWS profile gives no keys any more: log in again"),
    ("NoSuchBucket", "there is no such bucket: create it or check the name and the endpoint"),
    ("InvalidAccessKeyId", f"the access key is not known there: {_ACCESS}"),
    ("SignatureDoesNotMatch", f"the secret key does not match the access key: {_ACCESS}"),
    ("ExpiredToken", "the session token has expired: get new credentials"),
    ("InvalidToken", "the session token is not known there: get new credentials"),
    ("TokenRefreshRequired", "the session token must be renewed: get new credentials"),
    ("RequestTimeTooSkewed", "this machine's clock is wrong: set it, or let NTP do so"),
    ("KMS.", _KEY),
    ("kms:", _KEY),  # in the words of a refusal that says which right is missing
    ("QuotaExceeded", "the quota is used up: free some space, or raise it"),
    ("InvalidRange", "an object changed while it was read: try again"),
    ("SlowDown", "the store asks for fewer requests: try again later"),
    ("503", "the store is overloaded or down: try again later"),
    ("AccessDenied", f"access denied: {_ACCESS}"),
    ("403", f"access denied: {_ACCESS}"),
    ("401", f"access denied: {_ACCESS}"),
    ("Failed to resolve region", "the bucket's region is not known: set AWS_REGION"),
    ("PermanentRedirect", "the bucket is in another region: set AWS_REGION"),
    ("Connection reset", _CUT),
    ("connection reset", _CUT),
    ("IncompleteMessage", _CUT),
    ("connection closed before", _CUT),
    ("HttpError", "the server does not answer: check the network and AWS_ENDPOINT_URL"),
    ("error sending request", "the server does not answer: check the network and AWS_ENDPOINT_URL"),
    ("Permission denied", "permission denied: check the rights of the files and folders"),
    ("No space left", "no space left on the disk"),
    ("404", "not found there: check the name and the endpoint"),
)
_CREDENTIALS = (
    "169.254.169.254",
    "External AWS credential provider",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
)
_NUMBER = re.compile(r"\bstatus(?: code)?: (\d{3})\b")
_LONGEST = 200


def meaning(error: BaseException) -> str:
    """One line for a person: what went wrong and what to do about it."""
    message = str(error)
    status = _NUMBER.search(message)
    for sign, phrase in _PHRASES:
        if (status and status.group(1) == sign) or (not sign.isdigit() and sign in message):
            return phrase
    first_line = message.partition("\n")[0].strip() or type(error).__name__
    return first_line[:_LONGEST]


def are_credentials_bad(error: BaseException) -> bool:
    """Whether no request of this session can succeed, whatever it asks for."""
    message = str(error)
    return any(sign in message for sign in _CREDENTIALS)


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turn what Lance raises inside into a `StoreError` that names `uri`."""
    try:
        yield
    except ResiftError:
        raise
    except Exception as error:  # ValueError, RuntimeError and OSError alike
        raise StoreError(f"{uri}: {meaning(error)}") from error
