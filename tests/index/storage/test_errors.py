"""Proves that a store's failure becomes one line with a remedy, whatever objects are called.

The texts are those of obstore 0.12 and of Lance 14.
"""

import errno
import os

import pytest

from resift.errors import MissingExtra, StoreError
from resift.index.storage.errors import are_credentials_bad, describe, is_missing, store_errors

BODY = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message>{more}</Error>"


def error_texts(status: int, code: str = "", key: str = "k", more: str = "") -> tuple[str, str]:
    """The text of a failed request, by obstore and by Lance."""
    body = BODY.format(code=code, more=more) if code else ""
    url = f"http://host:1/bucket/{key.replace(' ', '%20').replace('<', '%3C')}"
    short = (
        f"Object at location {key} not found: Error performing GET {url} in 870.458319ms, after 4 "
        "retries, max_retries: 4, retry_timeout: 10s  - Server returned non-2xx status code: "
        f"{status} Some Reason: {body}"
    )
    quoted = body.replace('"', '\\"')
    inner = f'Status {{\n   status: {status},\n   body: Some(\n  "{quoted}",\n )\n'
    dump = f'Generic {{\n    store: "S3",\n    path: "{key}",\n  inner: {inner}}}'
    obstore = f"{short}\n\nDebug source:\n{dump}"
    return obstore, f"LanceError(IO): {short}, /home/runner/work/lance/rust/x.rs:1576:42"


@pytest.mark.parametrize(
    ("status", "code", "phrase"),
    [
        (404, "NoSuchBucket", "no such bucket"),
        (403, "SignatureDoesNotMatch", "secret key does not match"),
        (403, "RequestTimeTooSkewed", "clock is wrong"),
        (403, "InvalidObjectState", "the object is archived"),
        (403, "", "access denied"),
        (401, "", "access denied"),
        (400, "", "does not understand the request"),
        (400, "InvalidArgument", "does not understand the request"),
        (301, "PermanentRedirect", "set AWS_REGION"),
        (404, "NoSuchKey", "not found there"),
        (409, "OperationAborted", "another writer"),
        (429, "TooManyRequests", "fewer requests"),
        (500, "InternalError", "an error of its own"),
        (502, "", "cannot reach the store"),
        (503, "", "overloaded or down"),
        (503, "SlowDown", "fewer requests"),
        (504, "", "cannot reach the store"),
        (507, "", "quota"),
        (418, "", "it responds with status 418"),
    ],
)
def test_every_status_is_explained_in_a_line_with_a_remedy(
    status: int, code: str, phrase: str
) -> None:
    for text in error_texts(status, code):
        line = describe(ValueError(text))
        assert phrase in line
        assert "\n" not in line and "host:1" not in line and len(line) < 150


@pytest.mark.parametrize(
    "key",
    [
        "ExpiredToken.html",
        "NoSuchBucket/AccessDenied 403.txt",
        "<Code>ExpiredToken</Code>",
        "status code: 404.txt",
        "kms:GenerateDataKey.md",
        "Connection reset.txt",
        "dns error",
        "http://169.254.169.254/x",
    ],
)
def test_an_objects_name_does_not_affect_the_explanation(key: str) -> None:
    for text in error_texts(503, "SlowDown", key):
        error = ValueError(text)
        assert "fewer requests" in describe(error)
        assert not are_credentials_bad(error) and not is_missing(RuntimeError(text))


def test_the_region_that_the_store_names_is_shown() -> None:
    for text in error_texts(400, "AuthorizationHeaderMalformed", more="<Region>eu-west-1</Region>"):
        assert describe(ValueError(text)).endswith("set AWS_REGION=eu-west-1")


@pytest.mark.parametrize(
    ("reason", "dump", "phrase"),
    [
        ("HTTP error: error sending request", "kind: ConnectionRefused", "no service listens"),
        ("HTTP error: error sending request", '"dns error"', "no host has that name"),
        ("HTTP error: error sending request", "InvalidContentType", "does not speak TLS"),
        ("HttpError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate", "", "is not trusted"),
        ("HttpError: [SSL: WRONG_VERSION_NUMBER] wrong version", "", "does not speak TLS"),
        ("HTTP error: error sending request", "kind: TimedOut", "does not answer in time"),
        ("HTTP error: error sending request", "", "does not answer"),
        ("Received redirect without LOCATION, this", "inner: BareRedirect", "set AWS_REGION"),
        ("HTTP error: builder error", "BadScheme", "is not a URL"),
    ],
)
def test_a_missing_answer_is_explained(reason: str, dump: str, phrase: str) -> None:
    asked = "Generic S3 error: Error performing GET http://h/b/InvalidCertificate in 1.2µs"
    text = f"{asked} - {reason}\n\nDebug source:\nGeneric {{ {dump} }}"
    assert phrase in describe(ValueError(text))


def test_missing_credentials_are_not_reported_as_a_refusal_of_the_bucket() -> None:
    text = "Generic S3 error: Error performing PUT http://169.254.169.254/latest in 1.2ms - Server"
    error = ValueError(f"{text} returned non-2xx status code: 403 Forbidden: ")
    assert "no credentials were found" in describe(error) and are_credentials_bad(error)


@pytest.mark.parametrize(
    ("uri", "settings"),
    [
        ("gs://b/p", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("az://c/p", "AZURE_STORAGE_ACCOUNT_KEY"),
        ("abfss://c@a.dfs.core.windows.net/p", "AZURE_STORAGE_ACCOUNT_KEY"),
        ("https://host/b/p", "s3://, gs:// or az://"),
        ("s3://b/p", "AWS_ACCESS_KEY_ID"),
    ],
)
def test_a_remedy_names_the_settings_of_the_store(uri: str, settings: str) -> None:
    for text in error_texts(403, "AccessDenied"):
        line = describe(ValueError(text), uri)
        assert settings in line and ("AWS" in line) == uri.startswith("s3:")


def test_codes_of_azure_are_known_only_there() -> None:
    for text in error_texts(404, "ContainerNotFound"):
        error = ValueError(text)
        assert "no such container" in describe(error, "az://c") and not is_missing(error)
        assert "container" not in describe(error)
    for text in error_texts(403, "AuthenticationFailed"):
        assert are_credentials_bad(ValueError(text))


def test_a_missing_object_is_told_from_a_missing_bucket() -> None:
    assert is_missing(FileNotFoundError("x"))
    assert all(is_missing(ValueError(text)) for text in error_texts(404, "NoSuchKey"))
    assert is_missing(ValueError("Dataset at path x was not found: Not found: x/_versions"))
    assert is_missing(ValueError("External error: Not found: x/data/1.lance, rust/local.rs:273"))
    assert not any(is_missing(ValueError(text)) for text in error_texts(404, "NoSuchBucket"))
    assert not is_missing(None)


def test_an_unknown_failure_shows_its_first_line_shortened() -> None:
    assert describe(ValueError("something odd\nand its dump")) == "something odd"
    assert len(describe(ValueError("x" * 5_000))) == 200
    assert describe(ValueError()) == "ValueError"
    assert describe(NotADirectoryError(20, "Not a directory", "/x")) == "Not a directory: /x"


@pytest.mark.parametrize(
    ("number", "phrase"),
    [
        (errno.EACCES, "permission denied: check the rights of the files and folders"),
        (errno.EPERM, "permission denied: check the rights of the files and folders"),
        (errno.EMFILE, "too many files are open: raise the limit with  ulimit -n"),
        (errno.ENOSPC, "no space left on the disk"),
        (errno.EROFS, "the file system is read-only"),
    ],
)
def test_a_refusal_of_the_disk_is_explained_whatever_library_reports_it(
    number: int, phrase: str
) -> None:
    text = os.strerror(number)
    assert describe(OSError(number, text, "/x")) == phrase
    assert (
        describe(OSError(f"LanceError(IO): Generic: {text} (os error {number}), a.rs:1:2"))
        == phrase
    )
    assert describe(ValueError(f'Tokio: Os {{ code: {number}, message: "{text}" }}')) == phrase
    assert describe(ValueError(f"Unable to open file /x: {text} (os error {number})")) == phrase


class PanicException(BaseException):
    """As pyo3 raises it."""


def test_store_errors_name_the_uri_and_resifts_errors_pass() -> None:
    with pytest.raises(StoreError, match=r"^s3://b/i: odd$"), store_errors("s3://b/i"):
        raise RuntimeError("odd\ndump")
    with pytest.raises(MissingExtra, match=r"^install it$"), store_errors("s3://b/i"):
        raise MissingExtra("install it")
    with pytest.raises(StoreError, match=r"^s3://b/i: InvalidUri$"), store_errors("s3://b/i"):
        raise PanicException("InvalidUri")
    with pytest.raises(KeyboardInterrupt), store_errors("s3://b/i"):
        raise KeyboardInterrupt


def test_paths_of_a_librarys_build_are_not_shown() -> None:
    where = "/home/runner/work/lance/rust/src/store.rs:1013:21"
    assert describe(OSError(f"LanceError(IO): it went wrong, {where}")) == "it went wrong"
    parsed = "Unable to parse url /b/x: relative URL without a base"
    assert "unset it" in describe(ValueError(parsed))
