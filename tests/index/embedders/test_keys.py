"""An embedder's key goes only to the server that it is for, encrypted, and shows nowhere."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from index.embedders.embedding_server import Request, serve
from resift.errors import EmbedderError, InputError
from resift.index.embed import open_embedder
from resift.index.embedders.keys import authorise
from resift.settings import Settings

OPENAI = "https://api.openai.com/v1#text-embedding-3-small"


def sent(spec: str, **settings: Any) -> str | None:
    """The Authorization header that requests to this embedder carry."""
    embedder: Any = open_embedder(spec, Settings(**settings))
    header: str | None = embedder._endpoint._headers.get("Authorization")
    return header


@pytest.mark.parametrize("spec", [OPENAI, "https://API.OpenAI.com:443/v1#m"])
def test_openais_key_goes_to_openai(spec: str) -> None:
    assert sent(spec, openai_key="sk-1") == "Bearer sk-1"
    assert sent(spec, openai_key=" sk-1 ") == "Bearer sk-1"
    assert sent(spec, embedder=spec, embedder_key="mine", openai_key="sk-1") == "Bearer mine"
    for name in ("openai_key", "embedder_key"):
        with pytest.raises(InputError, match=f"^{name}: has characters"):
            sent(spec, **{name: "sk-é"})


@pytest.mark.parametrize(
    "spec",
    [
        "https://api.openai.com.evil.example/v1#m",
        "https://evil.example/api.openai.com#m",
        "https://evil.example/v1#api.openai.com",
        "https://api.openai.com:8443/v1#m",
        "http://api.openai.com/v1#m",
        "http://127.0.0.1:8080/v1#m",
        "https://eu.api.openai.com/v1#m",
        "https://api.openai.com./v1#m",
        "https://api-openai.com/v1#m",
        "https://evil.example\\@api.openai.com:1/v1#m",
        "https://api.openai.com%2eevil.example/v1#m",
    ],
)
def test_openais_key_goes_nowhere_else(spec: str) -> None:
    try:
        header = sent(spec, openai_key="sk-1")
    except InputError as error:
        assert "sk-1" not in str(error)
    else:
        assert "sk-1" not in str(header)


def test_a_host_before_an_at_sign_is_a_user_and_no_host() -> None:
    assert "sk-1" not in str(sent("https://api.openai.com@evil.example/v1#m", openai_key="sk-1"))
    assert sent("https://evil.example@api.openai.com/v1#m", openai_key="sk-1").startswith("Basic")  # type: ignore[union-attr]


def test_the_embedders_key_goes_to_the_server_that_the_settings_name() -> None:
    named = "https://mine.example/v1#a"
    for spec, header in (
        (named, "Bearer key"),
        ("https://mine.example:443/v2#b", "Bearer key"),
        ("https://mine.example:8443/v1#a", None),
        ("https://other.example/v1#a", None),
        ("http://127.0.0.1:80/v1#a", None),
    ):
        assert sent(spec, embedder=named, embedder_key="key") == header
    assert sent(named, embedder_key="key") == "Bearer key"
    local = "127.0.0.1:8443/v1#a"
    assert sent(f"http://{local}", embedder=f"https://{local}", embedder_key="key") is None


@pytest.mark.parametrize("host", ["host", "192.168.0.7", "127.0.0.1.example", "localhost.example"])
@pytest.mark.parametrize("user", ["", "me:s3cret@"])
def test_no_secret_leaves_this_machine_in_the_clear(host: str, user: str) -> None:
    with pytest.raises(InputError, match="use https") as refused:
        sent(f"http://{user}{host}:8080/v1#m", embedder_key="s3cret")
    assert "s3cret" not in str(refused.value) and "\n" not in str(refused.value)
    assert sent(f"http://{host}:8080/v1#m", openai_key="s3cret") is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_on_this_machine_plain_http_will_do(host: str) -> None:
    assert sent(f"http://{host}:8080/v1#m", embedder_key="key") == "Bearer key"


def test_a_server_on_this_machine_is_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve() as proxy, serve() as server:
        monkeypatch.setenv("http_proxy", proxy.spec.partition("/v1")[0])
        open_embedder(server.spec, Settings(embedder_key="key")).embed_query("a")
    assert len(server.requests) == 1 and not proxy.requests


def test_no_redirect_carries_a_key_on() -> None:
    with serve() as other:

        def redirect(request: Request) -> None:
            request.send(307, b"", Location=f"{other.spec.partition('#')[0]}/embeddings")

        with serve(redirect) as server, pytest.raises(EmbedderError, match="the URL that it is at"):
            open_embedder(server.spec, Settings(embedder_key="key")).embed_query("a")
        assert not other.requests


def test_no_key_shows() -> None:
    settings = Settings(embedder_key="s3cret", openai_key="s3cret")
    for user in (None, "me:s3cret"):
        authorisation = authorise(urlsplit("https://h"), user, settings)
        assert authorisation.header and "s3cret" not in repr(authorisation) + repr(settings)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (401, "set RESIFT_EMBEDDER_KEY to a key that is valid there"),
        (403, "set RESIFT_EMBEDDER_KEY to a key that may use this model"),
        (404, "check the URL, which often ends in /v1, and the model's name"),
        (405, "check the URL, which often ends in /v1"),
    ],
)
def test_a_refusal_says_what_to_do(code: int, advice: str) -> None:
    with serve(lambda request: request.send(code, b"")) as server:
        with pytest.raises(EmbedderError, match=f"^http.*embeddings: {code} .*; {advice}$"):
            open_embedder(server.spec, Settings()).embed_query("a")
