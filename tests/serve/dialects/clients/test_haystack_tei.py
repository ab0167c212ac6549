"""Haystack's ranker for TEI reads our ranks, and raises its own error for refusals."""

from typing import Any

import pytest

from resift import Reranker
from serve.dialects.clients.installed import KEY, installed

rankers = installed("haystack_integrations.components.rankers.huggingface_api")
haystack = installed("haystack")
utils = installed("haystack.utils")

pytestmark = pytest.mark.filterwarnings("ignore")  # of its packages

QUERY = "how do I reset my password"
TEXTS = ["The office is closed.", "Choose Settings, then press Reset password.", "Salted hashes."]


def documents(texts: list[str]) -> list[Any]:
    return [haystack.Document(content=text) for text in texts]


def ranker(url: str, **options: Any) -> Any:
    options = {"max_retries": 1, "token": None, **options}
    return rankers.HuggingFaceTEIRanker(url=url, **options)


@pytest.mark.parametrize("raw", [False, True])
def test_documents_are_in_the_librarys_order(
    server: str, in_one_runtime: Reranker, raw: bool
) -> None:
    answer = ranker(server, top_k=2, raw_scores=raw).run(QUERY, documents(TEXTS))
    expected = in_one_runtime.rank(QUERY, TEXTS)[:2]
    assert [(row.content, row.score) for row in answer["documents"]] == [
        (hit.text, hit.logit if raw else hit.score) for hit in expected
    ]


def test_its_directions_of_truncation_are_known(server: str) -> None:
    left, right = rankers.TruncationDirection.LEFT, rankers.TruncationDirection.RIGHT
    for direction in (left, right):
        answer = ranker(server).run(QUERY, documents(TEXTS), truncation_direction=direction)
        assert len(answer["documents"]) == 3
    with pytest.raises(RuntimeError, match="cuts at the right only"):
        ranker(server).run(QUERY, documents(["Reset. " * 900]), truncation_direction=left)


def test_an_empty_list_asks_nothing(server: str) -> None:
    assert ranker(server).run(QUERY, []) == {"documents": []}


def test_a_refusal_raises_with_our_words(server: str) -> None:
    with pytest.raises(RuntimeError, match=r"query: empty.*Validation"):
        ranker(server).run(" ", documents(TEXTS))


def test_a_wrong_key_raises(guarded: str) -> None:
    right, wrong = utils.Secret.from_token(KEY), utils.Secret.from_token("wrong")
    answer = ranker(guarded, token=right).run(QUERY, documents(TEXTS))
    assert len(answer["documents"]) == 3
    with pytest.raises(RuntimeError, match="401 Unauthorized"):
        ranker(guarded, token=wrong).run(QUERY, documents(TEXTS))


def test_overload_raises_with_our_words(overloaded: str) -> None:
    with pytest.raises(RuntimeError, match=r"try again in 2\.5 s"):
        ranker(overloaded).run(QUERY, documents(TEXTS))
