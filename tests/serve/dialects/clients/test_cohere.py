"""Cohere's own client, of v1 and v2, waiting and asynchronous."""

import asyncio
from typing import Any

import pytest

from resift import Reranker
from serve.dialects.clients.installed import KEY, installed

cohere = installed("cohere")

DOCUMENTS = ["The office is closed.", "Choose Settings and press Reset password.", "Salted hashes."]
QUERY = "reset my password"
ONCE = {"max_retries": 0}


def v2(url: str, key: str = KEY) -> Any:
    return cohere.ClientV2(key, base_url=url)


def v1(url: str, key: str = KEY) -> Any:
    return cohere.Client(key, base_url=url)


def ask(client: Any, **fields: Any) -> Any:
    return client.rerank(**{"model": "bundled", "query": QUERY, "documents": DOCUMENTS, **fields})


@pytest.mark.parametrize("below", ["/cohere", ""])
@pytest.mark.parametrize("connect", [v1, v2])
def test_a_ranking_is_the_librarys(
    server: str, below: str, connect: Any, in_one_runtime: Reranker
) -> None:
    answer = ask(connect(server + below), top_n=2)
    expected = in_one_runtime.rank(QUERY, DOCUMENTS, top_n=2)
    assert [(result.index, result.relevance_score) for result in answer.results] == [
        (hit.index, hit.score) for hit in expected
    ]


def test_v2_has_its_counts(server: str) -> None:
    answer = ask(v2(f"{server}/cohere"), max_tokens_per_doc=100, priority=1)
    assert answer.id and answer.meta.api_version.version == "2"
    assert answer.meta.billed_units.search_units == 1 and answer.meta.tokens.input_tokens > 0
    assert answer.meta.warnings is None
    assert ask(v2(server), documents=["a", ""]).meta.warnings == ["1 of 2 documents have no text"]


def test_v1_has_documents_fields_and_chunks(server: str) -> None:
    documents = [{"title": "Office", "body": "It is closed."}, {"title": "Reset", "body": "Press."}]
    answer = ask(
        v1(f"{server}/cohere"),
        documents=documents,
        rank_fields=["title", "body"],
        return_documents=True,
        max_chunks_per_doc=2,
    )
    assert answer.meta.api_version.version == "1"
    assert answer.results[0].index == 1 and answer.results[0].document.title == "Reset"
    texts = ask(v1(f"{server}/cohere"), return_documents=True).results
    assert texts[0].document.text == DOCUMENTS[1]


def test_the_asynchronous_clients_get_the_same(server: str) -> None:
    async def both() -> list[Any]:
        url = f"{server}/cohere"
        async with cohere.AsyncClientV2(KEY, base_url=url) as second:
            async with cohere.AsyncClient(KEY, base_url=url) as first:
                return [await ask(first), await ask(second)]

    for connect, answer in zip((v1, v2), asyncio.run(both()), strict=True):
        assert answer.results == ask(connect(f"{server}/cohere")).results


@pytest.mark.parametrize("connect", [v1, v2])
@pytest.mark.parametrize(
    ("fields", "name", "message"),
    [
        ({"documents": []}, "BadRequestError", "list of documents must not be empty"),
        ({"query": " "}, "BadRequestError", "query must not be empty or be only whitespace"),
        ({"model": "rerank-v3.5"}, "NotFoundError", "model 'rerank-v3.5' not found"),
    ],
)
def test_what_is_refused_raises_the_clients_own_error(
    server: str, connect: Any, fields: dict[str, Any], name: str, message: str
) -> None:
    with pytest.raises(getattr(cohere, name)) as raised:
        ask(connect(f"{server}/cohere"), **fields)
    assert message in raised.value.body["message"]


@pytest.mark.parametrize("connect", [v1, v2])
def test_a_key_decides_who_may_ask(guarded: str, connect: Any) -> None:
    assert ask(connect(f"{guarded}/cohere")).results
    with pytest.raises(cohere.UnauthorizedError) as raised:
        ask(connect(f"{guarded}/cohere", "another key, not known"))
    assert raised.value.body == {"message": "invalid api token"}


@pytest.mark.parametrize("connect", [v1, v2])
def test_too_much_work_says_when_to_come_again(overloaded: str, connect: Any) -> None:
    with pytest.raises(cohere.TooManyRequestsError) as raised:
        ask(connect(f"{overloaded}/cohere"), request_options=ONCE)
    assert raised.value.headers["retry-after"] == "3"
