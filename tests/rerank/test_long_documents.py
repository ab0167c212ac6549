"""A long document read in windows has its best window's logit and span, whatever the model.

In any list, from a cache, under a deadline and with early exit; what was not read is counted.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from artifacts import WordCountModel, make_exits_artifact
from resift import Candidate, Document, Hit, Reranker
from resift.errors import InputError, RuntimeFailure
from resift.rerank import call as call_module
from resift.rerank import long_documents as long_documents_module
from resift.rerank.artifact import Exit
from resift.rerank.caches import PairCache
from resift.rerank.deadline import Deadline
from resift.rerank.early_exit import EarlyExit
from resift.rerank.engine import Engine
from resift.rerank.models import Batch
from resift.rerank.ordering import Interpolation
from resift.rerank.state import CallState
from resift.rerank.windows import Sizes
from resift.settings import Settings

QUERY = "red blue"
FILLER = "The sky is grey today. "
LONG = FILLER * 40 + "A red and blue bird sang. " + FILLER * 20 + "A red fox ran. " + FILLER * 20
SOON = 30.0
TOPIC = "What is the capital of Australia?"
PROSE = "The committee met on Tuesday to discuss the annual budget. Many people came. " * 60
ANSWER = "The capital of Australia is Canberra, not Sydney. "


def steps_of(engine: Engine, texts: list[str], **options: object) -> CallState:
    deadline = options.pop("deadline", Deadline())
    return engine.run(
        engine.steps(QUERY, texts, deadline, long_documents="windows", **options)  # type: ignore[arg-type]
    )


def test_the_best_window_gives_the_logit_and_the_span() -> None:
    engine = Engine(WordCountModel())
    cut = engine.score(QUERY, [LONG])
    state = steps_of(engine, [LONG, "red"])
    assert cut.logits.tolist() == [0.5] and state.logits.tolist() == [2.5, 1.5]
    row = state.rows[0]
    assert "A red and blue bird sang." in LONG[row.start : row.end]
    assert engine.score(QUERY, [LONG[row.start : row.end]]).logits.tolist() == [2.5]
    assert row.windows == 4 and state.rows[1].windows == 0
    assert state.statuses == ["cut", "ok"]


def test_each_token_counts_once_as_read_or_not() -> None:
    engine = Engine(WordCountModel())
    total = engine.score(QUERY, [LONG]).rows[0]
    row = steps_of(engine, [LONG]).rows[0]
    assert row.seen + row.dropped == total.seen + total.dropped and row.counted
    assert 3 * 50 < row.seen <= 4 * 60


def test_a_document_whose_windows_are_all_read_is_ok() -> None:
    engine = Engine(WordCountModel())
    text = FILLER * 12
    state = steps_of(engine, [text])
    assert state.statuses == ["ok"] and state.rows[0].dropped == 0
    assert 1 < state.rows[0].windows <= 4
    assert state.rows[0].seen == 12 * 6


def test_short_documents_are_read_as_ever() -> None:
    engine = Engine(WordCountModel())
    texts = ["red", "", FILLER * 3, "blue red"]
    state, cut = steps_of(engine, texts), engine.score(QUERY, texts)
    assert state.statuses == cut.statuses and state.tokens == cut.tokens
    np.testing.assert_array_equal(state.logits, cut.logits)


def test_windows_share_batches_with_other_documents() -> None:
    model = WordCountModel()
    state = steps_of(Engine(model), [LONG, LONG.replace("fox", "cat"), *["grey sky " * 25] * 4])
    assert state.logits.tolist() == [2.5, 2.5] + [0.5] * 4
    assert max(size for _, size in model.calls) > 4


def test_portions_hold_whole_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """With memory for the states of a few rows only, the logits are the same."""
    texts = [LONG, "red", LONG.replace("bird", "red blue bird"), "blue red", LONG]
    engine = Engine(WordCountModel(), max_memory_mb=200.0011)
    state = steps_of(engine, texts)
    assert state.logits.tolist() == [2.5, 1.5, 4.5, 2.5, 2.5]
    assert [state.rows[n].windows for n in range(5)] == [4, 0, 4, 0, 4]


EXIT = Exit((0.001, 0.5, 0.999), (0.4, 0.5, 0.6), 100)


def test_an_early_exit_prunes_windows_that_cannot_be_the_best() -> None:
    model = WordCountModel()
    engine = Engine(model, [EXIT])
    state = steps_of(engine, [LONG], early_exit=EarlyExit(1, Interpolation(np.zeros(1)), 0.001))
    assert state.logits.tolist() == [2.5] and state.stages.tolist() == [2]
    assert sum(size for stage, size in model.calls if stage == 2) in (1, 2)  # they overlap
    assert not state.pruned.any() and state.rows[0].windows == 4


def test_a_document_is_pruned_with_all_its_windows() -> None:
    engine = Engine(WordCountModel(), [EXIT])
    best = "red blue " * 3
    exit_ = EarlyExit(1, Interpolation(np.zeros(2)), 0.001)
    state = steps_of(engine, [LONG, best], early_exit=exit_)
    assert state.pruned.tolist() == [True, False] and state.logits.tolist() == [2.0, 6.5]


def test_a_cached_score_is_that_of_the_mode() -> None:
    model = WordCountModel()
    engine = Engine(model, cache=PairCache("model", 1))
    cut = engine.score(QUERY, [LONG, "red"])
    first = steps_of(engine, [LONG, "red"])
    assert first.cached.tolist() == [False, True]  # a short document is the same in both modes
    calls = len(model.calls)
    again = steps_of(engine, ["red", LONG])
    assert again.cached.all() and len(model.calls) == calls
    assert again.logits.tolist() == first.logits.tolist()[::-1] == [1.5, 2.5]
    for name in ("start", "end", "seen", "dropped", "windows", "unknown"):
        assert getattr(again.rows[1], name) == getattr(first.rows[0], name)
    assert again.statuses == ["ok", "cut"]
    assert engine.score(QUERY, [LONG]).logits.tolist() == cut.logits.tolist()[:1]


def test_a_score_with_pruned_windows_is_kept_for_its_tolerance_only() -> None:
    engine = Engine(WordCountModel(), [EXIT], cache=PairCache("model", 1))
    narrow, wide = (EarlyExit(1, Interpolation(np.zeros(1)), level) for level in (0.5, 0.001))
    steps_of(engine, [LONG], early_exit=narrow)
    assert steps_of(engine, [LONG], early_exit=narrow).cached.all()
    assert not steps_of(engine, [LONG], early_exit=wide).cached.any()
    assert not steps_of(engine, [LONG]).cached.any()


def test_a_window_that_fails_costs_itself_and_its_score_is_not_kept() -> None:
    class Picky(WordCountModel):
        def _first(self, batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
            if any((row.ids == self.fox).any() for row in batch.rows):
                raise RuntimeFailure("no foxes")
            return super()._first(batch)

        @property
        def fox(self) -> int:
            return int(self._tokens._encode("fox").ids[0])

    engine = Engine(Picky(), cache=PairCache("model", 1))
    for _ in range(2):
        state = steps_of(engine, [LONG, "a fox"])
        assert state.logits[0] == 2.5 and np.isnan(state.logits[1])
        assert state.statuses == ["cut", "failed"] and state.rows[0].windows == 3
        assert state.partial and state.reason == "no foxes" and not state.cached.any()


class Gated(WordCountModel):
    """After the first `batches` each batch waits until the gate opens."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.gate, self.left = threading.Event(), batches

    def _first(self, batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
        if not self.left:
            assert self.gate.wait(SOON)
        self.left -= 1
        return super()._first(batch)


def test_under_a_deadline_each_document_has_its_best_matching_window_read_first() -> None:
    model = Gated(2)  # one of the first windows, one of the short document
    engine = Engine(model)
    engine._worker.throughput._tokens = 1e9
    state = steps_of(engine, [LONG, "red", LONG], deadline=Deadline(1500))
    model.gate.set()
    assert state.logits.tolist() == [2.0, 1.0, 2.0] and state.partial
    assert state.statuses == ["cut", "ok", "cut"]
    rows = [state.rows[0], state.rows[2]]
    assert [row.windows for row in rows] == [1, 1]
    assert all(row.seen <= 60 and row.dropped > 0 for row in rows)


def test_a_deadline_in_the_past_leaves_long_documents_late() -> None:
    state = steps_of(Engine(WordCountModel()), [LONG, "red"], deadline=Deadline(0))
    assert state.statuses == ["late", "late"] and np.isnan(state.logits).all()


def test_of_an_endless_document_a_bounded_part_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_documents_module, "MAX_DOCUMENT_TOKENS", 600)
    model = WordCountModel()
    engine = Engine(model)
    state = steps_of(engine, [FILLER * 90 + "red blue. " + FILLER * 9000, "red", FILLER * 200])
    assert state.logits.tolist() == [2.5, 1.5, 0.5]
    assert state.tokens < 9 * 64 and state.rows[0].dropped > 50_000
    late = steps_of(engine, [FILLER * 9000 + "red blue."])
    assert late.logits.tolist() == [0.5]


@pytest.fixture(scope="module", params=["late interaction", "cross-encoder"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str | Path:
    if request.param == "late interaction":
        return "bundled"
    return make_exits_artifact(tmp_path_factory.mktemp("exits"))


@pytest.fixture(scope="module")
def reranker(model: str | Path) -> Reranker:
    return Reranker(model, settings=Settings(cache_mb=5, state_cache_mb=0))


DOCUMENTS = [
    Document("late", PROSE + ANSWER + PROSE, "Minutes"),
    Document("early", ANSWER + PROSE),
    Document("none", PROSE * 2),
    Document("short", "Sydney is a city."),
]


def test_of_every_model_a_windows_logit_is_that_of_its_text(reranker: Reranker) -> None:
    ranking = reranker.rank(TOPIC, DOCUMENTS, long_documents="windows")
    assert ranking.receipt.windowed == 3
    assert ranking.receipt.windows == sum(hit.windows for hit in ranking)
    for hit in ranking:
        start, end = hit.span
        title = hit.title if not start else ""
        (alone,) = reranker.score(TOPIC, [Document("", hit.text[start:end], title)])
        assert hit.logit == pytest.approx(float(alone), abs=1e-5)
        assert hit.windows == (0 if hit.id == "short" else 4)
        assert hit.status == ("cut" if hit.tokens_dropped else "ok")
    assert {hit.id for hit in ranking if hit.tokens_dropped} >= {"late", "none"}


def test_logits_depend_on_no_neighbour_and_come_from_the_cache_alike(
    reranker: Reranker, model: str | Path
) -> None:
    together = reranker.score(TOPIC, DOCUMENTS, long_documents="windows")
    fresh = Reranker(model, settings=Settings(cache_mb=0, state_cache_mb=0))
    alone = [fresh.score(TOPIC, [item], long_documents="windows")[0] for item in DOCUMENTS]
    assert together.tolist() == alone
    assert fresh.score(TOPIC, DOCUMENTS[::-1], long_documents="windows").tolist() == alone[::-1]


def test_every_call_has_the_mode(reranker: Reranker) -> None:
    expected = reranker.rank(TOPIC, DOCUMENTS, long_documents="windows")
    key: Callable[[Hit], object] = lambda hit: (hit.id, hit.logit, hit.span, hit.windows)  # noqa: E731
    (many,) = reranker.rank_many([TOPIC], [DOCUMENTS], long_documents="windows")
    later = asyncio.run(reranker.arank(TOPIC, DOCUMENTS, long_documents="windows"))
    scored = reranker.score_candidates(TOPIC, DOCUMENTS, long_documents="windows").ranking()
    for ranking in (many, later, scored):
        assert [*map(key, ranking)] == [*map(key, expected)]
    assert all(hit.windows == 0 for hit in reranker.rank(TOPIC, DOCUMENTS))


def test_a_pruned_list_has_the_first_hits_of_the_exact_one(reranker: Reranker) -> None:
    exact = reranker.rank(TOPIC, DOCUMENTS, 2, exact=True, long_documents="windows")
    pruned = reranker.rank(TOPIC, DOCUMENTS, 2, tolerance=1e-4, long_documents="windows")
    assert [hit.id for hit in pruned] == [hit.id for hit in exact]
    again = reranker.rank(TOPIC, DOCUMENTS, 2, tolerance=1e-4, long_documents="windows")
    assert [(hit.id, hit.logit) for hit in again] == [(hit.id, hit.logit) for hit in pruned]


def test_an_explanation_is_of_the_window(reranker: Reranker) -> None:
    ranking = reranker.rank(TOPIC, DOCUMENTS, long_documents="windows")
    for index, hit in enumerate(ranking):
        explanation = ranking.explain(index)
        assert explanation.logit == pytest.approx(hit.logit, abs=1e-5)
        assert explanation.span == hit.span
        assert explanation.unread == len(hit.text) - (hit.span[1] - hit.span[0])
        for part in explanation.parts:
            if part.where == "text":
                assert hit.span[0] <= part.start and part.end <= hit.span[1]
                assert hit.text[part.start : part.end] == part.text


def test_the_sentence_that_matters_is_in_the_span(in_one_runtime: Reranker) -> None:
    ranking = in_one_runtime.rank(TOPIC, DOCUMENTS[:3], long_documents="windows")
    for hit in ranking[:2]:
        assert ANSWER.strip() in hit.text[slice(*hit.span)]
    assert ranking[2].id == "none"
    (strongest,) = ranking.explain(0).strongest(1)
    assert strongest.text == ANSWER


def test_a_hit_below_the_lowest_score_is_left_out(in_one_runtime: Reranker) -> None:
    ranking = in_one_runtime.rank(TOPIC, DOCUMENTS[:3], min_score=0.05, long_documents="windows")
    assert {hit.id for hit in ranking} == {"early", "late"}
    assert ranking.receipt.below_min_score == 1


def test_precomputed_documents_have_the_same_windows(in_one_runtime: Reranker) -> None:
    given = [
        replace(Candidate(item.id, item.text, item.title), precomputed=precomputed)
        for item, precomputed in zip(DOCUMENTS, in_one_runtime.precompute(DOCUMENTS), strict=True)
    ]
    expected = in_one_runtime.rank(TOPIC, DOCUMENTS, long_documents="windows")
    ranking = in_one_runtime.rank(TOPIC, given, long_documents="windows")
    assert [(hit.id, hit.logit, hit.span) for hit in ranking] == [
        (hit.id, hit.logit, hit.span) for hit in expected
    ]
    assert ranking.receipt.precomputed == 1  # the short document


def test_windows_that_were_read_lately_are_not_encoded_again() -> None:
    reranker = Reranker(settings=Settings(cache_mb=0, state_cache_mb=50))
    cut = reranker.rank(TOPIC, DOCUMENTS)  # its states are of other rows
    first = reranker.rank(TOPIC, DOCUMENTS, long_documents="windows")
    again = reranker.rank(TOPIC, DOCUMENTS, long_documents="windows")
    assert cut.receipt.precomputed == 0 and first.receipt.precomputed == 1
    assert again.receipt.precomputed == 4 and again.receipt.tokens == 0
    assert [(hit.id, hit.logit) for hit in again] == [(hit.id, hit.logit) for hit in first]


def test_another_mode_is_refused(in_one_runtime: Reranker) -> None:
    for mode in ("window", None, 1, ["cut"]):
        with pytest.raises(InputError, match=r"long_documents=.*: expected cut or windows"):
            in_one_runtime.rank(TOPIC, ["a"], long_documents=mode)  # type: ignore[arg-type]


def test_sizes_follow_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_documents_module, "SIZES", Sizes(20, 4, 100, 0))
    row = steps_of(Engine(WordCountModel()), [LONG]).rows[0]
    assert row.dropped == 0 and row.windows > 20
    assert row.end - row.start <= 20 * len("today ")


def test_under_a_deadline_less_is_looked_at_and_that_score_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(call_module, "HURRIED_TOKENS", 300)
    engine = Engine(WordCountModel(), cache=PairCache("model", 1))
    text = FILLER * 300 + "red blue."
    hurried = steps_of(engine, [text, LONG], deadline=Deadline(30_000))
    assert hurried.logits.tolist() == [0.5, 2.5] and not hurried.partial
    assert hurried.rows[0].dropped > 200 and not hurried.rows[0].counted
    full = steps_of(engine, [text, LONG])
    assert full.logits.tolist() == [2.5, 2.5] and not full.cached[0]
    again = steps_of(engine, [text, LONG], deadline=Deadline(30_000))
    assert again.logits.tolist() == [2.5, 2.5] and again.cached.all()


def test_blanks_before_a_text_are_in_the_span_of_its_first_part() -> None:
    row = steps_of(Engine(WordCountModel()), ["  red blue. " + FILLER * 40]).rows[0]
    assert row.start == 0 and row.windows == 4
