"""``resift convert``: what its options cannot mean is said in one line."""

from pathlib import Path

import pytest

from cli.command import Resift


@pytest.mark.parametrize("exits", ["two", "", "2,", "2;4", "1.5"])
def test_exits_that_are_no_numbers_are_named(exits: str, resift: Resift, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = resift("convert", str(tmp_path), str(tmp_path / "out"), "--exits", exits)
    assert f"--exits {exits}: expected numbers of layers" in done.error
