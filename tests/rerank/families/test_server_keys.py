"""A key goes only to the server that it is for, encrypted, and no text shows it."""

from typing import Any

import pytest

from resift.errors import InputError, SettingsError
from resift.rerank.families.server import Public, Server, find_server
from resift.settings import Settings

COHERE = Public("https://api.cohere.com", "cohere_key")
KEYS = Settings(cohere_key="sk-cohere", reranker_key="sk-mine", openai_key="sk-openai")


def find(url: str | None, key: str | None = None, settings: Settings = KEYS) -> Server:
    return find_server("cohere", "/v2/rerank", COHERE, url, key, settings)


@pytest.mark.parametrize(
    ("url", "header"),
    [
        (None, "Bearer sk-cohere"),
        ("https://api.cohere.com", "Bearer sk-cohere"),
        ("https://API.cohere.com:443/", "Bearer sk-cohere"),
        ("https://api.cohere.com/v2/rerank", "Bearer sk-cohere"),
        ("https://api.cohere.com.evil.example", "Bearer sk-mine"),
        ("https://api.cohere.com:8443", "Bearer sk-mine"),
        ("https://evil.example/api.cohere.com", "Bearer sk-mine"),
        ("http://127.0.0.1:8080/cohere", "Bearer sk-mine"),
        ("https://me:s3cret@host", "Basic bWU6czNjcmV0"),
        ("https://api.cohere.com@evil.example", "Basic YXBpLmNvaGVyZS5jb20="),
    ],
)
def test_a_key_goes_to_its_server(url: str | None, header: str) -> None:
    assert find(url).authorisation.header == header


def test_a_key_that_is_passed_goes_first() -> None:
    for url in (None, "https://me:s3cret@host"):
        assert find(url, " sk-given ").authorisation.header == "Bearer sk-given"


def test_a_server_of_ones_own_needs_no_key() -> None:
    server = find("http://host:8080/x/", settings=Settings())
    assert server.authorisation.header is None
    assert (server.url("/v2/rerank"), server.host) == ("http://host:8080/x/v2/rerank", "host:8080")


def test_a_public_server_without_a_key_is_refused_with_the_variable() -> None:
    with pytest.raises(SettingsError, match="no key; set COHERE_API_KEY, or pass key="):
        find(None, settings=Settings(reranker_key="sk-mine"))


@pytest.mark.parametrize("url", ["http://host:8080", "http://me:s3cret@host", "http://10.0.0.1"])
def test_no_secret_leaves_this_machine_in_the_clear(url: str) -> None:
    with pytest.raises(InputError, match="use https") as raised:
        find(url)
    assert "sk-" not in str(raised.value) and "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["", "host", "ftp://host", "http://", "http://host:x", "http://host/?a=b", "http://host/#m",
     "http://host:0", "http://ho st", "http://[::1", 3],
)  # fmt: skip
def test_what_is_no_url_is_refused(url: Any) -> None:
    with pytest.raises(InputError, match=r"^url"):
        find(url)


@pytest.mark.parametrize("key", ["sk-\nx", "sk-é", "sk-\x00"])
def test_a_key_that_no_header_holds_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(InputError, match=r"^key: has characters") as raised:
        find(None, key)
    assert "sk-" not in str(raised.value)
    with pytest.raises(InputError, match="expected text, got int"):
        find(None, 3)  # type: ignore[arg-type]


def test_no_representation_has_a_secret() -> None:
    for server in (find(None), find("https://me:s3cret@host"), find(None, "sk-given")):
        assert "sk-" not in repr(server) and "s3cret" not in repr(server)
