"""An embedder is opened by a name, and by its own name again; what is no name is refused."""

import pickle
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from embedder_artifacts import make_embedder_artifact
from resift.errors import ArtifactError, ModelError, ModelNotFound
from resift.index.embed import open_embedder
from resift.settings import Settings


@pytest.mark.parametrize("spec", [None, "bundled"])
def test_no_name_and_bundled_are_the_model_in_the_package(spec: str | None) -> None:
    embedder = open_embedder(spec, Settings())
    assert (embedder.name, embedder.dim) == ("bundled", 384)
    assert embedder.embed(["text"]).shape == (1, 384)


def test_a_folder_is_the_model_in_it_and_its_name_works_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_embedder_artifact(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    embedder = open_embedder("mine", Settings())
    monkeypatch.chdir("/")
    again = open_embedder(embedder.name, Settings())
    assert again.fingerprint == embedder.fingerprint
    np.testing.assert_array_equal(again.embed(["text"]), embedder.embed(["text"]))


@pytest.mark.skipif(find_spec("wordllama") is None, reason="wordllama is not installed")
def test_wordllama_is_opened_by_its_name() -> None:
    assert open_embedder("wordllama", Settings()).name == "wordllama"


def test_a_url_is_opened_without_a_word_to_it() -> None:
    embedder = open_embedder("HTTPS://nowhere.invalid/v1#some/model:tag", Settings())
    assert embedder.name == "https://nowhere.invalid/v1#some/model:tag"
    assert embedder.name in embedder.fingerprint


@pytest.mark.parametrize("spec", ["no-such-thing", "ftp://host/v1#m", "", "no such/folder"])
def test_what_is_no_embedder_is_refused_with_what_there_is(spec: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        open_embedder(spec, Settings())
    message = str(caught.value)
    assert message.startswith(f"{spec}: no such embedder; expected bundled, wordllama, a folder")
    assert "\n" not in message


def test_a_password_in_a_mistyped_url_is_not_shown() -> None:
    with pytest.raises(ModelNotFound) as caught:
        open_embedder("htps://user:s3cret@host/v1#m", Settings())
    assert str(caught.value).startswith("host/v1#m: ")
    assert "s3cret" not in str(caught.value)


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="resift convert"):
        open_embedder(str(tmp_path), Settings())


@pytest.mark.parametrize("name", ["bundled", "http://127.0.0.1:9/v1#m"])
def test_a_pickled_embedder_is_the_same_model_in_the_other_process(name: str) -> None:
    embedder = open_embedder(name, Settings(threads=1))
    copy = pickle.loads(pickle.dumps(embedder))
    assert (copy.name, copy.fingerprint) == (embedder.name, embedder.fingerprint)
    if name == "bundled":
        assert np.array_equal(copy.embed(["one text"]), embedder.embed(["one text"]))


def test_an_embedder_that_is_another_model_now_is_refused() -> None:
    embedder = open_embedder("bundled", Settings())
    content = pickle.dumps(embedder)
    embedder.fingerprint = "other weights"  # type: ignore[misc]
    assert pickle.loads(content).fingerprint != "other weights"
    with pytest.raises(ModelError, match="use the same model"):
        pickle.loads(pickle.dumps(embedder))
