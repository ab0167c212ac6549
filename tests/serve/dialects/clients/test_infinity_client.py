"""The client of infinity reads our answers, models and refusals."""

from typing import Any

import pytest

from resift import Reranker
from serve.dialects.clients.installed import KEY, installed

infinity_client = installed("infinity_client")
api = installed("infinity_client.api.default")
installed("infinity_client.api.default.rerank")
installed("infinity_client.api.default.models")
models = installed("infinity_client.models")
errors = installed("infinity_client.errors")

QUERY = "how do I reset my password"
TEXTS = ["The office is closed.", "Choose Settings, then press Reset password.", "Salted hashes."]


def ask(client: Any, **fields: Any) -> Any:
    body = models.RerankInput(**{"query": QUERY, "documents": TEXTS, **fields})
    return api.rerank.sync(client=client, body=body)


@pytest.fixture(params=["", "/infinity"])
def client(server: str, request: pytest.FixtureRequest) -> Any:
    with infinity_client.Client(server + request.param, raise_on_unexpected_status=True) as client:
        yield client


def test_a_ranking(client: Any, in_one_runtime: Reranker) -> None:
    result = ask(client, return_documents=True, top_n=2)
    expected = in_one_runtime.rank(QUERY, TEXTS, top_n=2)
    assert [row.index for row in result.results] == [hit.index for hit in expected]
    assert [row.relevance_score for row in result.results] == [hit.score for hit in expected]
    assert [row.document for row in result.results] == [hit.text for hit in expected]
    assert result.model == "bundled" and result.usage.total_tokens > 0
    assert result.additional_properties == {}


def test_logits_and_another_model(client: Any, in_one_runtime: Reranker) -> None:
    result = ask(client, raw_scores=True, model="second")
    expected = in_one_runtime.rank(QUERY, TEXTS)
    assert [row.relevance_score for row in result.results] == [hit.logit for hit in expected]
    assert result.model == "second"


def test_the_models(client: Any) -> None:
    answer = api.models.sync(client=client)
    first, second = answer.data
    assert first.id == "bundled" and first.stats["queue_fraction"] == 0
    assert first.capabilities == ["rerank"] and second.id == "second"


def test_an_empty_list_is_a_validation_error(client: Any) -> None:
    answer = ask(client, documents=[])
    assert isinstance(answer, models.HTTPValidationError)
    assert answer.detail[0].loc == ["body", "documents"]


def test_an_unknown_model_raises(client: Any) -> None:
    with pytest.raises(errors.UnexpectedStatus, match="this server has bundled, second") as raised:
        ask(client, model="big")
    assert raised.value.status_code == 400


def test_a_wrong_key_raises(guarded: str) -> None:
    options = {"base_url": f"{guarded}/infinity", "raise_on_unexpected_status": True}
    with (
        infinity_client.AuthenticatedClient(token="wrong", **options) as client,
        pytest.raises(errors.UnexpectedStatus, match="Unauthorized") as raised,
    ):
        ask(client)
    assert raised.value.status_code == 401
    with infinity_client.AuthenticatedClient(token=KEY, **options) as client:
        assert len(ask(client).results) == 3


def test_overload_raises(overloaded: str) -> None:
    options = {"base_url": f"{overloaded}/infinity", "raise_on_unexpected_status": True}
    with (
        infinity_client.Client(**options) as client,
        pytest.raises(errors.UnexpectedStatus, match=r"try again in 2\.5 s") as raised,
    ):
        ask(client)
    assert raised.value.status_code == 429
