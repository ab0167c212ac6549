"""Voyage's own client, waiting and asynchronous."""

import asyncio
from typing import Any

import pytest

from resift import Reranker
from serve.dialects.clients.installed import KEY, installed

voyageai = installed("voyageai")

DOCUMENTS = ["The office is closed.", "Choose Settings and press Reset password.", "Salted hashes."]
QUERY = "reset my password"


def client(url: str, key: str = KEY, below: str = "/voyage/v1") -> Any:
    return voyageai.Client(api_key=key, base_url=url + below)


def ask(client: Any, documents: list[str] = DOCUMENTS, **options: Any) -> Any:
    return client.rerank(QUERY, documents, **{"model": "bundled", **options})


@pytest.mark.parametrize("below", ["/voyage/v1", "/v1"])
def test_a_ranking_is_the_librarys(server: str, below: str, in_one_runtime: Reranker) -> None:
    answer = ask(client(server, below=below), top_k=2)
    expected = in_one_runtime.rank(QUERY, DOCUMENTS, top_n=2)
    assert [tuple(result) for result in answer.results] == [
        (hit.index, hit.text, hit.score) for hit in expected
    ]
    assert answer.total_tokens == expected.receipt.tokens


def test_the_asynchronous_client_gets_the_same(server: str) -> None:
    other = voyageai.AsyncClient(api_key=KEY, base_url=f"{server}/voyage/v1")
    answer = asyncio.run(ask(other))
    assert answer.results == ask(client(server)).results


@pytest.mark.parametrize(
    ("documents", "options", "message"),
    [
        ([], {}, "documents cannot be an empty list."),
        (["a", ""], {}, "documents[1]: documents cannot contain empty strings."),
        (["word " * 600], {"truncation": False}, "The example at index 0 in your batch has too"),
        (["a"], {"model": "rerank-2.5"}, "Model rerank-2.5 is not supported."),
    ],
)
def test_what_is_refused_raises_the_clients_own_error(
    server: str, documents: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(voyageai.error.InvalidRequestError) as raised:
        ask(client(server), documents, **options)
    assert message in raised.value.user_message and raised.value.http_status == 400


def test_a_key_decides_who_may_ask(guarded: str) -> None:
    for below in ("/voyage/v1", "/v1"):
        assert ask(client(guarded, below=below)).results
        with pytest.raises(voyageai.error.AuthenticationError, match="key"):
            ask(client(guarded, "another key, not known", below))


def test_too_much_work_is_a_rate_limit(overloaded: str) -> None:
    with pytest.raises(voyageai.error.RateLimitError) as raised:
        ask(client(overloaded))
    assert raised.value.headers["retry-after"] == "3"
