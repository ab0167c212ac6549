"""A model's name becomes a folder, or one line that says what to do, and who named it."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resift import Reranker
from resift.errors import CalibrationError, InputError, ModelError, ModelNotFound
from resift.rerank.artifact import Artifact, load_artifact
from resift.rerank.catalogue import BUNDLED, checked_hub_id, open_model, resolve
from resift.rerank.known_models import KNOWN_MODELS, known_model
from resift.rerank.stored_models import COMMIT as COMMIT_OF_A_MODEL
from resift.rerank.stored_models import Use, artifact_name
from resift.settings import Settings

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _message(call: Any, kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["/nope", "~/nope", "./nope", "../nope", "nope", "a/b/c", "C:\\x"])
def test_a_path_is_not_taken_for_a_hub_id(name: str) -> None:
    message = _message(lambda: resolve(name), ModelNotFound)
    assert message == f"{name}: no such model folder; resift models lists the known ones"


@pytest.mark.parametrize("name", ["owner/name", "BAAI/bge-reranker-v2-m3"])
def test_a_hub_id_is_made_where_it_is_not_stored(
    name: str, tmp_path: Path, made: "list[tuple[Any, ...]]"
) -> None:
    settings = Settings(cache_dir=str(tmp_path))
    assert resolve(name, settings=settings) == Path("made")
    resolve(name, "v1", "relevant", settings)
    models = tmp_path / "models"
    assert made == [
        (name, None, None, models),
        (name, "v1", "relevant", models),
    ]


def test_a_stored_hub_id_is_opened_at_its_commit(
    tmp_path: Path, joint_folder: Path, made: "list[tuple[Any, ...]]"
) -> None:
    settings = Settings(cache_dir=str(tmp_path))
    repository = tmp_path / "models" / "owner--name"
    folder = repository / artifact_name(COMMIT)
    shutil.copytree(joint_folder, folder)
    assert resolve("owner/name", COMMIT, settings=settings) == folder
    assert resolve("owner/name", settings=settings) == Path("made"), "no commit is noted yet"
    (repository / "revisions.json").write_text(json.dumps({"pinned": COMMIT, "named": {}}))
    assert resolve("owner/name", settings=settings) == folder
    with Reranker("owner/name", settings=settings) as reranker:
        assert reranker.name == "tiny-joint"
    assert len(made) == 1
    for other in ({"revision": "main"}, {"revision": "f" * 40}, {"label": 1}):
        assert resolve("owner/name", settings=settings, **other) == Path("made")


def test_a_newer_converter_converts_models_again(
    tmp_path: Path, joint_folder: Path, made: "list[tuple[Any, ...]]"
) -> None:
    settings = Settings(cache_dir=str(tmp_path))
    shutil.copytree(joint_folder, tmp_path / "models" / "owner--name" / f"{COMMIT}-v0")
    assert resolve("owner/name", COMMIT, settings=settings) == Path("made")


def test_a_checkpoint_folder_is_made_and_an_artifact_is_opened(
    tmp_path: Path, joint_folder: Path, made: "list[tuple[Any, ...]]"
) -> None:
    settings = Settings(cache_dir=str(tmp_path / "cache"))
    (tmp_path / "config.json").write_text("{}")
    assert resolve(tmp_path, label=1, settings=settings) == Path("made")
    assert made == [(tmp_path, 1, tmp_path / "cache" / "models")]
    shutil.copytree(joint_folder, artifact := tmp_path / "artifact")
    (artifact / "config.json").write_text("{}")
    assert resolve(artifact, settings=settings) == artifact


def test_a_folder_without_a_model_does_not_hide_a_hub_id(
    tmp_path: Path, made: "list[tuple[Any, ...]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(cache_dir=str(tmp_path / "cache"))
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    (folder / "results.csv").write_text("mine")
    assert resolve("owner/name", settings=settings) == Path("made") and len(made) == 1
    assert resolve(str(folder), settings=settings) == folder, "a path is a folder"
    for file in ("manifest.json", "modules.json", "model.safetensors", "stage-0.onnx"):
        (folder / file).write_text("{}")
        assert resolve("owner/name", settings=settings) == Path("owner/name")
        (folder / file).unlink()

    def missing(*_: Any, use: Use) -> Path:
        raise ModelNotFound("owner/name: no such repository")

    maker = SimpleNamespace(make_from_hub=missing)
    monkeypatch.setattr("resift.rerank.catalogue.require", lambda *_: maker)
    message = _message(lambda: resolve("owner/name", settings=settings), ModelNotFound)
    assert message.endswith("no such repository (the folder owner/name has no model in it)")


def test_a_stored_model_that_vanishes_is_converted_again(
    tmp_path: Path, joint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(cache_dir=str(tmp_path))
    folder = tmp_path / "models" / "owner--name" / artifact_name(COMMIT)
    shutil.copytree(joint_folder, folder)

    def removed(path: Path) -> Artifact:
        if path == folder:
            shutil.rmtree(folder, ignore_errors=True)
        return load_artifact(path)

    maker = SimpleNamespace(make_from_hub=lambda *_, use: joint_folder)
    monkeypatch.setattr("resift.rerank.catalogue.require", lambda *_: maker)
    monkeypatch.setattr("resift.rerank.catalogue.load_artifact", removed)
    artifact, _ = open_model("owner/name", COMMIT, settings=settings)
    assert artifact.folder == joint_folder


@pytest.mark.parametrize("name", ["a/" + "b" * 97, "a" * 97 + "/b", "a/" + "b" * 500])
def test_a_name_that_is_too_long_is_no_hub_id(name: str) -> None:
    message = _message(lambda: resolve(name), ModelNotFound)
    assert "no such model folder" in message and len(message) < 300
    assert "not a hub id" in _message(lambda: checked_hub_id(name), ModelNotFound)
    assert checked_hub_id("a" * 96 + "/" + "b" * 96)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> "list[tuple[Any, ...]]":
    """The arguments of each model that would be made."""
    calls: list[tuple[Any, ...]] = []

    def make(*arguments: Any, use: Use) -> Path:
        assert use == "reranker"
        calls.append(arguments)
        return Path("made")

    maker = SimpleNamespace(make_from_hub=make, make_from_folder=make)
    monkeypatch.setattr("resift.rerank.catalogue.require", lambda *_: maker)
    return calls


@pytest.mark.parametrize("label", ["", " ", -1, 1.0, True, b"label"])
def test_what_is_no_label_is_refused(label: Any, tmp_path: Path) -> None:
    assert "label=" in _message(lambda: Reranker("owner/name", label=label), InputError)


@pytest.mark.parametrize("revision", ["", " ", 5])
def test_what_is_no_revision_is_refused(revision: Any) -> None:
    assert "revision=" in _message(lambda: resolve("owner/name", revision), InputError)


def test_a_resift_model_has_no_revisions_and_no_labels(joint_folder: Path) -> None:
    assert "has no revisions" in _message(lambda: resolve(joint_folder, "v1"), InputError)
    assert "has no labels" in _message(lambda: Reranker(joint_folder, label=1), InputError)
    assert "has no labels" in _message(lambda: Reranker(label=1), InputError)


def test_the_known_models_are_hub_ids_with_figures_that_say_of_what() -> None:
    names = [model.hub_id for model in KNOWN_MODELS]
    assert len(set(names)) == len(names) >= 22
    for model in KNOWN_MODELS:
        assert checked_hub_id(model.hub_id) == model.hub_id == known_model(model.hub_id).hub_id  # type: ignore[union-attr]
        assert model.max_tokens >= 512 and model.parameters > 0 and model.licence
        assert model.revision is None or COMMIT_OF_A_MODEL.fullmatch(model.revision)
        for quality in model.quality:
            assert 0 < quality.figure < 100 and " " in quality.measure


@pytest.mark.parametrize("model", ["", "  ", 5, b"folder", ["a"], "a\0b", True])
def test_what_is_no_name_is_refused(model: Any) -> None:
    assert "model=" in _message(lambda: resolve(model), InputError)
    assert "calibration=" in _message(lambda: Reranker(calibration=model), InputError)


def test_a_name_that_no_file_system_has_is_not_found() -> None:
    assert "cannot be read" in _message(lambda: resolve("a" * 5000), ModelNotFound)


def test_the_home_is_a_place_for_models(
    joint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(joint_folder.parent))
    assert resolve(f"~/{joint_folder.name}") == joint_folder
    named = {"RESIFT_MODEL": f"~/{joint_folder.name}"}
    assert Reranker(settings=Settings.load(named)).name == "tiny-joint"


@pytest.mark.parametrize("model", [None, "bundled"])
def test_the_bundled_model_has_no_revisions(model: str | None) -> None:
    assert resolve(model) == BUNDLED
    assert "revision='abc'" in _message(lambda: resolve(model, "abc"), InputError)


def test_the_variable_or_file_that_named_a_model_is_in_the_message(tmp_path: Path) -> None:
    by_variable = Settings.load({"RESIFT_MODEL": "/nope"})
    message = _message(lambda: Reranker(settings=by_variable), ModelNotFound)
    assert (
        message.startswith("/nope: no such model folder") and "(RESIFT_MODEL names it)" in message
    )
    file = tmp_path / "resift.toml"
    file.write_text("model = '/nope'")
    by_file = Settings.load({"RESIFT_CONFIG": str(file)})
    message = _message(lambda: Reranker(settings=by_file), ModelNotFound)
    assert message.endswith(f"({file} names it)")
    (tmp_path / "plain").write_text("no model")
    by_variable = Settings.load({"RESIFT_MODEL": str(tmp_path / "plain")})
    assert "RESIFT_MODEL" in _message(lambda: Reranker(settings=by_variable), ModelError)
    assert "names it" not in _message(lambda: Reranker("/nope", settings=by_variable), ModelError)


def test_so_it_is_with_a_calibration(joint_folder: Path) -> None:
    settings = Settings.load({"RESIFT_CALIBRATION": "/nope.json"})
    message = _message(lambda: Reranker(joint_folder, settings=settings), CalibrationError)
    assert message.startswith("/nope.json: no such file") and "(RESIFT_CALIBRATION " in message
    message = _message(
        lambda: Reranker(joint_folder, calibration="/other.json", settings=settings),
        CalibrationError,
    )
    assert "names it" not in message
