"""Documents become requests within a service's limits, and answers become scores of documents."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift import Candidate
from resift.rerank.families.requests_of import BODY_BYTES, chunks, readable_texts, scored_state
from resift.rerank.families.services.service import Answer


def _candidates(*texts: object) -> list[Candidate]:
    return [Candidate(str(index), text) for index, text in enumerate(texts)]  # type: ignore[arg-type]


def test_what_has_no_text_is_not_sent() -> None:
    candidates = _candidates("a", "", "  \n", None, b"x", "lone \ud800", "b", " " * 70_000)
    assert list(readable_texts(candidates)) == [(0, "a"), (6, "b")]


def test_the_title_comes_first_as_everywhere() -> None:
    candidates = [Candidate("1", "text", "Title"), Candidate("2", "", "Only a title")]
    assert dict(readable_texts(candidates)) == {0: "Title\ntext", 1: "Only a title\n"}


@given(
    st.lists(st.text(max_size=300), max_size=40),
    st.integers(1, 9),
    st.integers(2 * BODY_BYTES, 4 * BODY_BYTES),
)
def test_no_request_is_over_a_limit_and_nothing_is_lost(
    texts: list[str], most: int, max_bytes: int
) -> None:
    candidates = _candidates(*texts)
    requests = chunks("query", candidates, most, max_bytes)
    sent = [text for request in requests for text in request]
    assert [(text.index, text.text) for text in sent] == list(readable_texts(candidates))
    for request in requests:
        body = {"query": "query", "documents": [text.text for text in request]}
        assert 1 <= len(request) <= most
        assert len(json.dumps(body, ensure_ascii=False).encode()) <= max_bytes


@pytest.mark.parametrize("letter", ["a", "é", "\n", "😀"])
def test_a_text_that_no_request_holds_is_cut_and_marked(letter: str) -> None:
    candidates = _candidates("first", letter * 50_000, "last")
    candidates[1] = Candidate("1", f"x{letter * 50_000}")
    requests = chunks("q", candidates, 10, 5_000)
    sent = {text.index: text for request in requests for text in request}
    assert list(sent) == [0, 1, 2] and [sent[index].is_cut for index in sent] == [
        False,
        True,
        False,
    ]
    assert candidates[1].text.startswith(sent[1].text) and len(sent[1].text) > 500
    parts = [Answer([0.5] * len(request)) for request in requests]
    state = scored_state(candidates, requests, parts, "probability")
    assert state.statuses == ["ok", "cut", "ok"] and not state.logits.any()
    assert not state.rows[1].counted and state.rows[1].end == len(sent[1].text)


def test_answers_of_several_requests_are_put_together() -> None:
    candidates = _candidates("a", "", "b", "c", None, " " * 70_000)
    requests = chunks("q", candidates, 2, 100_000)
    assert [[text.index for text in request] for request in requests] == [[0, 2], [3]]
    parts = [Answer([3.0, None], 5, {1: "empty"}), Answer([1.0], 6)]
    state = scored_state(candidates, requests, parts, "logit")
    assert state.statuses == ["ok", "empty", "empty", "ok", "not_text", "empty"]
    assert state.logits.tolist()[::3] == [3.0, 1.0] and state.tokens == 11
