"""``resift convert``: what its options cannot mean is said in one line."""

from pathlib import Path

import pytest

from cli.command import Resift
from convert.checkpoints import make_bi_encoder


@pytest.mark.parametrize("exits", ["two", "", "2,", "2;4", "1.5"])
def test_invalid_exits_are_refused(exits: str, resift: Resift, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = resift("convert", str(tmp_path), str(tmp_path / "out"), "--exits", exits)
    assert f"--exits {exits}: expected numbers of layers" in done.error


@pytest.mark.torch
def test_a_bi_encoder_becomes_an_embedder_that_verifies(resift: Resift, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    checkpoint = make_bi_encoder(tmp_path / "checkpoint")
    done = resift("convert", checkpoint, tmp_path / "out", "--fp32")
    assert done.code == 0 and "cosines within 0.0000 of the" in " ".join(done.out.split())
    assert "mean cosine with the checkpoint's 1.0000, lowest 1.0000" in done.out
    done = resift("verify", tmp_path / "out")
    assert done.code == 0 and "8 reference cosines on" in done.out
