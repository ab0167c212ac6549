"""LiteLLM reads our answers as those of vLLM, infinity and TEI, and raises its own errors."""

from typing import Any

import pytest

from resift import Reranker
from serve.dialects.clients.installed import KEY, installed

QUERY = "how do I reset my password"
TEXTS = ["The office is closed.", "Choose Settings, then press Reset password.", "Salted hashes."]

pytestmark = pytest.mark.filterwarnings("ignore")  # of its packages


@pytest.fixture(scope="module")
def litellm() -> Any:
    return installed("litellm")


PROVIDERS = [
    ("hosted_vllm/bundled", "/vllm"),
    ("hosted_vllm/bundled", ""),
    ("infinity/bundled", "/infinity"),
    ("huggingface/bundled", "/tei"),
    ("huggingface/bundled", ""),
]


def ask(litellm: Any, url: str, model: str, **fields: Any) -> Any:
    options = {"query": QUERY, "documents": TEXTS, "api_key": KEY, **fields}
    return litellm.rerank(model=model, api_base=url, **options)


@pytest.mark.parametrize(("model", "prefix"), PROVIDERS)
def test_a_ranking(
    litellm: Any, server: str, in_one_runtime: Reranker, model: str, prefix: str
) -> None:
    answer = ask(litellm, server + prefix, model, return_documents=True)
    expected = in_one_runtime.rank(QUERY, TEXTS)
    assert [(row["index"], row["relevance_score"]) for row in answer.results] == [
        (hit.index, hit.score) for hit in expected
    ]
    assert [row["document"]["text"] for row in answer.results] == [hit.text for hit in expected]


@pytest.mark.parametrize(("model", "prefix"), PROVIDERS)
def test_a_refusal_raises_with_our_words(
    litellm: Any, server: str, model: str, prefix: str
) -> None:
    """Of these providers LiteLLM has one error for all statuses."""
    with pytest.raises(litellm.APIConnectionError, match="query: empty"):
        ask(litellm, server + prefix, model, query=" ")


@pytest.mark.parametrize(("model", "prefix"), PROVIDERS)
def test_a_wrong_key_raises(litellm: Any, guarded: str, model: str, prefix: str) -> None:
    assert len(ask(litellm, guarded + prefix, model).results) == 3
    with pytest.raises(litellm.APIConnectionError):
        ask(litellm, guarded + prefix, model, api_key="wrong")


@pytest.mark.parametrize("model", ["hosted_vllm/big", "infinity/big"])
def test_an_unknown_model_raises(litellm: Any, server: str, model: str) -> None:
    prefix = "/vllm" if model.startswith("hosted_vllm") else "/infinity"
    with pytest.raises(litellm.APIConnectionError, match="this server has bundled, second"):
        ask(litellm, server + prefix, model)


@pytest.mark.parametrize(("model", "prefix"), PROVIDERS)
def test_an_empty_list_raises(litellm: Any, server: str, model: str, prefix: str) -> None:
    with pytest.raises(litellm.APIConnectionError):
        ask(litellm, server + prefix, model, documents=[])


def test_a_long_text_is_an_error_of_tei_alone(litellm: Any, server: str) -> None:
    """LiteLLM asks TEI not to truncate, and leaves others their default."""
    long = ["Press Reset. " * 600]
    with pytest.raises(litellm.APIConnectionError, match="must have less than 512 tokens"):
        ask(litellm, server, "huggingface/bundled", documents=long)
    for model, prefix in (("hosted_vllm/bundled", "/vllm"), ("infinity/bundled", "/infinity")):
        assert len(ask(litellm, server + prefix, model, documents=long).results) == 1
