"""Proves that a command run in this process leaves nothing of itself for what runs next."""

import logging
import os
import signal
import sys
import warnings
from pathlib import Path

import pytest

from cli import conftest
from cli.command import Resift
from cli.process_state import state
from evaluation.small_collection import make_collection, make_run


@pytest.mark.parametrize("verb", ["models", "rerank", "rerank-run", "eval", "absent"])
def test_a_command_leaves_the_process_as_it_was(resift: Resift, tmp_path: Path, verb: str) -> None:
    folder = make_collection(tmp_path / "made")
    (folder / "qrels.tsv").write_text("q1\td2\t1\n")
    run = make_run(tmp_path / "run", {"q1": ["d4", "d2"]})
    (tmp_path / "lines").write_text("a lock\na key\n")
    options = {
        "rerank": ("-q", "a lock", tmp_path / "lines"),
        "rerank-run": (folder, "--run", run, "--output", tmp_path / "out"),
        "eval": (folder, "--run", run, "--depths", "2"),
    }
    before = state()
    resift(verb, *options.get(verb, ()))
    assert state() == before


def test_changes_of_a_command_are_restored(
    resift: Resift, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def rude() -> None:
        logging.disable(logging.CRITICAL)
        logging.getLogger().setLevel(logging.CRITICAL)
        logging.getLogger("resift").disabled = True
        logging.getLogger("resift").addHandler(logging.NullHandler())
        warnings.simplefilter("ignore")
        sys.excepthook = lambda *_: None
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.environ["RESIFT_MODEL"] = "rude"
        os.chdir(tmp_path)
        sys.stderr = sys.stdout
        raise SystemExit(0)

    monkeypatch.setattr(conftest, "run", rude)
    before, stderr = state(), sys.stderr
    resift("models")
    assert state() == before and sys.stderr is stderr
