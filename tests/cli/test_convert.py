"""``resift convert``: what its options mean, and what they cannot mean is said in one line."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from cli.command import Resift
from convert.plain_checkpoints import write_bi_encoder, write_checkpoint
from resift.rerank.artifact import load_artifact


@pytest.mark.parametrize("exits", ["two", "", "2,", "2;4", "1.5"])
def test_invalid_exits_are_refused(exits: str, resift: Resift, tmp_path: Path) -> None:
    done = resift("convert", str(tmp_path), str(tmp_path / "out"), "--exits", exits)
    assert f"--exits {exits}: expected numbers of layers" in done.error


def test_a_bi_encoder_becomes_an_embedder_that_verifies(resift: Resift, tmp_path: Path) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint")
    done = resift("convert", checkpoint, tmp_path / "out", "--fp32")
    assert done.code == 0 and "cosines within 0.0000 of float32 over" in " ".join(done.out.split())
    assert "mean cosine with the checkpoint's 1.0000, lowest 1.0000" in done.out
    done = resift("verify", tmp_path / "out")
    assert done.code == 0 and "8 reference cosines on" in done.out


@pytest.mark.parametrize("label", ["neutral", "2"])
def test_a_label_of_several_is_named(label: str, resift: Resift, tmp_path: Path) -> None:
    names = {"0": "contradiction", "1": "other", "2": "neutral"}
    checkpoint = write_checkpoint(tmp_path / "checkpoint", labels=3, id2label=names)
    assert "name it: label=… in Python, --label …" in resift("convert", checkpoint, "out").error
    out = tmp_path / "out"
    done = resift("convert", checkpoint, out, "--fp32", "--label", label)
    assert done.code == 0 and "logits within 0.0000 of float32 over" in " ".join(done.out.split())
    done = resift("convert", checkpoint, tmp_path / "other", "--fp32", "--label", "maybe")
    assert "--label 'maybe': " in done.error and "contradiction, other, neutral" in done.error


@pytest.mark.parametrize("name", ["no-such-folder", "a/b/c", "a b/c"])
def test_what_is_neither_a_folder_nor_a_hub_id_is_not_found(
    name: str, resift: Resift, tmp_path: Path
) -> None:
    error = resift("convert", name, tmp_path / "out").error
    assert f"{name}: neither a folder nor a hub id; expected a folder, or owner/name" in error


def test_a_folder_has_no_revision(resift: Resift, tmp_path: Path) -> None:
    error = resift("convert", tmp_path, tmp_path / "out", "--revision", "main").error
    assert f"--revision main: {tmp_path} is a folder; leave it out" in error


@pytest.mark.parametrize("revision", [None, "v1"])
def test_a_hub_id_is_fetched_and_named_in_the_artifact(
    revision: str | None, resift: Resift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_checkpoint(tmp_path / "snapshot")
    asked: list[tuple[str, str | None]] = []

    def open_repository(name: str, revision: str | None) -> SimpleNamespace:
        asked.append((name, revision))
        return SimpleNamespace(folder=checkpoint)

    hub = ModuleType("resift.convert.hub")
    vars(hub).update(open_repository=open_repository, fetch=lambda repository: repository.folder)
    monkeypatch.setitem(sys.modules, "resift.convert.hub", hub)
    options = [] if revision is None else ["--revision", revision]
    done = resift("convert", "owner/name", tmp_path / "out", "--fp32", *options)
    assert done.code == 0, done.err
    assert asked == [("owner/name", revision)]
    assert load_artifact(tmp_path / "out").manifest.base_model == "owner/name"
