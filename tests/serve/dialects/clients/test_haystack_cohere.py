"""Haystack's ranker of Cohere."""

import asyncio
from typing import Any

import pytest

from serve.dialects.clients.installed import KEY, installed

haystack = installed("haystack")
rankers = installed("haystack_integrations.components.rankers.cohere")
cohere = installed("cohere")

TEXTS = ["The office is closed.", "Choose Settings and press Reset password.", "Salted hashes."]
QUERY = "reset my password"


def ranker(url: str, key: str = KEY, **options: Any) -> Any:
    secret = haystack.utils.Secret.from_token(key)
    options = {"model": "bundled", "top_k": 2, **options}
    return rankers.CohereRanker(api_key=secret, api_base_url=f"{url}/cohere", **options)


def test_documents_are_ranked(server: str) -> None:
    given = [haystack.Document(content=text, meta={"n": n}) for n, text in enumerate(TEXTS)]
    best, second = ranker(server).run(query=QUERY, documents=given)["documents"]
    assert best.content == TEXTS[1] and best.meta == {"n": 1} and best.score > second.score
    later = asyncio.run(ranker(server).run_async(query=QUERY, documents=given))["documents"]
    assert later == [best, second]
    (only,) = ranker(server).run(query=QUERY, documents=given, top_k=1)["documents"]
    assert only == best


def test_errors_are_those_of_coheres_client(server: str, guarded: str) -> None:
    given = [haystack.Document(content=text) for text in TEXTS]
    with pytest.raises(cohere.NotFoundError):
        ranker(server, model="rerank-v3.5").run(query=QUERY, documents=given)
    with pytest.raises(cohere.BadRequestError):
        ranker(server).run(query=QUERY, documents=[])
    with pytest.raises(cohere.UnauthorizedError):
        ranker(guarded, "another key, not known").run(query=QUERY, documents=given)
