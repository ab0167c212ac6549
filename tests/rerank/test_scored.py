"""What was read once gives the rankings that reading each depth and weight anew would give."""

import numpy as np
import pytest

from resift import Candidate, Ranking, Reranker
from resift.errors import InputError
from texts import passages

QUERY = "how do I keep an object from being deleted"


@pytest.fixture(scope="module")
def bundled(in_one_runtime: Reranker) -> Reranker:
    """In one runtime: what is asked here is decided around it."""
    return in_one_runtime


def _window(size: int) -> list[Candidate]:
    texts = passages(size, 300)
    texts[3] = ""
    return [Candidate(str(n), text, rank=n + 1, score=30.0 - n) for n, text in enumerate(texts)]


def _places(ranking: Ranking) -> list[tuple[str, str]]:
    return [(hit.id, hit.status) for hit in ranking]


def _logits(ranking: Ranking) -> list[float]:
    return [np.nan if hit.logit is None else hit.logit for hit in ranking]


@pytest.mark.parametrize("weight", [None, 0.0, 2.0])
@pytest.mark.parametrize("depth", [1, 5, 12, None])
def test_any_depth_and_weight_is_what_ranking_it_gives(
    bundled: Reranker, depth: int | None, weight: float | None
) -> None:
    window = _window(12)
    scored = bundled.score_candidates(QUERY, window)
    derived = scored.ranking(depth=depth, fusion_weight=weight)
    order = scored.order(depth=depth, fusion_weight=weight)
    assert order == [hit.index for hit in derived]
    ranked = bundled.rank(QUERY, window[:depth], None, fusion_weight=weight)
    assert _places(derived) == _places(ranked)
    np.testing.assert_allclose(_logits(derived), _logits(ranked), atol=2e-4)
    assert derived.receipt.depth == ranked.receipt.depth
    assert derived.receipt.scored == ranked.receipt.scored
    assert derived.receipt.tokens == ranked.receipt.tokens


def test_reading_in_steps_changes_nothing_but_the_clock(joint: Reranker) -> None:
    window = _window(10)
    whole, steps = (
        joint.score_candidates(QUERY, window),
        joint.score_candidates(QUERY, window, steps=(7, 2, 40)),
    )
    assert _places(whole.ranking()) == _places(steps.ranking())
    np.testing.assert_allclose(
        _logits(whole.ranking()), _logits(steps.ranking()), atol=2e-4, equal_nan=True
    )
    assert list(steps.took_ms) == [2, 7, 10] and list(whole.took_ms) == [10]
    assert sorted(steps.took_ms.values()) == list(steps.took_ms.values())
    assert steps.ranking().receipt.tokens == whole.ranking().receipt.tokens


def test_the_order_is_by_what_the_hits_say_it_is(bundled: Reranker) -> None:
    hits = [hit for hit in bundled.rank(QUERY, _window(12), None) if hit.logit is not None]
    sums = [hit.logit + hit.fusion + hit.feedback for hit in hits if hit.logit is not None]
    assert sums == sorted(sums, reverse=True)
    assert any(hit.fusion for hit in hits) and any(hit.feedback for hit in hits)


def test_a_depth_below_one_is_refused(bundled: Reranker) -> None:
    with pytest.raises(InputError, match="depth=0"):
        bundled.score_candidates(QUERY, ["a text"]).ranking(depth=0)
