"""Proves that messages name the variable, file or table that a value is from."""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resift.errors import SettingsError
from resift.index.storage.bucket_listing import BucketListing
from resift.index.storage.client import lance_options, open_bucket
from resift.index.storage.errors import describe
from resift.index.storage.location import Location, locate
from resift.index.storage.unprinted import unprinted
from resift.settings import AzSettings, Settings, StorageSettings

KEY = "a2V5"
REFUSED = OSError("Error performing GET x in 1ms - HttpError: Connection refused")
DENIED = OSError("Error performing GET x in 1ms - Server returned non-2xx status code: 403: ")
ELSEWHERE = OSError(
    "Error performing GET x in 1ms - Server returned non-2xx status code: 301: "
    "<Code>PermanentRedirect</Code><Region>eu-west-1</Region>"
)


def at(uri: str, environ: Mapping[str, str], file: Path | None = None, text: str = "") -> Location:
    if file:
        file.write_text(text)
        environ = {**environ, "RESIFT_CONFIG": str(file)}
    return locate(uri, Settings.load(environ).storage)


@pytest.mark.parametrize(
    ("uri", "environ", "text", "name"),
    [
        ("s3://b/i", {"AWS_ENDPOINT_URL_S3": "http://h"}, "", "AWS_ENDPOINT_URL_S3"),
        ("s3://b/i", {"AWS_ENDPOINT": "http://h"}, "", "AWS_ENDPOINT"),
        ("s3://b/i", {}, "", "AWS_ENDPOINT_URL"),
        ("s3://b/i", {}, '[storage]\nendpoint="http://h"', "storage.endpoint in {file}"),
        (
            "s3://b/i",
            {"AWS_ENDPOINT_URL": "http://other"},
            '[storage."s3://b"]\nendpoint="http://h"',
            'storage."s3://b".endpoint in {file}',
        ),
        (
            "s3://b/i",
            {"AWS_ENDPOINT_URL": "http://h"},
            '[storage."s3://b"]\nprofile="p"',
            "AWS_ENDPOINT_URL",
        ),
        ("gs://b/i", {"GOOGLE_BASE_URL": "http://h"}, "", "GOOGLE_BASE_URL"),
        ("gs://b/i", {}, "", "HTTPS_PROXY"),
        ("az://docs/i", {"AZURE_STORAGE_ENDPOINT": "http://h"}, "", "AZURE_STORAGE_ENDPOINT"),
        ("az://docs/i", {"AZURE_STORAGE_ACCOUNT": "acct"}, "", "AZURE_STORAGE_ACCOUNT"),
        ("abfss://docs@acct.dfs.core.windows.net/i", {}, "", "the account in the URI"),
    ],
)
def test_a_dead_endpoint_is_named_by_where_it_is_set(
    tmp_path: Path, uri: str, environ: dict[str, str], text: str, name: str
) -> None:
    file = tmp_path / "resift.toml"
    told = describe(REFUSED, at(uri, environ, file, text))
    assert told.endswith(f": check the network and {name.format(file=file)}")


@pytest.mark.parametrize(
    ("uri", "environ", "names"),
    [
        ("s3://b", {"AWS_PROFILE": "p"}, "check AWS_PROFILE and"),
        ("s3://b", {"AWS_ACCESS_KEY_ID": "a"}, "check AWS_ACCESS_KEY_ID, AWS_SECRET"),
        ("gs://b", {"GOOGLE_SERVICE_ACCOUNT_KEY": "{}"}, "check GOOGLE_SERVICE_ACCOUNT_KEY,"),
        ("gs://b", {"GOOGLE_SERVICE_ACCOUNT": "/k"}, "check GOOGLE_SERVICE_ACCOUNT,"),
        ("az://docs", {"AZURE_STORAGE_KEY": KEY}, "check AZURE_STORAGE_KEY or"),
        (
            "az://docs",
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acct"},
            "check AZURE_STORAGE_CONNECTION_STRING, or the role",
        ),
    ],
)
def test_refused_keys_are_named_by_where_they_are_set(
    uri: str, environ: dict[str, str], names: str
) -> None:
    assert names in describe(DENIED, at(uri, environ))


def test_a_region_is_set_where_it_holds(tmp_path: Path) -> None:
    assert describe(ELSEWHERE, at("s3://b", {})).endswith("set AWS_REGION=eu-west-1")
    text = '[storage."s3://b"]\nendpoint="http://h"'
    told = describe(ELSEWHERE, at("s3://b", {"AWS_REGION": "x"}, tmp_path / "r.toml", text))
    assert told.endswith('set storage."s3://b".region=eu-west-1')


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"AWS_SKIP_SIGNATURE": "maybe"}, "^AWS_SKIP_SIGNATURE='maybe': expected true"),
        ({"GOOGLE_SKIP_SIGNATURE": "maybe"}, "^GOOGLE_SKIP_SIGNATURE='maybe': expected"),
        ({"AZURE_SKIP_SIGNATURE": "maybe"}, "^AZURE_SKIP_SIGNATURE='maybe': expected true"),
        ({"AWS_SERVER_SIDE_ENCRYPTION": "x"}, "^AWS_SERVER_SIDE_ENCRYPTION='x': expected one"),
        ({"AWS_SSE_KMS_KEY_ID": "x"}, "^AWS_SSE_KMS_KEY_ID: expected server_side"),
    ],
)
def test_a_variable_that_cannot_be_is_named_also_beside_a_file(
    tmp_path: Path, environ: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        at("s3://b", environ, tmp_path / "resift.toml", '[storage]\nregion = "r"')


@pytest.mark.parametrize(
    ("uri", "environ", "message"),
    [
        ("s3://b", {"AWS_ENDPOINT": "nowhere"}, "^AWS_ENDPOINT: 'nowhere' is not an endpoint"),
        ("s3://b", {"AWS_DEFAULT_REGION": "a b"}, "^AWS_DEFAULT_REGION: 'a b' is not a region"),
        ("gs://b", {"GOOGLE_BASE_URL": "ftp://x"}, "^GOOGLE_BASE_URL: 'ftp://x' is not an"),
        ("az://docs", {"AZURE_STORAGE_ACCOUNT": "A"}, "^AZURE_STORAGE_ACCOUNT: 'A' is not an acc"),
        ("s3://b", {"AWS_CA_BUNDLE": "/nope"}, "^AWS_CA_BUNDLE='/nope': no such file"),
        ("gs://b", {"RESIFT_CA_FILE": "/nope"}, "^RESIFT_CA_FILE='/nope': no such file"),
        (
            "az://docs",
            {"AZURE_STORAGE_ACCOUNT": "acct", "AZURE_STORAGE_KEY": "!"},
            "^AZURE_STORAGE_KEY: not in base64",
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_named_by_its_variable(
    uri: str, environ: dict[str, str], message: str
) -> None:
    location = at(uri, environ)
    for use in (open_bucket, BucketListing, lance_options):
        with pytest.raises(SettingsError, match=message):
            use(location)


def test_a_file_of_authorities_is_named_by_the_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "resift.toml"
    with pytest.raises(SettingsError, match=rf"^{file}: ca_file='/nope': no such file"):
        open_bucket(at("s3://b", {}, file, 'ca_file = "/nope"'))


@pytest.mark.parametrize("keys", [{"account_key": KEY}, {"sas_token": "sig=a"}])
def test_a_key_whose_account_is_not_named_goes_to_no_account(keys: dict[str, str]) -> None:
    uri = "abfss://docs@acct.dfs.core.windows.net/p"
    general = AzSettings(**keys)  # type: ignore[arg-type]
    message = r"^AZURE_STORAGE_\w+: the key's account is not named, .* set AZURE_STORAGE_ACCOUNT_NA"
    for by_uri in ({}, {uri: AzSettings()}):
        storage = StorageSettings(az=general, by_uri=by_uri)
        for use in (open_bucket, BucketListing, lance_options):
            with pytest.raises(SettingsError, match=message):
                use(locate(uri, storage))
    lance_options(locate(uri, StorageSettings(by_uri={uri.removesuffix("/p"): general})))
    named = AzSettings("acct", **keys)  # type: ignore[arg-type]
    lance_options(locate(uri, StorageSettings(az=named)))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "no such file or directory"),
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "JSON, but no key"),
        (b'{"s3cret": 1}', "JSON, but no key"),
        (b'{"type": "s3cret"}', "not a key that can be used"),
        (b'{"type": "service_account", "private_key": "s3cret"}', "not a key that can be used"),
    ],
)
def test_a_key_file_of_google_is_named_with_what_is_wrong(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    pytest.importorskip("google.auth")
    file = tmp_path / "key.json"
    if content is not None:
        file.write_bytes(content)
    for use in (open_bucket, BucketListing, lance_options):
        with pytest.raises(SettingsError) as refused:
            use(at("gs://b", {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}))
        message = str(refused.value)
        assert message.startswith(f"GOOGLE_APPLICATION_CREDENTIALS={file}: {problem}")
        assert "expected a key file" in message and "s3cret" not in message
        if content and content.isascii():
            with pytest.raises(SettingsError, match=f"^GOOGLE_SERVICE_ACCOUNT_KEY: {problem}"):
                use(at("gs://b", {"GOOGLE_SERVICE_ACCOUNT_KEY": content.decode()}))


def test_the_log_of_azures_identity_is_not_printed_before_our_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Talkative:
        def __init__(self, **_: object) -> None:
            logging.getLogger("azure.identity._credentials.chained").warning("many\nlines")

        def get_token(self, _: str) -> Any:
            logging.getLogger("azure.identity._credentials.chained").warning("many\nlines")
            raise RuntimeError

    monkeypatch.setitem(
        sys.modules, "azure.identity", SimpleNamespace(DefaultAzureCredential=Talkative)
    )
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest has its own
    monkeypatch.setattr("resift.index.storage.lookups.CACHED_S", 1e-9)
    with pytest.raises(SettingsError, match=r"^Azure: no token"):
        lance_options(at("az://docs", {"AZURE_STORAGE_ACCOUNT": "acct"}))
    assert capfd.readouterr().err == ""
    logging.getLogger("azure.identity").warning("of another program")
    assert "of another program" in capfd.readouterr().err


def test_a_programs_handlers_get_what_is_not_printed(caplog: pytest.LogCaptureFixture) -> None:
    with unprinted("azure"):
        logging.getLogger("azure.identity").warning("heard")
    assert caplog.messages == ["heard"] and logging.getLogger("azure").handlers == []
