"""Traps that other servers fell into, in each of Cohere's, Jina's and Voyage's dialects.

And `scored`, from which all dialects make their answers.
"""

from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from resift import Reranker
from resift.serve.dialects import cohere, jina, voyage
from resift.serve.dialects.scores import scored, warnings
from resift.serve.service import Service
from serve.dialects.asking import client_of
from serve.dialects.too_large import answer_to_a_large_body

DOCUMENTS = ["The office is closed.", "Choose Settings and press Reset password.", "Salted hashes."]
QUERY = "reset my password"


@dataclass(frozen=True)
class Asked:
    """A path of a dialect, asked with the names that it has for the same things."""

    client: TestClient
    path: str
    results: str = "results"
    top_n: str = "top_n"

    def __call__(self, documents: list[Any], **fields: Any) -> Any:
        if "top_n" in fields:
            fields[self.top_n] = fields.pop("top_n")
        body = {"model": "bundled", "query": QUERY, "documents": documents, **fields}
        return self.client.post(self.path, json=body)

    def scores(self, documents: list[Any], **fields: Any) -> list[tuple[int, float]]:
        """(index, score) of each result, in the order of the answer."""
        response = self(documents, **fields)
        assert response.status_code == 200, response.text
        results = response.json()[self.results]
        return [(result["index"], result["relevance_score"]) for result in results]


@pytest.fixture(scope="module", params=["cohere v2", "cohere v1", "jina", "voyage"])
def asked(request: pytest.FixtureRequest, service: Service) -> Asked:
    match request.param:
        case "cohere v2":
            return Asked(client_of(service, cohere.v1_router, cohere.v2_router), "/v2/rerank")
        case "cohere v1":
            return Asked(client_of(service, cohere.v1_router, cohere.v2_router), "/v1/rerank")
        case "jina":
            return Asked(client_of(service, jina.router), "/v1/rerank")
    return Asked(client_of(service, voyage.router), "/v1/rerank", "data", "top_k")


def test_results_are_sorted_by_score_and_say_which_document(asked: Asked) -> None:
    scores = asked.scores(DOCUMENTS)
    assert scores[0][0] == 1
    assert [score for _, score in scores] == sorted((score for _, score in scores), reverse=True)
    backwards = dict(asked.scores(DOCUMENTS[::-1]))
    assert {2 - index: score for index, score in backwards.items()} == dict(scores)


def test_equal_documents_have_equal_scores_in_the_order_of_the_request(asked: Asked) -> None:
    documents = [DOCUMENTS[0], DOCUMENTS[1], DOCUMENTS[0], DOCUMENTS[1]]
    scores = asked.scores(documents)
    assert [index for index, _ in scores] == [1, 3, 0, 2]
    assert scores[0][1] == scores[1][1] > scores[2][1] == scores[3][1]


def test_one_document_gives_a_list(asked: Asked) -> None:
    assert [index for index, _ in asked.scores(DOCUMENTS[:1])] == [0]


def test_a_document_without_words_costs_itself(asked: Asked) -> None:
    odd = [" \n", "\x00", "\u200b"] if asked.results == "data" else ["", " \n", "\x00"]
    scores = asked.scores([*odd, *DOCUMENTS])
    expected = [(index + 3, score) for index, score in asked.scores(DOCUMENTS)]
    assert scores[:3] == expected
    assert scores[3:] == [(0, 0), (1, 0), (2, 0)]
    assert "3 of 6 documents have no text" in asked([*odd, *DOCUMENTS]).headers["x-notes"]


def test_the_first_results_are_as_many_as_asked_for(asked: Asked) -> None:
    scores = asked.scores(DOCUMENTS)
    for top_n in (1, 2, 3, 99, 10**30):
        assert asked.scores(DOCUMENTS, top_n=top_n) == scores[:top_n]


def test_a_thousand_documents_are_ranked_in_one_request(asked: Asked) -> None:
    scores = asked.scores([f"office number {number}" for number in range(999)] + [DOCUMENTS[1]])
    assert scores[0][0] == 999
    assert sorted(index for index, _ in scores) == list(range(1_000))


def test_a_query_is_read_to_its_end_beside_a_long_document(asked: Asked) -> None:
    ending = "where is the button to " + QUERY
    long = "the office is closed on sundays " * 400
    with_ending = asked.scores([DOCUMENTS[1], long], query="please say " * 100 + ending)
    without = asked.scores([DOCUMENTS[1], long], query="please say " * 100)
    assert dict(with_ending)[1] != dict(without)[1]


def test_late_documents_are_last_with_the_score_0(asked: Asked) -> None:
    texts = [f"{number} " + "the office is closed " * 80 for number in range(1_000)]
    for fields in ({"timeout": 0.1}, {"timeout": 0.1, "top_n": 1_000}):
        response = asked(texts, **fields)
        assert "time was up" in response.headers["x-partial"]
        scores = [result["relevance_score"] for result in response.json()[asked.results]]
        assert scores == sorted(scores, reverse=True) and scores[-1] == 0 and len(scores) == 1_000
    assert "x-partial" not in asked(DOCUMENTS, timeout=60).headers


def test_headers_say_what_the_model_did(asked: Asked) -> None:
    headers = asked(DOCUMENTS).headers
    assert int(headers["x-compute-tokens"]) > 0 and headers["x-model-fingerprint"]
    assert "x-notes" not in headers and "x-partial" not in headers


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/cohere/v2/rerank", "message"),
        ("/cohere/v1/rerank", "message"),
        ("/v2/rerank", "message"),
        ("/jina/v1/rerank", "detail"),
        ("/voyage/v1/rerank", "detail"),
    ],
)
def test_problems_before_a_route_are_told_in_its_dialect(server: str, path: str, name: str) -> None:
    status, answer = answer_to_a_large_body(server, path)
    assert status == 413 and list(answer) == [name]
    for response, status in (
        (httpx2.get(server + path), 405),
        (httpx2.post(server + path, content=b"{"), 422 if path.startswith("/jina") else 400),
    ):
        assert (response.status_code, list(response.json())) == (status, [name])
    if path != "/v2/rerank":
        response = httpx2.post(f"{server}{path}/more", json={})
        assert response.status_code == 404 and name in response.json()


def test_no_score_is_above_the_one_before(in_one_runtime: Reranker) -> None:
    """A document of an earlier stage ranks behind the others, and may have a higher score."""
    ranking = in_one_runtime.rank(QUERY, DOCUMENTS)
    first, second, third = ranking
    second = replace(second, score=0.9, logit=2.0)
    hits = (replace(first, score=0.5, logit=0.0), second, replace(third, score=None, logit=None))
    mixed = replace(ranking, hits=hits)
    assert [entry.score for entry in scored(mixed)] == [0.5, 0.5, 0.0]
    assert [entry.score for entry in scored(mixed, raw=True)] == [0.0, 0.0, 0.0]
    assert [entry.index for entry in scored(mixed)] == [hit.index for hit in hits]


def test_a_hit_without_a_logit_has_the_lowest_of_them(in_one_runtime: Reranker) -> None:
    ranking = in_one_runtime.rank(QUERY, [*DOCUMENTS, ""])
    logits = [entry.score for entry in scored(ranking, raw=True)]
    assert logits[:3] == [hit.logit for hit in ranking][:3] and logits[3] == logits[2] < 0
    assert [entry.score for entry in scored(ranking)][3] == 0


def test_a_ranking_without_scores_has_zeros(in_one_runtime: Reranker) -> None:
    ranking = in_one_runtime.rank(QUERY, DOCUMENTS, budget_ms=0)
    assert [(entry.index, entry.score) for entry in scored(ranking)] == [
        (0, 0.0),
        (1, 0.0),
        (2, 0.0),
    ]
    assert [entry.score for entry in scored(ranking, raw=True)] == [0.0] * 3
    assert warnings(ranking.receipt)[0] == "not all documents were scored: time was up"
