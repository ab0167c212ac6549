"""A model's name becomes a folder, or one line that says what to do, and who named it."""

from pathlib import Path
from typing import Any

import pytest

from resift import Reranker
from resift.errors import CalibrationError, InputError, ModelError, ModelNotFound
from resift.rerank.catalogue import BUNDLED, resolve
from resift.settings import Settings


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
def test_a_hub_id_is_to_be_converted(name: str) -> None:
    assert f"resift convert {name} OUT" in _message(lambda: resolve(name), ModelNotFound)


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
