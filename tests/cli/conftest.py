"""The command in this process: fast, and with the models of the tests before."""

import sys
from pathlib import Path

import pytest

from cli.command import Done, Resift
from cli.process_state import restored_state
from resift import Reranker
from resift.cli.main import run


@pytest.fixture
def small_model(joint_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands in a process of their own load a small model, where its scores do not matter."""
    monkeypatch.setenv("RESIFT_MODEL", str(joint_folder))


@pytest.fixture
def resift(
    in_one_runtime: Reranker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Resift:
    """Call it with arguments; returns the exit code and both outputs.

    Calls share the open graphs of a model. What the command changes of this process is restored.
    """

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["resift", *map(str, arguments)])
        with restored_state(), pytest.raises(SystemExit) as caught:
            run()
        code = caught.value.code
        out, err = capsys.readouterr()
        return Done(code if isinstance(code, int) else 0, out, err)

    return call
