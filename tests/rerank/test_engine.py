"""The engine scatters logits to their documents, and a fault affects its own row only."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from artifacts import WordCountModel
from clocks import step_until
from resift.errors import RuntimeFailure
from resift.rerank.batching import TOKEN_BUDGET, WAVE, padded_length
from resift.rerank.deadline import Deadline
from resift.rerank.engine import Engine
from resift.rerank.graph_runs import TokenStates
from resift.rerank.models import Batch, Stage
from resift.rerank.state import CallState
from resift.rerank.tokenization import TokenRow

QUERY = "red blue"
words = st.lists(st.sampled_from(["red", "blue", "green", "sky"]), min_size=1, max_size=50)


def _counted(text: str) -> float:
    """What `WordCountModel` gives for `QUERY` after both stages."""
    return sum(word in QUERY.split() for word in text.split()) + 0.5


class Saboteur(WordCountModel):
    """Does something to every batch of one stage that holds a certain number of tokens."""

    def __init__(self, stage: int, tokens: int, logit: float | None) -> None:
        super().__init__()
        self._tokens_at_fault, self._logit = tokens, logit
        stages = list(self.stages)
        stages[stage] = self._spoilt(stages[stage])
        self.stages = stages

    def _spoilt(self, stage: Stage) -> Stage:
        def spoilt(batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
            out, logits = stage(batch)
            for index, row in enumerate(batch.rows):
                if row.seen == self._tokens_at_fault:
                    if self._logit is None:
                        raise RuntimeFailure("the row at fault")
                    logits[index] = self._logit
            return out, logits

        return spoilt


@given(st.lists(words, max_size=40))
@settings(max_examples=40, deadline=None)
def test_every_logit_reaches_its_place_through_both_stages(documents: list[list[str]]) -> None:
    texts = [" ".join(document) for document in documents]
    state = Engine(WordCountModel()).score(QUERY, texts)
    assert state.logits.tolist() == [_counted(text) for text in texts]
    assert state.statuses == ["ok"] * len(texts)
    assert not state.partial and state.reason is None


def test_states_of_mixed_lengths_find_their_rows_again() -> None:
    texts = ["red " * (1 + index % 7 * 7) for index in range(60)]
    model = WordCountModel()
    state = Engine(model).score(QUERY, texts)
    assert state.logits.tolist() == [_counted(text) for text in texts]
    sizes = [size for stage, size in model.calls if stage == 1]
    assert len(sizes) > 1 and sum(sizes) == 60
    assert sizes == [size for stage, size in model.calls if stage == 2]


def test_batches_keep_to_the_token_budget() -> None:
    model = WordCountModel()
    Engine(model).score(QUERY, ["red"] * 200)
    full = TOKEN_BUDGET // padded_length(6)
    assert [size for stage, size in model.calls if stage == 1] == [full, full, 200 - 2 * full]


def test_tokens_and_positions_are_counted_in_the_first_stage_only() -> None:
    state = Engine(WordCountModel()).score(QUERY, ["red", "green sky"])
    assert state.tokens == (3 + 2 + 1) + (3 + 2 + 2)
    assert state.positions == 2 * 16
    assert state.padding_share == pytest.approx(1 - 13 / 32)


@pytest.mark.parametrize("stage", [0, 1])
def test_only_the_row_at_fault_fails_with_its_batch(stage: int) -> None:
    texts = ["red", "red red red", "blue", "green sky", "sky"]
    state = Engine(Saboteur(stage, tokens=3, logit=None)).score(QUERY, texts)
    _one_is_spoilt(state, stage)
    assert np.delete(state.logits, 1).tolist() == [1.5, 1.5, 0.5, 0.5]
    assert state.partial and state.reason == "the row at fault"


@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("logit", [float("nan"), float("inf"), float("-inf")])
def test_a_logit_that_is_no_number_is_that_rows_alone(stage: int, logit: float) -> None:
    texts = ["red", "red red red", "blue"]
    state = Engine(Saboteur(stage, tokens=3, logit=logit)).score(QUERY, texts)
    _one_is_spoilt(state, stage)
    assert state.logits[[0, 2]].tolist() == [1.5, 1.5]
    assert state.partial and "finite" in str(state.reason)


def _one_is_spoilt(state: CallState, stage: int) -> None:
    """The second row failed, or has the logit of the first stage."""
    statuses = state.statuses.copy()
    assert statuses.pop(1) == ("failed" if stage == 0 else "ok")
    assert set(statuses) == {"ok"}
    np.testing.assert_equal(float(state.logits[1]), np.nan if stage == 0 else 3.0)


def test_a_row_that_failed_does_not_go_on_to_the_next_stage() -> None:
    model = Saboteur(0, tokens=3, logit=float("nan"))
    Engine(model).score(QUERY, ["red", "red red red", "blue"])
    assert model.calls == [(1, 3), (2, 2)]


def test_when_time_was_up_before_the_start_all_are_late() -> None:
    model = WordCountModel()
    state = Engine(model).score(QUERY, ["red", "", "blue"], Deadline(budget_ms=0))
    assert state.statuses == ["late", "empty", "late"]
    assert np.isnan(state.logits).all()
    assert state.partial and state.reason == "time was up"
    assert model.calls == []


def test_time_that_ends_between_stages_leaves_the_first_estimate() -> None:
    state = step_until(WordCountModel(), 1, QUERY, ["red", "green"])
    assert state.logits.tolist() == [1.0, 0.0]
    assert state.statuses == ["ok", "ok"]
    assert state.partial and state.reason == "time was up"


def test_a_deadline_takes_candidates_in_waves_of_the_first_stages_order() -> None:
    texts = ["red"] * WAVE + ["blue " * 40] * WAVE
    state = step_until(WordCountModel(), 1, QUERY, texts)
    assert state.statuses == ["ok"] * WAVE + ["late"] * WAVE
    assert state.logits[:WAVE].tolist() == [1.0] * WAVE


def test_a_deadline_takes_the_first_candidate_before_longer_ones() -> None:
    texts = ["red", *["blue " * 40] * (WAVE - 1)]
    model = WordCountModel()
    state = step_until(model, 1, QUERY, texts)
    assert model.calls[0] == (1, 1)
    assert state.statuses[0] == "ok" and state.logits[0] == 1.0


def test_without_a_deadline_the_longest_go_first() -> None:
    model = WordCountModel()
    state = Engine(model).score(QUERY, ["red"] * WAVE + ["blue " * 40] * 20)
    assert model.calls == [(1, 20), (1, WAVE), (2, 20), (2, WAVE)]
    assert state.positions == 20 * 48 + WAVE * 16


def test_a_deadline_that_does_not_pass_changes_no_logit() -> None:
    texts = ["red " * (1 + index % 9) for index in range(50)]
    engine = Engine(WordCountModel())
    free = engine.score(QUERY, texts)
    bound = engine.score(QUERY, texts, Deadline(budget_ms=60_000))
    assert bound.logits.tolist() == free.logits.tolist()
    assert not bound.partial


def test_what_cannot_be_read_affects_no_other() -> None:
    texts: Sequence[object] = ["red", "", " \n\t", None, b"red", 7, "red \udcff", "\u200b", "blue"]
    model = WordCountModel()
    state = Engine(model).score(QUERY, texts)
    unread = ["empty", "empty", "not_text", "not_text", "not_text", "not_text", "empty"]
    assert state.statuses == ["ok", *unread, "ok"]
    assert state.logits[[0, 8]].tolist() == [1.5, 1.5]
    assert np.isnan(state.logits[1:8]).all()
    assert not state.partial
    assert model.calls == [(1, 2), (2, 2)]


def test_an_over_long_text_is_cut_and_scored() -> None:
    state = Engine(WordCountModel()).score(QUERY, ["red " * 100, "blue"])
    assert state.statuses == ["cut", "ok"]
    seen = state.rows[0].seen
    assert seen + state.rows[0].dropped == 100
    assert state.logits.tolist() == [seen + 0.5, 1.5]


def test_query_states_that_fail_fail_the_readable_texts_and_raise_nothing() -> None:
    class NoStates(WordCountModel):
        def query_states(self, query: TokenRow) -> TokenStates | None:
            raise RuntimeFailure("no states")

    model = NoStates()
    state = Engine(model).score(QUERY, ["red", "", None])
    assert state.statuses == ["failed", "empty", "not_text"]
    assert state.partial and state.reason == "no states"
    assert model.calls == []


def test_no_texts_are_no_work() -> None:
    model = WordCountModel()
    state = Engine(model).score(QUERY, [])
    assert state.logits.shape == (0,)
    assert state.padding_share == 0.0
    assert list(state.timings_ms) == ["tokenise"]
    assert model.calls == []
