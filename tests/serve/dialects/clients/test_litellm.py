"""LiteLLM's rerank, which speaks Cohere's, Jina's and Voyage's dialects."""

import asyncio
from typing import Any

import pytest

from resift import Reranker
from serve.dialects.clients.installed import KEY, installed

litellm = installed("litellm")

# Its logs of a call are written by a loop that may have ended.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine 'Logging:RuntimeWarning")

TEXTS = ["The office is closed.", "Choose Settings and press Reset password.", "Salted hashes."]
QUERY = "reset my password"
BELOW = {"cohere": "/cohere", "jina_ai": "/jina", "voyage": "/voyage"}


@pytest.fixture(params=BELOW)
def provider(request: pytest.FixtureRequest) -> str:
    """LiteLLM replaces the path of Jina's URL, so that Jina is asked at the root."""
    name: str = request.param
    return name


def asked(provider: str, url: str, **fields: Any) -> dict[str, Any]:
    return {
        "model": f"{provider}/bundled",
        "query": QUERY,
        "documents": TEXTS,
        "api_base": url + BELOW[provider],
        "api_key": KEY,
        **fields,
    }


def test_a_ranking_is_the_librarys(server: str, provider: str, in_one_runtime: Reranker) -> None:
    answer = litellm.rerank(**asked(provider, server, top_n=2))
    expected = in_one_runtime.rank(QUERY, TEXTS, top_n=2)
    assert [(result["index"], result["relevance_score"]) for result in answer.results] == [
        (hit.index, hit.score) for hit in expected
    ]
    assert answer.meta["billed_units"]
    later = asyncio.run(litellm.arerank(**asked(provider, server, top_n=2)))
    assert [(result["index"], result["relevance_score"]) for result in later.results] == [
        (hit.index, hit.score) for hit in expected
    ]


def test_documents_come_back_where_the_dialect_returns_them(server: str, provider: str) -> None:
    best = litellm.rerank(**asked(provider, server, return_documents=True)).results[0]
    if provider == "cohere":  # v2 returns none
        assert "document" not in best
    else:
        assert best["document"] == {"text": TEXTS[1]}


def test_errors_of_cohere_are_litellms(server: str, guarded: str) -> None:
    """It knows them by Cohere's words, if it is told the provider by name."""
    named = {"model": "bundled", "custom_llm_provider": "cohere"}
    with pytest.raises(litellm.BadRequestError, match="list of documents must not be empty"):
        litellm.rerank(**asked("cohere", server, documents=[], **named))
    with pytest.raises(litellm.AuthenticationError, match="invalid api token"):
        litellm.rerank(**asked("cohere", guarded, api_key="another key, not known", **named))


def test_other_errors_have_the_services_words(server: str, guarded: str, provider: str) -> None:
    """It makes one class of them all."""
    with pytest.raises(litellm.APIConnectionError, match=r"another.*bundled"):
        litellm.rerank(**{**asked(provider, server), "model": f"{provider}/another"})
    with pytest.raises(litellm.APIConnectionError, match=r"key|token"):
        litellm.rerank(**asked(provider, guarded, api_key="another key, not known"))
    assert litellm.rerank(**asked(provider, guarded)).results
