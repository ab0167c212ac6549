"""Each service's request is as its API has it, and an answer counts only if it is whole."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from families.service_peers import ANSWERS, BEST_FIRST, TEXTS, score_of
from resift.errors import InputError
from resift.rerank.families.services.known import SERVICES, service_named
from resift.rerank.families.services.service import checked, logit_of

BODIES = {
    "cohere": {"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 2},
    "jina": {
        "model": "m", "query": "q", "documents": ["a", "b"], "top_n": 2, "return_documents": False
    },
    "voyage": {
        "model": "m", "query": "q", "documents": ["a", "b"], "return_documents": False,
        "truncation": True,
    },
    "tei": {"model": "m", "query": "q", "texts": ["a", "b"], "truncate": True, "raw_scores": True},
    "vllm": {"model": "m", "query": "q", "documents": ["a", "b"], "truncate_prompt_tokens": -1},
    "resift": {"model": "m", "query": "q", "documents": ["a", "b"], "exact": True,
               "fusion_weight": 0},
}  # fmt: skip


@pytest.mark.parametrize("name", SERVICES)
def test_a_request_has_the_fields_of_the_api(name: str) -> None:
    assert SERVICES[name].body("m", "q", ["a", "b"]) == BODIES[name]


@pytest.mark.parametrize("name", ["tei", "vllm", "resift"])
def test_a_server_with_one_model_needs_no_name(name: str) -> None:
    assert "model" not in SERVICES[name].body(None, "q", ["a"])


@pytest.mark.parametrize("name", SERVICES)
def test_scores_come_in_the_order_of_the_texts_with_the_tokens(name: str) -> None:
    service = SERVICES[name]
    response = json.loads(json.dumps(ANSWERS[name](service.body("m", "q", TEXTS))))
    answer = service.answer(response, len(TEXTS))
    assert list(answer.scores) == [score_of(text) for text in TEXTS]
    assert answer.tokens == (0 if name == "tei" else 42)


def _changed(name: str, change: Any) -> Any:
    """The usual answer after a change of its list of results."""
    response = ANSWERS[name](SERVICES[name].body("m", "q", TEXTS))
    results = response if name == "tei" else next(
        response[key] for key in ("results", "data", "hits") if key in response
    )  # fmt: skip
    changed = change(results)
    if changed is None:
        return response
    return changed if name == "tei" else {**response, "results": changed, "data": changed,
                                          "hits": changed}  # fmt: skip


def _set(number: int, field: str, value: Any) -> Any:
    def change(results: Any) -> None:
        key = field if field == "index" else next(
            name for name in ("relevance_score", "logit", "score") if name in results[0]
        )  # fmt: skip
        results[number][key] = value

    return change


WRONG = {
    "fewer": lambda results: results[:-1],
    "more": lambda results: [*results, dict(results[0])],
    "none": lambda results: [],
    "no list": lambda results: {"0": 1},
    "no objects": lambda results: [1, 2, 3, 4],
    "repeated": _set(0, "index", 0),
    "too high": _set(0, "index", 4),
    "negative": _set(0, "index", -1),
    "text index": _set(0, "index", "1"),
    "float index": _set(0, "index", 1.0),
    "true index": _set(0, "index", True),
    "no index": _set(0, "index", None),
    "nan": _set(0, "score", math.nan),
    "infinite": _set(0, "score", math.inf),
    "text": _set(0, "score", "0.5"),
    "true": _set(0, "score", True),
    "null": _set(0, "score", None),
    "huge": _set(0, "score", 10**400),
}


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_that_is_not_whole_is_refused(name: str, wrong: str) -> None:
    with pytest.raises(ValueError):
        SERVICES[name].answer(_changed(name, WRONG[wrong]), len(TEXTS))


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("response", [None, 3, "x", [], {}, {"results": None}, [[]], {"a": 1}])
def test_an_answer_of_another_kind_is_refused(name: str, response: Any) -> None:
    with pytest.raises(ValueError):
        SERVICES[name].answer(response, len(TEXTS))


@pytest.mark.parametrize("score", [-0.01, 1.01, 8.3])
def test_a_score_out_of_range_is_refused_where_the_range_is_promised(score: float) -> None:
    for name, service in SERVICES.items():
        answer = service.answer(_changed(name, _set(0, "score", score)), len(TEXTS))
        scale = service.scale("m")
        if scale == "logit":
            assert name in ("tei", "resift") and checked(answer, scale) is answer
        else:
            with pytest.raises(ValueError, match="expected 0 to 1"):
                checked(answer, scale)


def test_cosines_of_jinas_third_model_are_from_minus_one() -> None:
    jina = SERVICES["jina"]
    assert jina.scale("jina-reranker-v3") == "cosine"
    answer = jina.answer(_changed("jina", _set(0, "score", -0.4)), len(TEXTS))
    assert checked(answer, "cosine") is answer
    assert logit_of(-0.4, "cosine") < 0 < logit_of(0.4, "cosine")


@pytest.mark.parametrize("status", ["late", "failed", "not_reranked", "nonsense", None])
def test_a_server_of_ours_that_left_a_document_out_gives_no_ranking(status: Any) -> None:
    def change(hits: Any) -> None:
        hits[0].update(status=status, logit=None)

    with pytest.raises(ValueError, match="expected a score for each"):
        SERVICES["resift"].answer(_changed("resift", change), len(TEXTS))


def test_a_server_of_ours_says_what_it_read() -> None:
    def change(hits: Any) -> None:
        hits[0].update(status="cut", tokens_dropped=7, dropped_counted=False)
        hits[1].update(status="empty", logit=None)

    answer = SERVICES["resift"].answer(_changed("resift", change), len(TEXTS))
    first, second = BEST_FIRST[:2]
    assert answer.statuses[first] == "cut" and answer.scores[second] is None
    row = answer.rows[first]
    assert (row.seen, row.dropped, row.counted, row.end) == (3, 7, False, len(TEXTS[first]))


@given(st.lists(st.floats(0, 1), min_size=2))
def test_logits_keep_the_order_and_equal_scores_stay_equal(scores: list[float]) -> None:
    logits = [logit_of(score, "probability") for score in scores]
    assert all(math.isfinite(logit) for logit in logits)
    for score, logit in zip(scores, logits, strict=True):
        for other, other_logit in zip(scores, logits, strict=True):
            if score == other:
                assert logit == other_logit
            elif score < other:
                assert logit <= other_logit


def test_a_limit_of_tei_is_read_and_nonsense_is_not() -> None:
    read = SERVICES["tei"].max_documents_of
    assert read({"max_client_batch_size": 64}) == 64
    assert read({"max_client_batch_size": 10**9}) == 1_000
    nonsense: list[Any] = [{}, None, [], {"max_client_batch_size": "x"}]
    assert [read(info) for info in nonsense] == [None] * 4


def test_an_unknown_service_is_refused_with_those_there_are() -> None:
    for name in ("coher", None, 3):
        with pytest.raises(InputError, match="expected one of cohere, jina, voyage, tei, vllm"):
            service_named(name)
