"""Describes failures of an object store in a few words for its user.

obstore and Lance raise errors with the text of the same Rust crate. Its HTTP status and S3 error
code identify the problem; the rest of the text may contain an object's name. If a phrase of this
file matches, only that phrase is shown.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from resift.errors import ResiftError, StoreError
from resift.files import remedy
from resift.index.storage.error_words import BAD_KEYS, NO_BUCKET, S3_ACCESS, words_of
from resift.index.storage.location import Location

_NO_CREDENTIALS = (
    "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
    "or AWS_SKIP_SIGNATURE=true for a bucket that is open to all"
)
_KEY = "the KMS key cannot be used: check kms_key_id, and the key's policy for kms:GenerateDataKey"
_CUT = "the connection is cut again and again: check the network, or try again later"
_SLOW = "it sends too slowly, or is cut off: check the network, or try again later"
_DAMAGED = (
    "a file of the index is damaged: restore it, build a new index, or roll back to a version that "
    "is whole, if there is one"
)
_REGION = "the bucket is in another region: set AWS_REGION"
_BUSY = "the store asks for fewer requests: try again later"
_DOWN = "the store is overloaded or down: try again later"
_FULL = "the quota is used up: free some space, or raise it"
_ENDPOINT = "check the network and AWS_ENDPOINT_URL"
_CERTIFICATE = (
    "its certificate is not trusted: name the file of its authority in RESIFT_CA_FILE, or check "
    "AWS_ENDPOINT_URL"
)
_CODES = {
    "AccessDenied": f"access denied: {S3_ACCESS}",
    "NoSuchBucket": "there is no such bucket: create it or check the name and the endpoint",
    "InvalidBucketName": "no bucket can have that name: check the URI",
    "InvalidAccessKeyId": f"the access key is not known there: {S3_ACCESS}",
    "SignatureDoesNotMatch": f"the secret key does not match the access key: {S3_ACCESS}",
    "ExpiredToken": "the session token has expired: get new credentials",
    "ExpiredTokenException": "the session token has expired: get new credentials",
    "InvalidToken": "the session token is not known there: get new credentials",
    "TokenRefreshRequired": "the session token must be renewed: get new credentials",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it, or let NTP do so",
    "RequestExpired": "this machine's clock is wrong: set it, or let NTP do so",
    "QuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "InvalidRange": "an object changed while it was read: try again",
    "InvalidObjectState": "the object is archived: restore it first",
    "SlowDown": _BUSY,
    "TooManyRequests": _BUSY,
    "RequestTimeout": _CUT,
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": "the bucket is being moved: try again later, or name its own endpoint",
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "NotImplemented": "the store cannot do this: run  resift doctor  on it",
    "MethodNotAllowed": "the store does not allow this: check AWS_ENDPOINT_URL and the policy",
}
_STATUSES = {
    301: _REGION,
    307: _CODES["TemporaryRedirect"],
    400: "the store does not understand the request: check AWS_ENDPOINT_URL, region and bucket",
    401: f"access denied: {S3_ACCESS}",
    403: f"access denied: {S3_ACCESS}",
    404: "not found there: check the name and the endpoint",
    405: _CODES["MethodNotAllowed"],
    408: _CUT,
    409: "another writer was at the same object: try again",
    412: "the object changed meanwhile: try again",
    416: _CODES["InvalidRange"],
    429: _BUSY,
    500: "the store has an error of its own: try again later",
    501: _CODES["NotImplemented"],
    502: f"a proxy cannot reach the store: try again later, or {_ENDPOINT}",
    503: _DOWN,
    504: f"a proxy cannot reach the store: try again later, or {_ENDPOINT}",
    507: _FULL,
}
_BAD_CREDENTIALS = (
    *BAD_KEYS,
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
)
_TEMPORARY = {408, 429, 500, 502, 503, 504}
_NO_RESPONSE_SIGNS = (
    "HttpError",
    "Connection reset",
    "error sending request",
    "error decoding response body",
    "request or response body error",
    "transfer too slow: ",
)
# The client's words if no response came; they are searched for only after the request's URL.
_CLIENT_PHRASES = (
    ("Received redirect without LOCATION", _REGION),
    ("dns error", f"the server does not answer, no host has that name: {_ENDPOINT}"),
    ("failed to lookup address", f"the server does not answer, no host has that name: {_ENDPOINT}"),
    ("Connection refused", f"the server does not answer, no service listens there: {_ENDPOINT}"),
    ("ConnectionRefused", f"the server does not answer, no service listens there: {_ENDPOINT}"),
    ("InvalidCertificate", _CERTIFICATE),
    ("CERTIFICATE_VERIFY_FAILED", _CERTIFICATE),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS: write http:// in AWS_ENDPOINT_URL"),
    ("invalid peer certificate", _CERTIFICATE),
    ("InvalidContentType", "it does not speak TLS: write http:// in AWS_ENDPOINT_URL"),
    ("TimedOut", f"the server does not answer in time: {_ENDPOINT}"),
    ("operation timed out", f"the server does not answer in time: {_ENDPOINT}"),
    ("onnection reset", _CUT),
    ("ConnectionReset", _CUT),
    ("IncompleteMessage", _CUT),
    ("connection closed before", _CUT),
    ("HTTP error: builder error", "AWS_ENDPOINT_URL is not a URL: expected http(s)://host[:port]"),
    (
        "relative URL without a base",
        "AWS_ENDPOINT_URL is empty or not a URL: expected http(s)://host[:port], or unset it",
    ),
    ("Failed to resolve region", "the bucket's region is not known: set AWS_REGION"),
    ("Got invalid list response", f"the response is not an S3 listing: {_ENDPOINT}"),
    ("transfer too slow: ", _SLOW),
    ("request or response body error", _SLOW),
    ("HttpError", f"the server does not answer: {_ENDPOINT}"),
    ("error sending request", f"the server does not answer: {_ENDPOINT}"),
    ("error decoding response body", _CUT),
)
# Lance's words for a file that is cut short or was written by another program.
_DAMAGED_SIGNS = (
    "does not have sufficient data, len: ",
    "failed to decode Protobuf message",
    "failed to fill whole buffer",
    "file does not appear to be a Lance file",
    "file size is too small",
    "Invalid range ",
    "Is a directory (os error 21)",
)
# The words of a failed request for credentials, which precedes requests to the bucket.
_CREDENTIAL_PHRASES = (
    (" http://169.254.169.254/", _NO_CREDENTIALS),
    (" http://169.254.170.", _NO_CREDENTIALS),
    ("External AWS credential provider", "the AWS profile gives no keys any more: log in again"),
)
# The message of a provider of tokens, which names its own settings.
_PROVIDER = re.compile(r"External (?:GCP|Azure) credential provider: SettingsError: (.{1,400})")
_REQUEST = re.compile(r"Error performing [A-Z]+ \S+ in [\d.]+(?:ns|µs|ms|s)\b")
_SHORT_RESPONSE = re.compile(
    r"- Server returned non-2xx status code: (\d{3})[^:]*:?(.*)", re.DOTALL
)
_RESPONSE = re.compile(r"^ *status: (\d{3}),\n *body: (.*)", re.MULTILINE | re.DOTALL)
# The response to a deletion of several objects: the key precedes the store's words.
_BULK_RESPONSE = re.compile(
    r"DeleteObjects request failed for key .*\(code: ([\w.]+)\)\s*$", re.DOTALL
)
_CODE = re.compile(r"<Code>([\w.]+)</Code>")
_WANTED_REGION = re.compile(r"<Region>([a-z0-9-]{2,40})</Region>|expecting '([a-z0-9-]{2,40})'")
_NOT_FOUND = re.compile(r"(?:was not found: |^(?:External error: |LanceError\(IO\): )?Not found: )")
# The kind of a Lance error, and its line in Lance's sources.
_LANCE_ORIGIN = re.compile(r"^LanceError\(\w+\): |,? ?[^\s,]*\.rs:\d+(:\d+)?$")
_OS_ERROR = re.compile(r"(?:\(os error |\bOs \{ code: )(\d+)")
_MAX_LENGTH = 200


@dataclass(frozen=True, slots=True)
class _Failure:
    """The reliable parts of an error: a response's status, S3 code and body, or why none came."""

    status: int = 0
    code: str = ""
    body: str = ""
    reason: str = ""


def describe(error: BaseException, where: Location | str = "s3://") -> str:
    """Describe an error in one line: what went wrong and what to do about it.

    A location says which settings the line names; a URI, which are usual for its scheme.
    """
    words = words_of(where)
    failure = _parse(error)
    phrase = words.codes.get(failure.code) or _phrase(error, failure)
    if phrase == _REGION and (region := _WANTED_REGION.search(failure.body)):
        return f"{words.of(_REGION)}={region[1] or region[2]}"
    if phrase:
        return words.of(phrase)
    first_line = str(error).partition("\n")[0].strip() or type(error).__name__
    return words.of(_LANCE_ORIGIN.sub("", first_line)[:_MAX_LENGTH])


def are_credentials_bad(error: BaseException) -> bool:
    """Whether every request with these credentials must fail."""
    return _parse(error).code in _BAD_CREDENTIALS or bool(_credential_phrase(error))


def is_missing(error: BaseException | None) -> bool:
    """Whether the requested object or file does not exist."""
    if error is None:
        return False
    failure = _parse(error)
    is_not_found = isinstance(error, FileNotFoundError) or bool(_NOT_FOUND.search(str(error)))
    return failure.code not in NO_BUCKET and (is_not_found or failure.status == 404)


def is_down(error: BaseException | None) -> bool:
    """Whether the store does not respond, or reports a temporary failure; not if it refuses."""
    if error is None or isinstance(error, FileNotFoundError):
        return False
    failure = _parse(error)
    if failure.status:
        return failure.status in _TEMPORARY
    return any(sign in failure.reason for sign in _NO_RESPONSE_SIGNS)


@contextmanager
def store_errors(where: Location | str) -> Iterator[None]:
    """Convert errors of obstore and Lance to a `StoreError` that names the location or URI."""
    try:
        yield
    except ResiftError:
        raise
    except BaseException as error:  # ValueError, RuntimeError and OSError alike
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        label = where if isinstance(where, str) else where.label
        raise StoreError(f"{label}: {describe(error, where)}") from error


def is_panic(error: BaseException) -> bool:
    """Whether Rust code panicked, which raises a `BaseException` that need not end the program."""
    return type(error).__name__ == "PanicException"


def _phrase(error: BaseException, failure: _Failure) -> str | None:
    if phrase := _credential_phrase(error):
        return phrase
    if failure.code.startswith("KMS.") or "kms:" in failure.body:
        return _KEY
    if failure.code in _CODES:
        return _CODES[failure.code]
    if failure.status:
        return _STATUSES.get(failure.status) or f"it responds with status {failure.status}"
    for sign, phrase in _CLIENT_PHRASES:
        if sign in failure.reason:
            return phrase
    return _disk_phrase(error)


def _credential_phrase(error: BaseException) -> str | None:
    """Describe a failed request for credentials, after which none was sent to the bucket."""
    message = str(error).partition("\n\nDebug source:\n")[0]
    request = _REQUEST.search(message)
    if not request and (provider := _PROVIDER.search(message)):
        return provider[1]
    for sign, phrase in _CREDENTIAL_PHRASES:
        if sign in (request[0] if request else message):
            return phrase
    return None


def _parse(error: BaseException) -> _Failure:
    """Find the response in an error's text, outside of the parts that may hold object names."""
    message, _, dump = str(error).rpartition("\n\nDebug source:\n")
    if response := _RESPONSE.search(dump):  # other texts are quoted in the dump and cannot match
        return _Failure(int(response[1]), _code(response[2]), response[2])
    message = message or dump
    requests = list(_REQUEST.finditer(message))
    after = message[requests[-1].end() :] if requests else ""
    if response := _SHORT_RESPONSE.search(after):
        return _Failure(int(response[1]), _code(response[2]), response[2])
    if bulk := _BULK_RESPONSE.search(message):
        return _Failure(code=bulk[1])
    return _Failure(reason=f"{after}\n{dump}" if requests else message)


def _code(body: str) -> str:
    code = _CODE.search(body)
    return code[1] if code else ""


def _disk_phrase(error: BaseException) -> str | None:
    """Describe an error of the local disk, which obstore reports as text."""
    match = _OS_ERROR.search(str(error))
    number = error.errno if isinstance(error, OSError) and error.errno else match and int(match[1])
    if phrase := remedy(number or None):
        return phrase
    if any(sign in str(error) for sign in _DAMAGED_SIGNS):
        return _DAMAGED
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return None
