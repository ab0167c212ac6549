"""LlamaIndex's postprocessors of Jina and Cohere."""

import asyncio
from typing import Any

import pytest

from serve.dialects.clients.installed import KEY, installed

installed("llama_index.core")

TEXTS = ["The office is closed.", "Choose Settings and press Reset password.", "Salted hashes."]
QUERY = "reset my password"


def nodes() -> list[Any]:
    schema = installed("llama_index.core.schema")
    return [schema.NodeWithScore(node=schema.TextNode(text=text), score=0.5) for text in TEXTS]


CONNECTORS = {
    "/jina/v1": "jinaai_rerank.JinaRerank",
    "/v1": "jinaai_rerank.JinaRerank",
    "/cohere": "cohere_rerank.CohereRerank",
    "": "cohere_rerank.CohereRerank",
}


@pytest.fixture(params=CONNECTORS)
def connect(request: pytest.FixtureRequest) -> Any:
    """A function that makes the postprocessor for a path."""
    below = request.param
    package, name = CONNECTORS[below].split(".")
    module = installed(f"llama_index.postprocessor.{package}")

    def make(url: str, **options: Any) -> Any:
        options = {"api_key": KEY, "model": "bundled", "top_n": 2, **options}
        return getattr(module, name)(base_url=url + below, **options)

    return make


def test_nodes_are_ranked(server: str, connect: Any) -> None:
    given = nodes()
    best, second = connect(server).postprocess_nodes(given, query_str=QUERY)
    assert best.node.text == TEXTS[1] and best.score > second.score
    assert [node.score for node in given] == [0.5] * 3
    later = asyncio.run(connect(server).apostprocess_nodes(given, query_str=QUERY))
    assert [node.node.text for node in later] == [best.node.text, second.node.text]
    assert connect(server).postprocess_nodes([], query_str=QUERY) == []


def test_errors_are_those_of_the_postprocessor(server: str, guarded: str, connect: Any) -> None:
    named = connect(server).class_name()
    cohere = installed("cohere")
    expected = RuntimeError if named == "JinaRerank" else cohere.NotFoundError
    with pytest.raises(expected, match=r"[Mm]odel 'v3' not found"):
        connect(server, model="v3").postprocess_nodes(nodes(), query_str=QUERY)
    expected = RuntimeError if named == "JinaRerank" else cohere.UnauthorizedError
    with pytest.raises(expected, match=r"no valid key|invalid api token"):
        connect(guarded, api_key="another key, not known").postprocess_nodes(
            nodes(), query_str=QUERY
        )
