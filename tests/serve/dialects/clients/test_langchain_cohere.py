"""LangChain's compressor of Cohere."""

import asyncio
from typing import Any

import pytest

from serve.dialects.clients.installed import KEY, installed

langchain_cohere = installed("langchain_cohere")
documents = installed("langchain_core.documents")
cohere = installed("cohere")

TEXTS = ["The office is closed.", "Choose Settings and press Reset password.", "Salted hashes."]
QUERY = "reset my password"


def compressor(url: str, **options: Any) -> Any:
    return langchain_cohere.CohereRerank(
        **{"cohere_api_key": KEY, "base_url": f"{url}/cohere", "model": "bundled", **options}
    )


def test_documents_are_compressed_and_not_changed(server: str) -> None:
    given = [documents.Document(text, metadata={"n": n}) for n, text in enumerate(TEXTS)]
    best, second = compressor(server, top_n=2).compress_documents(given, QUERY)
    assert best.page_content == TEXTS[1] and best.metadata["n"] == 1
    assert best.metadata["relevance_score"] > second.metadata["relevance_score"]
    assert [document.metadata for document in given] == [{"n": 0}, {"n": 1}, {"n": 2}]
    later = asyncio.run(compressor(server, top_n=2).acompress_documents(given, QUERY))
    assert list(later) == [best, second]


def test_objects_are_ranked_as_yaml(server: str) -> None:
    objects = [{"title": "Office", "page": 3}, {"title": "Reset password", "page": 4}]
    results = compressor(server).rerank(objects, QUERY, rank_fields=["title"], top_n=None)
    assert [result["index"] for result in results] == [1, 0]
    assert compressor(server).rerank([], QUERY) == []


def test_errors_are_those_of_coheres_client(server: str, guarded: str) -> None:
    with pytest.raises(cohere.NotFoundError):
        compressor(server, model="rerank-v3.5").rerank(TEXTS, QUERY)
    with pytest.raises(cohere.UnauthorizedError):
        compressor(guarded, cohere_api_key="another key, not known").rerank(TEXTS, QUERY)
