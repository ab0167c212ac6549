"""``resift train``: pairs in, a model out, or an error in a line and nothing written."""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cli.command import Resift
from evaluation.small_collection import json_lines, make_collection
from resift.errors import ModelError


@dataclass
class FakeFineTune:
    """Stands for `resift.training.finetune`; keeps what it was called with."""

    error: ModelError | None = None
    arguments: tuple[Any, ...] = ()

    queries, held_out, base, tuned = 30, 20, 0.51239, 0.73461

    def fine_tune(self, *arguments: Any) -> "FakeFineTune":
        self.arguments = arguments
        arguments[4]("30 queries to train on, 20 held out")
        if self.error:
            raise self.error
        return self


@pytest.fixture
def fine_tune(monkeypatch: pytest.MonkeyPatch) -> FakeFineTune:
    """Neither torch nor a model is needed."""
    stand_in, module = FakeFineTune(), ModuleType("resift.training.finetune")
    module.fine_tune = stand_in.fine_tune  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("torch", "onnx", "bm25s", "Stemmer"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    return stand_in


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Ten queries with an answer: too few."""
    file = tmp_path / "pairs.jsonl"
    rows = [{"query": f"question {n}", "positive": f"the answer to it is {n}"} for n in range(10)]
    file.write_text(json_lines(rows))
    return file


def test_help_names_every_option(resift: Resift) -> None:
    done = resift("train", "--help")
    assert done.code == 0
    assert all(name in done.out for name in ("--pairs", "--out", "--base", "--work", "--epochs"))
    assert " train " in resift("--help").out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--pairs", "pairs.jsonl"),
        ("--out", "model"),
        ("pairs.jsonl", "--out", "model"),
        ("--pairs", "pairs.jsonl", "--out", "model", "--epochs", "some"),
        ("--pairs", "pairs.jsonl", "--out", "model", "--what"),
    ],
)
def test_wrong_usage_exits_with_two(
    resift: Resift, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = resift("train", *arguments)
    assert done.code == 2 and done.out == ""
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("epochs", ["0", "-1", "nan"])
def test_invalid_epochs_are_refused(resift: Resift, pairs: Path, epochs: str) -> None:
    out = pairs.parent / "model"
    done = resift("train", "--pairs", pairs, "--out", out, "--epochs", epochs)
    assert "--epochs" in done.error and "above 0" in done.error
    assert not out.exists()


def test_endless_epochs_are_refused(resift: Resift, fine_tune: FakeFineTune, pairs: Path) -> None:
    done = resift("train", "--pairs", pairs, "--out", "model", "--epochs", "inf")
    assert "--epochs" in done.error
    assert fine_tune.arguments == ()


@pytest.mark.parametrize("missing", ["torch", "onnx", "bm25s"])
@pytest.mark.usefixtures("fine_tune")
def test_a_missing_package_is_named_with_its_extra(
    resift: Resift, pairs: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    out = pairs.parent / "model"
    error = resift("train", "--pairs", pairs, "--out", out).error
    assert f"{missing} is not installed" in error
    assert "pip install 'resift[train]'" in error
    assert not out.exists()


@pytest.mark.parametrize("missing", ["bm25s", "Stemmer"])
def test_all_packages_are_checked_at_the_start(
    resift: Resift,
    fine_tune: FakeFineTune,
    pairs: Path,
    missing: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    error = resift("train", "--pairs", pairs, "--out", pairs.parent / "model").error
    assert f"{missing} is not installed" in error
    assert fine_tune.arguments == ()


def test_both_figures_go_to_stdout_and_progress_to_stderr(
    resift: Resift, fine_tune: FakeFineTune, pairs: Path
) -> None:
    out = Path("model")
    done = resift("train", "--pairs", pairs, "--out", out)
    assert done.code == 0
    assert done.out.split() == (
        "model: nDCG@10 0.7346 on 20 held-out queries, 0.5124 before; trained on 30 queries".split()
    )
    assert done.err == "30 queries to train on, 20 held out\n"
    data, base, where, work, _, epochs = fine_tune.arguments
    assert (data, base, where, work, epochs) == (pairs, "bundled", out, None, 3.0)


def test_options_are_handed_on(
    resift: Resift, fine_tune: FakeFineTune, pairs: Path, tmp_path: Path
) -> None:
    options = ("--base", "a/model", "--work", tmp_path / "work", "--epochs", 0.5)
    assert resift("train", "--pairs", pairs, "--out", tmp_path / "model", *options).code == 0
    data, base, out, work, _, epochs = fine_tune.arguments
    assert (data, out) == (pairs, tmp_path / "model")
    assert (base, work, epochs) == ("a/model", tmp_path / "work", 0.5)


def test_a_model_that_is_no_better_is_an_error_in_a_line(
    resift: Resift, fine_tune: FakeFineTune, pairs: Path
) -> None:
    fine_tune.error = ModelError("0.5 after training and 0.5 before,\nso nothing was written")
    done = resift("train", "--pairs", pairs, "--out", pairs.parent / "model")
    assert (done.code, done.out) == (1, "")
    progress, error = done.err.splitlines()
    assert progress.startswith("30 queries")
    assert error == "error: 0.5 after training and 0.5 before, so nothing was written"


@pytest.mark.usefixtures("fine_tune")
def test_an_outputs_name_is_shown_as_it_is(resift: Resift, pairs: Path) -> None:
    done = resift("train", "--pairs", pairs, "--out", "models[dim]")
    assert done.out.startswith("models[dim]: nDCG@10")


@pytest.mark.torch
def test_errors_are_one_line_and_nothing_is_written(
    resift: Resift, pairs: Path, joint_folder: Path, tmp_path: Path
) -> None:
    for needed in ("torch", "bm25s", "Stemmer"):
        pytest.importorskip(needed)
    out = tmp_path / "model"

    def error(*options: object) -> str:
        message = resift("train", "--out", out, *options).error
        assert not out.exists()
        return message

    assert "10 queries with a relevant text; at least 40" in error("--pairs", pairs)
    assert "absent: no such file" in error("--pairs", tmp_path / "absent")
    assert "contains no judgments" in error("--pairs", make_collection(tmp_path / "made"))
    assert "no-such" in error("--pairs", pairs, "--base", "no-such")
    assert "a cross-encoder" in error("--pairs", pairs, "--base", joint_folder)
    (tmp_path / "lines").write_text("no pair\n")
    assert "lines:1: expected a line of" in error("--pairs", tmp_path / "lines")
    assert "exists already" in resift("train", "--pairs", pairs, "--out", pairs).error
