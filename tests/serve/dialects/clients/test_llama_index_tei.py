"""LlamaIndex's postprocessor for TEI reads our ranks; what it makes of refusals."""

from typing import Any

import pytest

from resift import Reranker
from serve.dialects.clients.installed import KEY, installed

tei_rerank = installed("llama_index.postprocessor.tei_rerank")
schema = installed("llama_index.core.schema")

pytestmark = pytest.mark.filterwarnings("ignore")  # of its packages

QUERY = "how do I reset my password"
TEXTS = ["The office is closed.", "Choose Settings, then press Reset password.", "Salted hashes."]


def nodes(texts: list[str]) -> list[Any]:
    return [schema.NodeWithScore(node=schema.TextNode(text=text), score=0.5) for text in texts]


@pytest.mark.parametrize("prefix", ["", "/tei"])
def test_nodes_are_in_the_librarys_order(
    server: str, in_one_runtime: Reranker, prefix: str
) -> None:
    ranker = tei_rerank.TextEmbeddingInference(base_url=server + prefix, top_n=2)
    ranked = ranker.postprocess_nodes(nodes(TEXTS), query_str=QUERY)
    expected = in_one_runtime.rank(QUERY, TEXTS)[:2]
    assert [(row.node.text, row.score) for row in ranked] == [
        (hit.text, pytest.approx(hit.score)) for hit in expected
    ]


def test_an_empty_list_asks_nothing(server: str) -> None:
    ranker = tei_rerank.TextEmbeddingInference(base_url=server)
    assert ranker.postprocess_nodes([], query_str=QUERY) == []


def test_an_error_is_no_ranking(server: str) -> None:
    """It does not look at the status, and stumbles over the body of an error."""
    ranker = tei_rerank.TextEmbeddingInference(base_url=server)
    with pytest.raises(AssertionError):
        ranker.postprocess_nodes(nodes(TEXTS), query_str=" ")


def test_a_key_is_sent_as_it_is_given(guarded: str) -> None:
    options = {"base_url": f"{guarded}/tei", "top_n": 3}
    ranker = tei_rerank.TextEmbeddingInference(auth_token=f"Bearer {KEY}", **options)
    assert len(ranker.postprocess_nodes(nodes(TEXTS), query_str=QUERY)) == 3
    ranker = tei_rerank.TextEmbeddingInference(auth_token="Bearer wrong", **options)
    with pytest.raises(ValueError, match="Expecting value"):  # a 401 of TEI has no body
        ranker.postprocess_nodes(nodes(TEXTS), query_str=QUERY)
