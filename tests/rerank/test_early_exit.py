"""Candidates that can still reach the top go on, and the pruned ones could not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts import WordCountModel
from resift import Candidate, Reranker
from resift.errors import InputError
from resift.rerank.artifact import Exit
from resift.rerank.early_exit import EarlyExit, gain, survivors
from resift.rerank.engine import Engine
from resift.rerank.ordering import Interpolation
from resift.rerank.state import CallState
from texts import QUESTIONS, passages

QUERY = "red blue"
EXIT = Exit(levels=(0.01, 0.5, 0.99), gains=(-1.0, 0.0, 2.0), pairs=100)
HALF = Exit(levels=(0.001, 0.999), gains=(0.5, 0.5), pairs=100)

numbers = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=60)


@pytest.fixture(scope="module")
def bundled(in_one_runtime: Reranker) -> Reranker:
    """In one runtime: what is asked here is decided around it."""
    return in_one_runtime


def early_exit(top_n: int, size: int, tolerance: float = 0.01) -> EarlyExit:
    return EarlyExit(top_n, Interpolation(np.zeros(size)), tolerance)


def test_gains_between_two_levels_are_on_a_line() -> None:
    assert gain(EXIT, 0.01) == -1.0 and gain(EXIT, 0.255) == pytest.approx(-0.5)
    assert gain(EXIT, 0.0) == -1.0 and gain(EXIT, 1.0) == 2.0


@given(numbers, st.integers(1, 20), st.data())
def test_candidates_that_may_still_reach_the_top_goes_on(
    estimates: list[float], top_n: int, data: st.DataObject
) -> None:
    """Whatever the gains within the two tails turn out to be, the true first ones are there."""
    logits = np.array(estimates, np.float64)
    gains = data.draw(st.lists(st.floats(-1, 2), min_size=len(logits), max_size=len(logits)))
    surviving = survivors(
        early_exit(top_n, len(logits)),
        EXIT,
        range(len(logits)),
        logits,
        np.zeros(len(logits), bool),
    )
    truth = logits.astype(np.float64) + gains
    bar = sorted(truth, reverse=True)[min(top_n, len(truth)) - 1]
    assert {index for index, value in enumerate(truth) if value > bar + 1e-5} <= set(surviving)
    assert len(surviving) >= min(top_n, len(logits))


def test_those_far_behind_are_pruned() -> None:
    logits = np.array([9.0, 5.0, 6.1, 5.9, -3.0], np.float64)
    nobody = np.zeros(5, bool)
    assert survivors(early_exit(1, 5), EXIT, range(5), logits, nobody) == [0, 2]
    assert survivors(early_exit(1, 5, 0.5), EXIT, range(5), logits, nobody) == [0]
    assert survivors(early_exit(5, 5), EXIT, range(5), logits, nobody) == [0, 1, 2, 3, 4]


def test_the_first_stages_scores_count_in_the_early_exit() -> None:
    interpolation = np.array([0.0, 8.0], np.float64)
    logits, nobody = np.array([9.0, 5.0], np.float64), np.zeros(2, bool)
    assert survivors(
        EarlyExit(1, Interpolation(interpolation)), EXIT, range(2), logits, nobody
    ) == [1]


def test_a_final_logit_loses_nothing_more() -> None:
    logits, final = np.array([5.0, 2.5], np.float64), np.array([True, False])
    assert survivors(early_exit(1, 2), EXIT, [1], logits, final) == []
    assert survivors(early_exit(1, 2), EXIT, [1], logits, ~final) == [1]


def test_a_candidate_without_an_estimate_prunes_none() -> None:
    logits = np.array([5.0, np.nan], np.float64)
    assert survivors(early_exit(1, 2), EXIT, [0], logits, np.zeros(2, bool)) == [0]


def _step(
    texts: list[str], early_exit: EarlyExit | None, exits: tuple[Exit, ...] = (HALF,)
) -> CallState:
    return Engine(WordCountModel(), exits).score(QUERY, texts, early_exit=early_exit)


def test_the_engine_prunes_after_the_first_stage() -> None:
    texts = ["red " * (index + 1) for index in range(20)]
    model = WordCountModel()
    state = Engine(model, (HALF,)).score(QUERY, texts, early_exit=early_exit(3, 20))
    assert state.pruned.tolist() == [True] * 17 + [False] * 3
    assert state.stages.tolist() == [1] * 17 + [2] * 3
    assert state.logits.tolist() == [*range(1, 18), 18.5, 19.5, 20.5]
    assert sum(size for stage, size in model.calls if stage == 2) == 3
    assert not state.partial and state.statuses == ["ok"] * 20


def test_without_an_early_exit_or_without_an_exit_all_go_on() -> None:
    texts = ["red " * (index + 1) for index in range(20)]
    for state in (_step(texts, None), _step(texts, early_exit(3, 20), exits=())):
        assert not state.pruned.any() and state.stages.tolist() == [2] * 20


def test_pruned_candidates_stand_behind_and_the_receipt_counts_them(bundled: Reranker) -> None:
    texts = passages(60)
    whole = bundled.rank(QUESTIONS[0], texts, top_n=None)
    exact = bundled.rank(QUESTIONS[0], texts, top_n=3, exact=True)
    raced = bundled.rank(QUESTIONS[0], texts, top_n=3, tolerance=0.05)
    assert whole.receipt.pruned == exact.receipt.pruned == 0
    assert {hit.stages for hit in whole} == {2}
    assert 0 < raced.receipt.pruned < 60 and not raced.receipt.partial
    assert [hit.index for hit in raced] == [hit.index for hit in exact]
    assert [hit.index for hit in exact] == [hit.index for hit in whole[:3]]
    assert all(hit.stages == 2 for hit in raced)


def test_more_tolerance_prunes_more(bundled: Reranker) -> None:
    texts = [Candidate(str(n), text, score=float(-n)) for n, text in enumerate(passages(60))]
    pruned = [
        bundled.rank(QUESTIONS[1], texts, top_n=5, tolerance=tolerance).receipt.pruned
        for tolerance in (0.001, 0.05, 0.5)
    ]
    assert pruned == sorted(pruned) and pruned[0] < pruned[-1]


@pytest.mark.parametrize("tolerance", [0, -0.1, 0.6, float("nan"), "little"])
def test_a_tolerance_that_is_none_is_refused(bundled: Reranker, tolerance: float) -> None:
    with pytest.raises(InputError, match="tolerance="):
        bundled.rank(QUERY, ["red"], tolerance=tolerance)
