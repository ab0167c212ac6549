"""The encoder's means are the masked mean of its states, for a text alone and among others."""

from pathlib import Path

import numpy as np
import pytest

from artifacts import DIM
from resift.index.embedders.artifact import ArtifactEmbedder
from resift.rerank.artifact import load_artifact
from resift.rerank.catalogue import BUNDLED
from resift.rerank.models import Encoder, encode
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import Tokens, load_tokenizer
from resift.settings import Settings
from split_artifacts import WORDS, make_split_artifact
from texts import passages

TEXTS = passages(12)


@pytest.fixture(scope="module")
def encoder(runtime: str) -> Encoder:
    artifact = load_artifact(BUNDLED)
    tokens = Tokens(load_tokenizer(artifact.tokenizer), 256)
    return Encoder(tokens, open_session(artifact.stages[0], runtime))


@pytest.fixture(scope="module")
def embedder(runtime: str) -> ArtifactEmbedder:
    return ArtifactEmbedder(None, Settings(runtime=runtime))


def test_means_are_the_unit_mean_of_the_states(encoder: Encoder) -> None:
    means = encoder.vectors(TEXTS, "mean")
    states = list(encoder.states(TEXTS))
    assert means.shape == (12, 384) and means.dtype == np.float32
    for mean, text_states in zip(means, states, strict=True):
        expected = text_states.astype(np.float64).mean(axis=0)
        assert np.allclose(mean, expected / np.linalg.norm(expected), atol=1e-5)


def test_states_are_as_many_as_the_tokens(encoder: Encoder) -> None:
    texts = ["one two", "one", "word " * 400]
    assert [len(text_states) for text_states in encoder.states(texts)] == [4, 3, 256]


@pytest.mark.parametrize("cross_attention", [True, False])
def test_encoded_layers_end_with_the_states(
    cross_attention: bool, runtime: str, tmp_path: Path
) -> None:
    artifact = load_artifact(
        make_split_artifact(tmp_path / "model", cross_attention=cross_attention)
    )
    tokens = Tokens(load_tokenizer(artifact.tokenizer), 64)
    session = open_session(artifact.stages[0], runtime)
    texts = [" ".join(WORDS[index : index + 5]) for index in (0, 9, 30)]
    for stored, states in zip(
        encode(session, tokens.single(texts)), Encoder(tokens, session).states(texts), strict=True
    ):
        assert stored.dtype == np.float16 and stored.shape[1] == DIM * (1 + cross_attention)
        np.testing.assert_array_equal(stored[:7, -DIM:], states.astype(np.float16))
        if cross_attention:
            assert np.abs(stored[:7, :DIM] - states).mean() > 0.01


def test_a_text_has_the_same_states_and_mean_alone_and_among_others(encoder: Encoder) -> None:
    together = encoder.vectors(TEXTS, "mean")
    states = list(encoder.states(TEXTS))
    for index, text in enumerate(TEXTS):
        assert np.abs(encoder.vectors([text], "mean")[0] - together[index]).max() <= 1e-6
        assert np.abs(next(encoder.states([text])) - states[index]).max() <= 1e-5


def test_vectors_are_unit_and_the_same_alone_and_among_others(embedder: ArtifactEmbedder) -> None:
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (12, embedder.dim)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    backwards = embedder.embed(TEXTS[::-1])[::-1]
    assert np.abs(backwards - vectors).max() <= 1e-6
    for index in (0, 7):
        assert np.abs(embedder.embed([TEXTS[index]])[0] - vectors[index]).max() <= 1e-6


def test_meaning_is_nearer_than_words(embedder: ArtifactEmbedder) -> None:
    query, near, far = embedder.embed(
        ["a young cat", "a kitten plays", "a young company goes public"]
    )
    assert query @ near > query @ far


def test_an_empty_text_has_a_vector_and_no_texts_have_none(embedder: ArtifactEmbedder) -> None:
    assert np.linalg.norm(embedder.embed([""])[0]) == pytest.approx(1, abs=1e-5)
    assert embedder.embed([]).shape == (0, 384)


def test_the_fingerprint_names_weights_and_length(embedder: ArtifactEmbedder) -> None:
    manifest = load_artifact(BUNDLED).manifest
    assert manifest.files[manifest.stages[0]][:16] in embedder.fingerprint
    assert embedder.fingerprint.endswith("mean 256")
