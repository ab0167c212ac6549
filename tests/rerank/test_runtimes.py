"""Runtimes: one session a file, a default where there is one, and errors in a line."""

import gc
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from resift.errors import InputError, MissingExtra, RuntimeFailure
from resift.rerank.runtimes import (
    SESSION_TYPES,
    Session,
    default_runtime,
    open_session,
)
from resift.rerank.tokenization import Tokens, load_tokenizer, pad
from resift.settings import RUNTIMES


@pytest.fixture
def stage(joint_folder: Path) -> Path:
    return joint_folder / "stage-0.onnx"


def test_a_process_has_one_session_a_file_runtime_and_threads(stage: Path, runtime: str) -> None:
    session = open_session(stage, runtime, 1)
    assert open_session(stage.parent / "." / stage.name, runtime, 1) is session
    assert open_session(stage, runtime, 2) is not session


def test_runtimes_do_not_share_sessions(stage: Path) -> None:
    sessions = [open_session(stage, name) for name in SESSION_TYPES]
    assert [session.runtime.split()[0] for session in sessions] == list(SESSION_TYPES)


def test_an_unused_session_is_released(stage: Path, runtime: str) -> None:
    from weakref import ref

    held = ref(open_session(stage, runtime, 2))
    gc.collect()
    assert held() is None


def test_outputs_are_the_callers_to_keep(joint_folder: Path, stage: Path, runtime: str) -> None:
    tokens = Tokens(load_tokenizer(joint_folder / "tokenizer.json"), 64)
    session = open_session(stage, runtime)
    feeds_one, feeds_other = (
        {key: value for key, value in pad(tokens.pairs(tokens.head("q"), [text])).items()}
        for text in ("a text", "another")
    )
    first = session.run({name: feeds_one[name] for name in session.inputs})["logits"]
    copy = first.copy()
    second = session.run({name: feeds_other[name] for name in session.inputs})["logits"]
    assert first.tolist() == copy.tolist() != second.tolist()
    assert first.dtype == np.float32


def test_a_file_that_is_no_onnx_is_refused_in_a_line(tmp_path: Path, runtime: str) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"no model at all")
    with pytest.raises(RuntimeFailure, match=r"model\.onnx") as caught:
        open_session(file, runtime)
    assert "\n" not in str(caught.value) and runtime in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("Exception from src/inference.cpp:87:\nstd::bad_alloc"),
        RuntimeError("[CPU] node 'matmul' can't alloc"),
        RuntimeError("Resource temporarily unavailable"),
        RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer"),
    ],
)
def test_lack_of_memory_is_reported_as_such(
    stage: Path, runtime: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Session:
        raise error

    monkeypatch.setitem(SESSION_TYPES, runtime, refuse)
    with pytest.raises(RuntimeFailure, match="the memory does not suffice") as caught:
        open_session(stage, runtime, 3)
    assert "is it an ONNX file" not in str(caught.value)


def test_inputs_that_do_not_fit_are_a_failure_in_a_line(stage: Path, runtime: str) -> None:
    session = open_session(stage, runtime)
    wrong = {name: np.zeros((1, 1, 1, 1), np.int64) for name in session.inputs}
    with pytest.raises(RuntimeFailure, match=runtime) as caught:
        session.run(wrong)
    assert "\n" not in str(caught.value)


def test_an_unknown_runtime_is_refused(stage: Path) -> None:
    with pytest.raises(InputError, match="abacus"):
        open_session(stage, "abacus")


def test_settings_and_runtimes_know_the_same_names() -> None:
    assert tuple(SESSION_TYPES) == RUNTIMES


def _only(installed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> object | None:
        return object() if name in installed else None

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ({"openvino", "onnxruntime"}, "openvino"),
        ({"openvino"}, "openvino"),
        ({"onnxruntime"}, "onnxruntime"),
    ],
)
def test_the_default_is_the_first_that_is_installed(
    installed: set[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _only(installed, monkeypatch)
    assert default_runtime() == expected


def test_without_any_runtime_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, stage: Path
) -> None:
    _only(set(), monkeypatch)
    with pytest.raises(MissingExtra, match="pip install openvino"):
        open_session(stage)


def test_a_runtime_that_was_asked_for_and_is_missing_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, stage: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"resift\[onnxruntime\]"):
        open_session(stage, "onnxruntime", 3)


def test_loading_a_model_reports_nothing(tmp_path: Path) -> None:
    """Importing OpenVINO plainly loads its telemetry, sends an event and writes to the home."""
    pytest.importorskip("openvino_telemetry")
    code = (
        "import sys; from resift import Reranker; Reranker().score('a', ['b']); "
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')]); "
        "import openvino_telemetry"
    )
    environment = os.environ | {"HOME": str(tmp_path), "RESIFT_RUNTIME": "openvino"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert not (tmp_path / "intel").exists()
