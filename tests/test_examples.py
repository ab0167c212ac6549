"""Every lesson in examples/ runs to its end, offline, and prints something.

A lesson names the packages that it needs in its first import lines; without one it is skipped.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from retrievers.search_engine_peer import SearchEnginePeer
from storage.peer import running

EXAMPLES = Path(__file__).parent.parent / "examples"
WITH_A_SERVER = EXAMPLES / "first_stage_elasticsearch.py"
LESSONS = sorted({*EXAMPLES.glob("*.py")} - {WITH_A_SERVER})


def _packages(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_there_are_lessons() -> None:
    assert LESSONS


@pytest.mark.parametrize("file", LESSONS, ids=lambda file: file.stem)
def test_a_lesson_runs(file: Path, tmp_path: Path) -> None:
    _run(file, tmp_path)


def test_the_lesson_that_needs_a_server_runs_with_one(tmp_path: Path) -> None:
    peer = SearchEnginePeer()
    with running(peer):
        peer.indexes["docs"] = {
            "1": {"title": "Vacation", "text": "Unused vacation days lapse in March."},
            "2": {"title": "Parking", "text": "Cars park behind the house."},
        }
        printed = _run(WITH_A_SERVER, tmp_path, peer.url, "docs", "when do vacation days lapse")
    assert printed.startswith("1. (was 1)  Vacation")


def _run(file: Path, folder: Path, *arguments: str) -> str:
    """What a lesson prints."""
    missing = sorted({name for name in _packages(file) if find_spec(name) is None})
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(
        [sys.executable, str(file), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr[-2_000:]
    assert run.stdout.strip()
    assert "Traceback" not in run.stderr
    return run.stdout
