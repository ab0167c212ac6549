"""Late interaction is its definition, and cross-attention adds to its logit.

A logit depends on its pair only; where cross-attention fails, the logit of the first exit stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from artifacts import DIM
from clocks import step_until
from resift import Reranker
from resift.errors import ArtifactError, RuntimeFailure
from resift.rerank.artifact import Artifact, load_artifact, write_manifest
from resift.rerank.batching import WAVE, padded_length
from resift.rerank.engine import Engine
from resift.rerank.graph_runs import run
from resift.rerank.late_interaction import (
    FEATURES,
    LateInteractionWeights,
    features,
    query_states,
    unit,
)
from resift.rerank.loading import load_model
from resift.rerank.models import (
    Batch,
    CrossAttentionStage,
    LateInteractionModel,
    LateInteractionStage,
    cross_attention_feeds,
    encode,
)
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import pad
from resift.settings import Settings
from split_artifacts import FILES, LATE, WORDS, make_split_artifact

PRECISION = 1e-5
QUERY = " ".join(WORDS[5:9])

Floats = NDArray[np.float32]


def _by_definition(query: Floats, document: Floats) -> list[float]:
    """One pair, no padding: what the papers write."""
    q, d = unit(query[1:-1]), unit(document[1:-1])
    similar = q @ d.T
    cosine = float(unit(query.mean(axis=0)) @ unit(document.mean(axis=0)))
    return [float(similar.max(axis=1).mean()), float(similar.max(axis=0).mean()), cosine]


@given(st.integers(3, 8), st.lists(st.integers(3, 12), min_size=1, max_size=5), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_padded_batches_agree_with_the_definition(
    query_tokens: int, lengths: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(query_tokens, 16)).astype(np.float32)
    longest = max(lengths) + 3
    states = rng.normal(size=(len(lengths), longest, 16)).astype(np.float32)  # padding is noise
    mask = np.array([[int(i < length) for i in range(longest)] for length in lengths])
    result = features(query_states(query), states, mask)
    for row, length in enumerate(lengths):
        expected = _by_definition(query, states[row, :length])
        assert np.allclose(result[row], expected, atol=1e-5)


def test_logits_are_the_weighted_sum() -> None:
    weights = LateInteractionWeights(1.0, 2.0, 3.0, bias=0.5)
    assert [getattr(weights, name) for name in FEATURES] == [1.0, 2.0, 3.0]
    result = weights.logits(np.array([[0.1, 0.2, 0.3]], np.float32))
    assert np.allclose(result, [0.1 + 0.4 + 0.9 + 0.5])


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
    """The same encoder and late interaction without cross-attention."""
    folder = make_split_artifact(tmp_path_factory.mktemp("early"), cross_attention=False)
    return Reranker(folder, settings=Settings(runtime=runtime))


@pytest.fixture(scope="session")
def reranker(runtime: str, folder: Path) -> Reranker:
    return Reranker(folder, settings=Settings(runtime=runtime))


@pytest.fixture
def model(runtime: str, artifact: Artifact) -> LateInteractionModel:
    """A model of its own, whose stages a test may replace."""
    return cast(LateInteractionModel, load_model(artifact, runtime))


def spoilt(model: LateInteractionModel, spoil: Callable[[Sequence[int], Floats], None]) -> Engine:
    """An engine of the model, with a function applied to the logits of cross-attention."""
    first, cross_attention = model.stages

    def stage(batch: Batch) -> tuple[Batch, Floats]:
        out, logits = cross_attention(batch)
        spoil([len(row.ids) for row in batch.rows], logits)
        return out, logits

    model.stages = [first, stage]
    return Engine(model)


def test_a_late_interaction_model_of_three_files_has_two_stages(
    model: LateInteractionModel,
) -> None:
    first, second = model.stages
    assert isinstance(first, LateInteractionStage) and isinstance(second, CrossAttentionStage)
    assert first.weights == LATE


def test_logits_are_the_first_exits_and_the_residual(
    runtime: str, artifact: Artifact, model: LateInteractionModel, reranker: Reranker
) -> None:
    encoder, _, cross_attention = (open_session(stage, runtime) for stage in artifact.stages)
    result = reranker.score(QUERY, TEXTS)
    of_query = model.query_states(model.query_row(QUERY))
    residuals = []
    for text, logit in zip(TEXTS, result, strict=True):
        rows = model.rows(model.query_row(QUERY), [text])
        document_states = encode(encoder, rows)
        last_layer, read = (
            states.astype(np.float32)[..., -DIM:] for states in (of_query, document_states)
        )
        first = LATE.logits(features(query_states(last_layer), read, pad(rows)["attention_mask"]))
        feeds = cross_attention_feeds([of_query], document_states, rows) | {"logits": first}
        residual = run(cross_attention, feeds)["residual"]
        assert residual.shape == (1,) and residual.dtype == np.float32
        assert logit == pytest.approx(float(first[0] + residual[0]), abs=PRECISION)
        residuals.append(float(residual[0]))
    assert np.std(residuals) > 100 * PRECISION and np.min(np.abs(residuals)) > 100 * PRECISION


def test_the_first_exit_is_a_model_without_cross_attention(
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
    result = reranker.score(QUERY, [TEXTS[index] for index in order])
    np.testing.assert_allclose(result, together[order], atol=PRECISION, rtol=0)


@pytest.mark.parametrize("more", [16, 64])
def test_padding_changes_nothing(more: int, runtime: str, model: LateInteractionModel) -> None:
    """Neither the query's nor the documents', whatever stands in it."""
    prompt = model.query_row(QUERY)
    query_states, rows = model.query_states(prompt), model.rows(prompt, TEXTS[:5])
    first, cross_attention = model.stages
    batch, logits = first(Batch(rows, [query_states] * len(rows)))
    assert batch.states is not None and isinstance(cross_attention, CrossAttentionStage)
    feeds = cross_attention_feeds([query_states] * len(rows), batch.states, rows) | {
        "logits": logits
    }
    expected = run(cross_attention.session, feeds)["residual"]
    for names in (("query_states", "query_mask", "query_own"), ("states", "attention_mask", "own")):
        longer = dict(feeds)
        for name in names:
            shape = (len(rows), more, *feeds[name].shape[2:])
            filled = np.full(shape, 0 if feeds[name].ndim == 2 else 3, feeds[name].dtype)
            longer[name] = np.concatenate([feeds[name], filled], axis=1)
        result = run(cross_attention.session, longer)["residual"]
        np.testing.assert_allclose(result, expected, atol=PRECISION, rtol=0)
    _, whole = cross_attention(replace(batch, logits=logits))
    np.testing.assert_allclose(whole, logits + expected, atol=PRECISION, rtol=0)


def test_queries_of_all_lengths_are_padded(model: LateInteractionModel) -> None:
    rows = model.rows(model.query_row(QUERY), TEXTS[:2])
    for words in (1, 13, 14, 15, 40):
        query_states = model.query_states(model.query_row(" ".join(WORDS[:words])))
        batch, _ = model.stages[0](Batch(rows, [query_states] * len(rows)))
        assert batch.states is not None
        feeds = cross_attention_feeds([query_states] * len(rows), batch.states, rows)
        assert feeds["query_states"].shape[:2] == (2, padded_length(words + 2))
        assert feeds["query_mask"].sum(axis=1).tolist() == [words + 2] * 2
        assert feeds["query_own"].sum(axis=1).tolist() == [words] * 2
        assert feeds["own"].sum(axis=1).tolist() == [row.seen for row in rows]
        assert query_states.shape[0] == words + 2


def test_runtimes_agree(folder: Path) -> None:
    first, second = (
        Reranker(folder, settings=Settings(runtime=runtime)).score(QUERY, TEXTS)
        for runtime in ("openvino", "onnxruntime")
    )
    np.testing.assert_allclose(first, second, atol=1e-4, rtol=0)


def test_words_of_the_query_read_twice_are_two_words(reranker: Reranker, early: Reranker) -> None:
    """The residual depends on the whole query, not on the best of its tokens alone."""
    queries = [QUERY, " ".join([*QUERY.split(), WORDS[90]])]
    first_change, second_change = (
        reranker.score(query, TEXTS) - early.score(query, TEXTS) for query in queries
    )
    assert np.abs(first_change - second_change).min() > PRECISION


def test_a_model_of_four_files_is_refused(folder: Path, tmp_path: Path) -> None:
    made = make_split_artifact(tmp_path / "model")
    manifest = load_artifact(made).manifest
    write_manifest(made, replace(manifest, stages=(*FILES, FILES[1])))
    with pytest.raises(
        ArtifactError, match="a late-interaction model of 4 files, this resift runs 2 or 3"
    ) as caught:
        load_model(load_artifact(made))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("index", [0, 7, 37])
def test_cross_attention_that_fails_for_a_row_leaves_its_first_logit(
    index: int, model: LateInteractionModel, early: Reranker, reranker: Reranker
) -> None:
    texts = [*TEXTS[:index], " ".join(WORDS[:111]), *TEXTS[index:]]

    def fail(lengths: Sequence[int], logits: Floats) -> None:
        if 113 in lengths:
            raise RuntimeFailure("the row at fault")

    state = spoilt(model, fail).score(QUERY, texts)
    assert state.statuses == ["ok"] * len(texts)
    assert state.partial and state.reason == "the row at fault"
    assert state.logits[index] == pytest.approx(early.score(QUERY, texts)[index], abs=PRECISION)
    others = np.delete(state.logits, index)
    np.testing.assert_allclose(others, reranker.score(QUERY, TEXTS), atol=PRECISION, rtol=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_cross_attention_without_a_finite_logit_leaves_the_first_logit(
    value: float, model: LateInteractionModel, early: Reranker
) -> None:
    def spoil(lengths: Sequence[int], logits: Floats) -> None:
        logits[:] = value

    state = spoilt(model, spoil).score(QUERY, TEXTS)
    assert state.statuses == ["ok"] * len(TEXTS)
    assert state.partial and "finite" in str(state.reason)
    np.testing.assert_allclose(state.logits, early.score(QUERY, TEXTS), atol=PRECISION, rtol=0)


def test_a_ranking_without_cross_attention_has_first_logits_and_is_partial(
    folder: Path, runtime: str, early: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(stage: CrossAttentionStage, batch: Batch) -> tuple[Batch, Floats]:
        raise RuntimeFailure("no cross-attention today")

    monkeypatch.setattr(CrossAttentionStage, "__call__", fail)
    reranker = Reranker(folder, settings=Settings(runtime=runtime))
    ranking, expected = (
        model_reranker.rank(QUERY, TEXTS, top_n=None) for model_reranker in (reranker, early)
    )
    assert [(hit.index, hit.logit) for hit in ranking] == [(h.index, h.logit) for h in expected]
    receipt = ranking.receipt
    assert (receipt.partial, receipt.reason) == (True, "no cross-attention today")
    assert receipt.scored == receipt.depth == len(TEXTS)


def test_time_that_ends_between_the_stages_leaves_first_logits(
    model: LateInteractionModel, early: Reranker
) -> None:
    state = step_until(model, 1, QUERY, ALIKE[:WAVE])
    assert state.statuses == ["ok"] * WAVE
    assert state.partial and state.reason == "time was up"
    expected = early.score(QUERY, ALIKE[:WAVE])
    np.testing.assert_allclose(state.logits, expected, atol=PRECISION, rtol=0)


def test_time_that_ends_within_cross_attention_leaves_the_rest_their_first_logits(
    model: LateInteractionModel, early: Reranker, reranker: Reranker
) -> None:
    texts = ALIKE[: 2 * WAVE]
    state = step_until(model, 3, QUERY, texts)
    assert state.statuses == ["ok"] * len(texts)
    assert state.partial and state.reason == "time was up"
    met, unmet = state.logits[:WAVE], state.logits[WAVE:]
    whole, first = reranker.score(QUERY, texts), early.score(QUERY, texts)
    np.testing.assert_allclose(met, whole[:WAVE], atol=PRECISION, rtol=0)
    np.testing.assert_allclose(unmet, first[WAVE:], atol=PRECISION, rtol=0)


def test_tokens_are_counted_once(
    model: LateInteractionModel, early: Reranker, reranker: Reranker
) -> None:
    state = Engine(model).score(QUERY, TEXTS)
    rows = model.rows(model.query_row(QUERY), TEXTS)
    assert state.tokens == sum(len(row.ids) for row in rows)
    first, second = (
        model_reranker.rank(QUERY, TEXTS).receipt for model_reranker in (early, reranker)
    )
    assert (first.tokens, first.padding_share) == (second.tokens, second.padding_share)


def test_a_bad_document_affects_only_itself(reranker: Reranker) -> None:
    mixed = [TEXTS[0], "", TEXTS[1], cast(str, None), "zzz unknown", TEXTS[2]]
    result = reranker.score(QUERY, mixed)
    assert np.isnan(result[[1, 3, 4]]).all()
    np.testing.assert_allclose(
        result[[0, 2, 5]], reranker.score(QUERY, TEXTS[:3]), atol=PRECISION, rtol=0
    )
