"""A model folder embeds: pooled and prompted as its manifest says, or refused for what it is."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedder_artifacts import DIM, make_embedder_artifact
from resift import Reranker
from resift.errors import ArtifactError, ParityError
from resift.index.embedders.artifact import ArtifactEmbedder
from resift.rerank.artifact import Pooling, ReferencePair, load_artifact, write_manifest
from resift.rerank.catalogue import BUNDLED
from resift.rerank.models import Encoder
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import Tokens, load_tokenizer
from resift.settings import Settings

TEXTS = ["blue whales sing", "a", "whales " * 60, "", "the sea is deep and cold in winter"]


def opened(folder: Path, runtime: str = "openvino") -> ArtifactEmbedder:
    return ArtifactEmbedder(folder, Settings(runtime=runtime))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_what_the_pooling_makes_of_the_states(
    pooling: Pooling, runtime: str, tmp_path: Path
) -> None:
    folder = make_embedder_artifact(tmp_path / "m", pooling)
    artifact = load_artifact(folder)
    tokens = Tokens(load_tokenizer(artifact.tokenizer), 32)
    states = list(Encoder(tokens, open_session(artifact.stages[0], runtime)).states(TEXTS))
    vectors = opened(folder, runtime).embed(TEXTS)
    assert vectors.shape == (5, DIM) and vectors.dtype == np.float32
    for vector, token_vectors in zip(vectors, states, strict=True):
        pooled = token_vectors.mean(axis=0) if pooling == "mean" else token_vectors[0]
        np.testing.assert_allclose(vector, pooled / np.linalg.norm(pooled), atol=1e-5)


def test_prompts_stand_before_queries_and_passages(tmp_path: Path) -> None:
    plain = opened(make_embedder_artifact(tmp_path / "plain"))
    prompted = opened(make_embedder_artifact(tmp_path / "p", "mean", "query: ", "passage: "))
    np.testing.assert_array_equal(prompted.embed_query("sea"), plain.embed_query("query: sea"))
    np.testing.assert_array_equal(prompted.embed(["sea"]), plain.embed(["passage: sea"]))
    assert not np.allclose(prompted.embed_query("sea"), prompted.embed(["sea"])[0])


def test_a_vector_is_the_same_alone_and_among_others(runtime: str, tmp_path: Path) -> None:
    embedder = opened(make_embedder_artifact(tmp_path / "m"), runtime)
    together = embedder.embed(TEXTS)
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS])
    assert np.abs(together - alone).max() <= 1e-6
    assert embedder.embed([]).shape == (0, DIM)


def test_the_fingerprint_tells_apart_all_that_changes_a_vector(tmp_path: Path) -> None:
    made = [
        make_embedder_artifact(tmp_path / "1"),
        make_embedder_artifact(tmp_path / "2", "cls"),
        make_embedder_artifact(tmp_path / "3", "mean", "a", "b"),
        make_embedder_artifact(tmp_path / "4", "mean", "b", "a"),
        make_embedder_artifact(tmp_path / "5", "mean", "", "a"),
    ]
    assert len({opened(folder).fingerprint for folder in made}) == len(made)
    assert len({load_artifact(folder).manifest.fingerprint for folder in made}) == len(made)
    again = make_embedder_artifact(tmp_path / "again")
    assert opened(again).fingerprint == opened(made[0]).fingerprint


def test_a_split_model_embeds_by_its_encoder() -> None:
    bundled = ArtifactEmbedder(None, Settings())
    folder = opened(BUNDLED)
    assert folder.fingerprint == bundled.fingerprint
    assert (bundled.name, folder.name) == ("bundled", str(BUNDLED.resolve()))


def test_a_cross_encoder_is_no_embedder(joint_folder: Path) -> None:
    with pytest.raises(ArtifactError, match="a cross-encoder model, which has no vector") as caught:
        opened(joint_folder)
    assert "\n" not in str(caught.value)


def test_an_embedder_is_no_reranker(tmp_path: Path) -> None:
    folder = make_embedder_artifact(tmp_path / "m")
    with pytest.raises(ArtifactError, match="an embedder, which reads no pairs"):
        Reranker(folder)


def test_a_pooling_that_there_is_not_is_refused(tmp_path: Path) -> None:
    folder = make_embedder_artifact(tmp_path / "m")
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pooling": "max"}))
    with pytest.raises(ArtifactError, match="pooling 'max', expected mean or cls"):
        opened(folder)


def with_reference(folder: Path, by: float) -> Path:
    """Keep one cosine as it is here, off by so much."""
    embedder = opened(folder)
    cosine = float(embedder.embed_query("sea") @ embedder.embed(["whales"])[0])
    manifest = load_artifact(folder).manifest
    pair = ReferencePair("sea", "whales", cosine + by, cosine + 0.0015)
    write_manifest(folder, replace(manifest, reference=(pair,)))
    return folder


def test_verify_measures_the_stored_cosines(runtime: str, tmp_path: Path) -> None:
    folder = with_reference(make_embedder_artifact(tmp_path / "m", "cls", "q ", "p "), by=0.0)
    verification = opened(folder, runtime).verify()
    assert verification.pairs == 1 and verification.max_difference <= 1e-4
    assert verification.max_difference_fp32 == pytest.approx(0.0015, abs=1e-4)
    assert verification.runtime.startswith(runtime)


def test_verify_fails_for_a_cosine_that_is_off_and_for_none(tmp_path: Path) -> None:
    folder = make_embedder_artifact(tmp_path / "m")
    with pytest.raises(ParityError, match="no reference pairs"):
        opened(folder).verify()
    off = r"furthest cosine from its reference 0\.0100, allowed 0\.0010"
    with pytest.raises(ParityError, match=off):
        opened(with_reference(folder, by=0.01)).verify()


def test_words_that_the_tokenizer_does_not_know_are_no_part_of_a_query(runtime: str) -> None:
    embedder = ArtifactEmbedder(None, Settings(runtime=runtime))
    unknown = "w" * 150
    for query in ("", unknown, f"{unknown} , {unknown}!", "\U0001f9a4\U0001f9a4"):
        assert not embedder.embed_query(query).any()
    mixed = embedder.embed_query(f"{unknown} city {unknown}")
    np.testing.assert_array_equal(mixed, embedder.embed_query("city"))
    np.testing.assert_array_equal(embedder.embed_query("city"), embedder.embed(["city"])[0])
    passages = embedder.embed([unknown * 2, "a city in China"])
    assert np.argmax(passages @ mixed) == 1


def test_passages_keep_their_vectors_so_that_an_index_stays_what_it_is() -> None:
    embedder = ArtifactEmbedder(None, Settings())
    with_unknown, without = embedder.embed([f"{'w' * 150} city", "city"])
    assert not np.allclose(with_unknown, without)
