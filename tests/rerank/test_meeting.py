"""The meeting adds to the first exit's logit what its graph says, and what spoils it costs no more.

A pair's logit is its own; where a meeting cannot be had, the first exit's logit stands.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from artifacts import DIM
from clocks import step_until
from resift import Reranker
from resift.errors import ArtifactError, RuntimeFailure
from resift.rerank.artifact import Artifact, load_artifact, write_manifest
from resift.rerank.batching import WAVE, padded_length
from resift.rerank.engine import Engine
from resift.rerank.late_interaction import features, query_states
from resift.rerank.models import (
    Batch,
    CrossAttentionStage,
    LateInteractionModel,
    LateInteractionStage,
    cross_attention_feeds,
    encode,
    load_model,
    run,
)
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import pad
from resift.settings import Settings
from split_artifacts import FILES, LATE, WORDS, make_split_artifact

PRECISION = 1e-5
QUERY = " ".join(WORDS[5:9])

Floats = NDArray[np.float32]


def made_texts() -> list[str]:
    """Texts of 1 to 90 words, some of them the query's."""
    rng = np.random.default_rng(4)
    words = [*WORDS, *(QUERY.split() * 10)]
    return [" ".join(rng.choice(words, length)) for length in (*rng.integers(1, 30, 36), 60, 90)]


TEXTS = made_texts()
ALIKE = [" ".join(text.split()[:12]) for text in TEXTS]  # a wave of them is one batch


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_split_artifact(tmp_path_factory.mktemp("split") / "model")


@pytest.fixture(scope="session")
def artifact(folder: Path) -> Artifact:
    return load_artifact(folder)


@pytest.fixture(scope="session")
def early(runtime: str, tmp_path_factory: pytest.TempPathFactory) -> Reranker:
    """The same encoder and late interaction with no meeting above them."""
    folder = make_split_artifact(tmp_path_factory.mktemp("early"), meeting=False)
    return Reranker(folder, settings=Settings(runtime=runtime))


@pytest.fixture(scope="session")
def reranker(runtime: str, folder: Path) -> Reranker:
    return Reranker(folder, settings=Settings(runtime=runtime))


@pytest.fixture
def model(runtime: str, artifact: Artifact) -> LateInteractionModel:
    """A model of its own, whose stages a test may replace."""
    return cast(LateInteractionModel, load_model(artifact, runtime))


def spoilt(model: LateInteractionModel, spoil: Callable[[Sequence[int], Floats], None]) -> Engine:
    """The model with something done to the logits of the meeting, given its rows' lengths."""
    first, meeting = model.stages

    def stage(batch: Batch) -> tuple[Batch, Floats]:
        out, logits = meeting(batch)
        spoil([len(row.ids) for row in batch.rows], logits)
        return out, logits

    model.stages = [first, stage]
    return Engine(model)


def test_a_split_model_of_two_files_has_two_stages(model: LateInteractionModel) -> None:
    first, second = model.stages
    assert isinstance(first, LateInteractionStage) and isinstance(second, CrossAttentionStage)
    assert first.weights == LATE


def test_logits_are_the_first_exits_and_the_residual(
    runtime: str, artifact: Artifact, model: LateInteractionModel, reranker: Reranker
) -> None:
    encoder, _, meeting = (open_session(stage, runtime) for stage in artifact.stages)
    found = reranker.score(QUERY, TEXTS)
    half = model.query_states(model.query_row(QUERY))
    residuals = []
    for text, logit in zip(TEXTS, found, strict=True):
        rows = model.rows(model.query_row(QUERY), [text])
        kept = encode(encoder, rows)
        own, read = (states.astype(np.float32)[..., -DIM:] for states in (half, kept))
        first = LATE.logits(features(query_states(own), read, pad(rows)["attention_mask"]))
        feeds = cross_attention_feeds([half], kept, rows) | {"logits": first}
        residual = run(meeting, feeds)["residual"]
        assert residual.shape == (1,) and residual.dtype == np.float32
        assert logit == pytest.approx(float(first[0] + residual[0]), abs=PRECISION)
        residuals.append(float(residual[0]))
    assert np.std(residuals) > 100 * PRECISION and np.min(np.abs(residuals)) > 100 * PRECISION


def test_the_first_exit_is_a_model_without_a_meeting(
    model: LateInteractionModel, early: Reranker, reranker: Reranker
) -> None:
    engine = Engine(model)
    model.stages = model.stages[:1]
    logits = early.score(QUERY, TEXTS)
    assert engine.score(QUERY, TEXTS).logits.tolist() == logits.tolist()
    assert np.abs(reranker.score(QUERY, TEXTS) - logits).min() > PRECISION
    assert early.fingerprint != reranker.fingerprint


def test_a_pair_has_the_same_logit_alone_and_among_others(reranker: Reranker) -> None:
    together = reranker.score(QUERY, TEXTS)
    alone = [float(reranker.score(QUERY, [text])[0]) for text in TEXTS]
    np.testing.assert_allclose(together, alone, atol=PRECISION, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_input_does_not_matter(seed: int, reranker: Reranker) -> None:
    together = reranker.score(QUERY, TEXTS)
    order = np.random.default_rng(seed).permutation(len(TEXTS))
    found = reranker.score(QUERY, [TEXTS[place] for place in order])
    np.testing.assert_allclose(found, together[order], atol=PRECISION, rtol=0)


@pytest.mark.parametrize("more", [16, 64])
def test_padding_changes_nothing(more: int, runtime: str, model: LateInteractionModel) -> None:
    """Neither the query's nor the documents', whatever stands in it."""
    prompt = model.query_row(QUERY)
    half, rows = model.query_states(prompt), model.rows(prompt, TEXTS[:5])
    first, meeting = model.stages
    batch, logits = first(Batch(rows, [half] * len(rows)))
    assert batch.states is not None and isinstance(meeting, CrossAttentionStage)
    feeds = cross_attention_feeds([half] * len(rows), batch.states, rows) | {"logits": logits}
    expected = run(meeting.session, feeds)["residual"]
    for names in (("query_states", "query_mask", "query_own"), ("states", "attention_mask", "own")):
        longer = dict(feeds)
        for name in names:
            shape = (len(rows), more, *feeds[name].shape[2:])
            filled = np.full(shape, 0 if feeds[name].ndim == 2 else 3, feeds[name].dtype)
            longer[name] = np.concatenate([feeds[name], filled], axis=1)
        found = run(meeting.session, longer)["residual"]
        np.testing.assert_allclose(found, expected, atol=PRECISION, rtol=0)
    _, whole = meeting(replace(batch, logits=logits))
    np.testing.assert_allclose(whole, logits + expected, atol=PRECISION, rtol=0)


def test_queries_of_all_lengths_meet_in_padded_halves(model: LateInteractionModel) -> None:
    rows = model.rows(model.query_row(QUERY), TEXTS[:2])
    for words in (1, 13, 14, 15, 40):
        half = model.query_states(model.query_row(" ".join(WORDS[:words])))
        batch, _ = model.stages[0](Batch(rows, [half] * len(rows)))
        assert batch.states is not None
        feeds = cross_attention_feeds([half] * len(rows), batch.states, rows)
        assert feeds["query_states"].shape[:2] == (2, padded_length(words + 2))
        assert feeds["query_mask"].sum(axis=1).tolist() == [words + 2] * 2
        assert feeds["query_own"].sum(axis=1).tolist() == [words] * 2
        assert feeds["own"].sum(axis=1).tolist() == [row.seen for row in rows]
        assert half.shape[0] == words + 2


def test_runtimes_agree(folder: Path) -> None:
    one, other = (
        Reranker(folder, settings=Settings(runtime=runtime)).score(QUERY, TEXTS)
        for runtime in ("openvino", "onnxruntime")
    )
    np.testing.assert_allclose(one, other, atol=1e-4, rtol=0)


def test_words_of_the_query_read_twice_are_two_words(reranker: Reranker, early: Reranker) -> None:
    """The residual depends on the whole query, not on the best of its tokens alone."""
    queries = [QUERY, " ".join([*QUERY.split(), WORDS[90]])]
    one, other = (reranker.score(own, TEXTS) - early.score(own, TEXTS) for own in queries)
    assert np.abs(one - other).min() > PRECISION


def test_a_model_of_four_files_is_refused(folder: Path, tmp_path: Path) -> None:
    made = make_split_artifact(tmp_path / "model")
    manifest = load_artifact(made).manifest
    write_manifest(made, replace(manifest, stages=(*FILES, FILES[1])))
    with pytest.raises(
        ArtifactError, match="a late-interaction model of 4 files, this resift runs 2 or 3"
    ) as own:
        load_model(load_artifact(made))
    assert "\n" not in str(own.value)


@pytest.mark.parametrize("place", [0, 7, 37])
def test_a_meeting_that_fails_for_a_row_leaves_it_its_first_logit(
    place: int, model: LateInteractionModel, early: Reranker, reranker: Reranker
) -> None:
    texts = [*TEXTS[:place], " ".join(WORDS[:111]), *TEXTS[place:]]

    def fail(lengths: Sequence[int], logits: Floats) -> None:
        if 113 in lengths:
            raise RuntimeFailure("the row at fault")

    outcome = spoilt(model, fail).score(QUERY, texts)
    assert outcome.statuses == ["ok"] * len(texts)
    assert outcome.partial and outcome.reason == "the row at fault"
    assert outcome.logits[place] == pytest.approx(early.score(QUERY, texts)[place], abs=PRECISION)
    others = np.delete(outcome.logits, place)
    np.testing.assert_allclose(others, reranker.score(QUERY, TEXTS), atol=PRECISION, rtol=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_meeting_that_gives_no_number_leaves_the_first_logit(
    value: float, model: LateInteractionModel, early: Reranker
) -> None:
    def spoil(lengths: Sequence[int], logits: Floats) -> None:
        logits[:] = value

    outcome = spoilt(model, spoil).score(QUERY, TEXTS)
    assert outcome.statuses == ["ok"] * len(TEXTS)
    assert outcome.partial and "finite" in str(outcome.reason)
    np.testing.assert_allclose(outcome.logits, early.score(QUERY, TEXTS), atol=PRECISION, rtol=0)


def test_a_ranking_whose_meeting_failed_is_of_first_logits_and_says_so(
    folder: Path, runtime: str, early: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(stage: CrossAttentionStage, batch: Batch) -> tuple[Batch, Floats]:
        raise RuntimeFailure("no meeting today")

    monkeypatch.setattr(CrossAttentionStage, "__call__", fail)
    reranker = Reranker(folder, settings=Settings(runtime=runtime))
    ranking, expected = (own.rank(QUERY, TEXTS, top_n=None) for own in (reranker, early))
    assert [(hit.index, hit.logit) for hit in ranking] == [(h.index, h.logit) for h in expected]
    receipt = ranking.receipt
    assert (receipt.partial, receipt.reason) == (True, "no meeting today")
    assert receipt.scored == receipt.depth == len(TEXTS)


def test_time_that_ends_between_the_stages_leaves_first_logits(
    model: LateInteractionModel, early: Reranker
) -> None:
    outcome = step_until(model, 1, QUERY, ALIKE[:WAVE])
    assert outcome.statuses == ["ok"] * WAVE
    assert outcome.partial and outcome.reason == "time was up"
    expected = early.score(QUERY, ALIKE[:WAVE])
    np.testing.assert_allclose(outcome.logits, expected, atol=PRECISION, rtol=0)


def test_time_that_ends_within_the_meeting_leaves_the_rest_their_first_logits(
    model: LateInteractionModel, early: Reranker, reranker: Reranker
) -> None:
    texts = ALIKE[: 2 * WAVE]
    outcome = step_until(model, 3, QUERY, texts)
    assert outcome.statuses == ["ok"] * len(texts)
    assert outcome.partial and outcome.reason == "time was up"
    met, unmet = outcome.logits[:WAVE], outcome.logits[WAVE:]
    whole, first = reranker.score(QUERY, texts), early.score(QUERY, texts)
    np.testing.assert_allclose(met, whole[:WAVE], atol=PRECISION, rtol=0)
    np.testing.assert_allclose(unmet, first[WAVE:], atol=PRECISION, rtol=0)


def test_tokens_are_counted_once(
    model: LateInteractionModel, early: Reranker, reranker: Reranker
) -> None:
    outcome = Engine(model).score(QUERY, TEXTS)
    rows = model.rows(model.query_row(QUERY), TEXTS)
    assert outcome.tokens == sum(len(row.ids) for row in rows)
    one, other = (own.rank(QUERY, TEXTS).receipt for own in (early, reranker))
    assert (one.tokens, one.padding_share) == (other.tokens, other.padding_share)


def test_a_bad_document_affects_only_itself(reranker: Reranker) -> None:
    mixed = [TEXTS[0], "", TEXTS[1], cast(str, None), "zzz unknown", TEXTS[2]]
    found = reranker.score(QUERY, mixed)
    assert np.isnan(found[[1, 3, 4]]).all()
    np.testing.assert_allclose(
        found[[0, 2, 5]], reranker.score(QUERY, TEXTS[:3]), atol=PRECISION, rtol=0
    )
