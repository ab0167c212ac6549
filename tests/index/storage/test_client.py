"""Proves that unusable settings are refused in a line, before Rust code panics at them."""

from typing import Any

import pytest

from resift.errors import SettingsError
from resift.index.storage.client import lance_options, open_bucket
from resift.index.storage.location import Location
from resift.settings import StorageSettings

pytest.importorskip("lance")

KEYS: dict[str, Any] = {"access_key_id": "a", "secret_access_key": "s3cret"}


@pytest.mark.parametrize(
    "settings",
    [
        {"endpoint": "127.0.0.1:9000"},
        {"endpoint": "localhost"},
        {"endpoint": "http://127.0.0.1:9000", "virtual_hosted": True},
        {"endpoint": "http://[::1]:9000", "virtual_hosted": True},
        {"endpoint": "http://a b"},
        {"endpoint": " http://host"},
        {"endpoint": "http://host\n"},
        {"endpoint": "ftp://host"},
        {"endpoint": "http://"},
        {"endpoint": "http://host:port"},
        {"endpoint": "http://host:99999"},
        {"endpoint": "http://[::1"},
        {"endpoint": "http://höst"},
        {"endpoint": "http://host?x=1"},
        {"endpoint": "http://me:s3cret@host"},
        {"endpoint": "me:s3cret@host"},
        {"access_key_id": "a"},
        {"secret_access_key": "s3cret"},
        {"session_token": "s3cret"},
        {"access_key_id": "a", "session_token": "s3cret"},
        KEYS | {"secret_access_key": "s3cret\n"},
        KEYS | {"access_key_id": "a b"},
        KEYS | {"session_token": "s3crét"},
        KEYS | {"region": "eu west"},
        KEYS | {"region": "eu\nwest"},
    ],
)
def test_unusable_settings_are_refused(settings: dict[str, Any]) -> None:
    location = Location("bucket", "prefix", StorageSettings(**settings))
    for way in (open_bucket, lance_options):
        with pytest.raises(SettingsError) as refused:
            way(location)
        message = str(refused.value)
        assert message.startswith("AWS_") and message.isprintable() and "s3cr" not in message


@pytest.mark.parametrize(
    ("endpoint", "taken"),
    [
        ("http://host:9000/", "http://host:9000"),
        ("HTTP://Host:9000", "http://host:9000"),
        ("https://host/path", "https://host/path"),
        ("http://[::1]:9000", "http://[::1]:9000"),
    ],
)
def test_an_endpoint_has_one_spelling(endpoint: str, taken: str) -> None:
    options = lance_options(Location("b", "p", StorageSettings(endpoint, "r", **KEYS)))
    assert options["aws_endpoint"] == taken
    assert (options.get("allow_http") == "true") == taken.startswith("http://")
