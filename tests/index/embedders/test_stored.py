"""Embedders by name: hub ids, revisions and lengths are told apart from folders, URLs and typos.

Conversions are of a tiny checkpoint in a folder; the hub has tests of its own.
"""

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from convert.plain_checkpoints import DIM, TRAINED, pairs, write_bi_encoder, write_checkpoint
from embedder_artifacts import make_embedder_artifact
from resift.errors import InputError, ModelError, ModelNotFound
from resift.index.embed import is_unpinned, open_embedder, recorded_embedder
from resift.index.embedders.artifact import ArtifactEmbedder
from resift.index.embedders.stored import (
    EmbedderName,
    _identity,
    _warn_of_cut,
    parse_name,
    recorded_name,
)
from resift.rerank.artifact import Artifact, load_artifact, sha256
from resift.rerank.catalogue import ModelSource
from resift.rerank.known_embedders import KNOWN_EMBEDDERS, known_embedder
from resift.settings import Settings

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PINNED = f"intfloat/e5-small-v2@{COMMIT}"
TEXTS = [text for _, text in pairs(6)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "mine"
    prompts = {"prompts": {"query": "ba "}}
    return write_bi_encoder(folder, "roberta", spread=TRAINED, prompts=prompts)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(cache_dir=str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("intfloat/e5-small-v2", EmbedderName("intfloat/e5-small-v2")),
        ("owner/name@main", EmbedderName("owner/name", "main")),
        ("owner/name@refs/pr/1", EmbedderName("owner/name", "refs/pr/1")),
        ("owner/name#256", EmbedderName("owner/name", None, 256)),
        (f"{PINNED}#64", EmbedderName("intfloat/e5-small-v2", COMMIT, 64)),
    ],
)
def test_a_name_has_a_revision_and_a_length(spec: str, expected: EmbedderName) -> None:
    assert parse_name(spec) == expected and str(expected) == spec


@pytest.mark.parametrize(
    "spec",
    ["", " ", "name", "owner/name@", "owner/name#", "owner/name#all", "a/b/c", "owner/name#2#3"],
)
def test_what_is_no_name_is_refused_with_what_names_there_are(spec: str) -> None:
    with pytest.raises(ModelNotFound, match="no such embedder; expected bundled, wordllama") as no:
        parse_name(spec)
    assert "\n" not in str(no.value)


def test_a_length_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match="owner/name#0: expected a length of vectors from 1"):
        parse_name("owner/name#0")


def test_a_folder_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a@b", "a#b", "a#7"):
        folder = str(make_embedder_artifact(tmp_path / name))
        assert parse_name(folder) == EmbedderName(folder)
        assert parse_name(f"{folder}#16") == EmbedderName(folder, dim=16)
    monkeypatch.chdir(tmp_path)
    assert open_embedder("a#7#16", Settings()).dim == 16


@pytest.mark.parametrize("text", [PINNED, f"{PINNED}#64"])
def test_an_index_names_a_hub_model_at_its_commit(text: str) -> None:
    pinned = recorded_name(text)
    assert pinned is not None and pinned.commit == COMMIT and str(pinned) == text
    assert recorded_embedder(text, None) == text
    unpinned = text.replace(f"@{COMMIT}", "")
    assert recorded_embedder(text, unpinned) == text, "the name stands for the index's commit"
    assert recorded_embedder(text, "owner/other") is None, "the caller's name goes before"
    assert recorded_embedder(text, f"{unpinned}0") is None


@pytest.mark.parametrize(
    "text",
    [
        "owner/name", "owner/name@main", f"/home/x@{COMMIT}", f"../x@{COMMIT}", "folder/name",
        f"owner/name@{COMMIT}#0", f"owner/name@{COMMIT}#007", f"http://h/v1@{COMMIT}#64", "",
        f"a/b/c@{COMMIT}", f"owner/name@{COMMIT[:12]}", "/tmp/model", "mine",
    ],
)  # fmt: skip
def test_an_index_never_names_a_folder_a_server_or_a_branch(text: str) -> None:
    assert recorded_embedder(text, None) is None


def test_names_of_packages_are_recorded_ones_without_a_name() -> None:
    assert recorded_embedder("bundled", None) == "bundled"
    assert recorded_embedder("wordllama", None) == "wordllama"
    assert recorded_embedder("bundled", "owner/name") is None
    assert is_unpinned("owner/name") and is_unpinned("owner/name#64")
    assert not any(map(is_unpinned, ("bundled", PINNED, "http://host/v1#a/b")))


def test_a_recorded_name_is_the_hubs_whatever_folders_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index of somebody else must not decide which of this machine's folders is loaded."""
    asked: list[str] = []

    def ask(name: str, commit: str, _: Settings) -> None:
        asked.append(f"{name}@{commit}")
        raise ModelNotFound("no network here")

    monkeypatch.setattr("resift.index.embedders.stored.open_hub_embedder", ask)
    monkeypatch.chdir(tmp_path)
    make_embedder_artifact(tmp_path / "intfloat" / "e5-small-v2")
    make_embedder_artifact(tmp_path / "intfloat" / f"e5-small-v2@{COMMIT}")
    with pytest.raises(ModelNotFound, match="no network here"):
        open_embedder(PINNED, Settings())
    assert asked == [PINNED]
    assert open_embedder("intfloat/e5-small-v2", Settings()).dim == DIM


def test_a_checkpoint_folder_is_converted_once_and_named_by_its_files(
    checkpoint: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = open_embedder(str(checkpoint), settings)
    assert embedder.name == str(checkpoint) and embedder.embed(TEXTS).shape == (6, DIM)
    moved = Path(shutil.copytree(checkpoint, tmp_path / "elsewhere" / "mine"))
    monkeypatch.setattr(
        "resift.convert.make._convert", lambda *_: pytest.fail("it was converted again")
    )
    again = open_embedder(str(moved), settings)
    assert again.fingerprint == embedder.fingerprint and "ba " in again.fingerprint
    np.testing.assert_array_equal(again.embed(TEXTS), embedder.embed(TEXTS))


def test_the_fingerprint_is_of_the_checkpoint_and_not_of_what_a_conversion_measured(
    checkpoint: Path, settings: Settings, tmp_path: Path
) -> None:
    """Ranges are measured, so that int8 files of two machines may differ in their last digits."""
    embedder = open_embedder(str(checkpoint), settings)
    (stored,) = (Path(str(settings.cache_dir)) / "models" / "folders" / "mine").iterdir()
    artifact = Path(shutil.copytree(stored, tmp_path / "cache" / stored.name))
    manifest = load_artifact(artifact).manifest
    other = {**manifest.files, "encoder.onnx": sha256(artifact / "encoder.onnx")[::-1]}
    assert open_embedder(str(artifact), settings).fingerprint != embedder.fingerprint
    source = ModelSource(stored, str(checkpoint))
    remade = Artifact(stored, replace(manifest, files=other))
    again = ArtifactEmbedder(remade, settings, _identity(remade, source))
    assert again.fingerprint == embedder.fingerprint


def test_two_commits_of_a_hub_model_have_two_fingerprints(
    checkpoint: Path, settings: Settings
) -> None:
    open_embedder(str(checkpoint), settings)
    (stored,) = (Path(str(settings.cache_dir)) / "models" / "folders" / "mine").iterdir()
    manifest = load_artifact(stored).manifest
    identities = [
        _identity(
            Artifact(Path("/models/owner/name") / commit, manifest),
            ModelSource(None, "owner/name", commit),
        )
        for commit in (COMMIT, COMMIT[::-1])
    ]
    assert identities[0].name == f"owner/name@{COMMIT}"
    assert identities[0].weights != identities[1].weights


@pytest.mark.parametrize(
    ("dim", "message"),
    [
        (256, None),
        (100, "and 256 is what it was trained for; measure it"),
    ],
)
def test_only_a_length_that_a_card_does_not_name_is_warned_of(
    dim: int, message: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = SimpleNamespace(dim=dim, width=768)
    _warn_of_cut("Snowflake/snowflake-arctic-embed-m-v1.5", embedder)  # type: ignore[arg-type]
    assert (message or "") in caplog.text and bool(caplog.text) is (message is not None)


def test_vectors_are_cut_and_made_units_again(
    checkpoint: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    whole = open_embedder(str(checkpoint), settings)
    with caplog.at_level(logging.WARNING):
        cut = open_embedder(f"{checkpoint}#8", settings)
    assert f"cut from {DIM} to 8 numbers, and no shorter length is known" in caplog.text
    assert cut.dim == 8 and cut.name == f"{checkpoint}#8"
    expected = whole.embed(TEXTS)[:, :8]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(cut.embed(TEXTS), expected, atol=1e-6)
    assert cut.embed_query("da").shape == (8,) and cut.embed([]).shape == (0, 8)
    assert cut.fingerprint == f"{whole.fingerprint}#8"
    assert open_embedder(f"{checkpoint}#{DIM}", settings).fingerprint == whole.fingerprint
    with pytest.raises(InputError, match=f"#{DIM + 1}: its vectors have {DIM} numbers"):
        open_embedder(f"{checkpoint}#{DIM + 1}", settings)


def test_a_reranker_is_no_embedder(settings: Settings, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "reranker")
    with pytest.raises(ModelError, match="a reranker, which gives scores; expected an embedder"):
        open_embedder(str(folder), settings)


def test_what_model_cards_say_is_of_one_model_each() -> None:
    cards = [known.card for known in KNOWN_EMBEDDERS]
    for known in KNOWN_EMBEDDERS:
        matching = [other for other in KNOWN_EMBEDDERS if other.pattern.fullmatch(known.card)]
        assert matching == [known] and cards.count(known.card) == 1
        assert list(known.dims) == sorted(known.dims, reverse=True)
    assert known_embedder("baai/BGE-m3") is None
    bge = known_embedder("BAAI/bge-base-en-v1.5")
    assert bge is not None and bge.query_prompt.startswith("Represent this") and not bge.dims
