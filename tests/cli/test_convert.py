"""``resift convert``: what its options mean, and what they cannot mean is said in one line."""

from pathlib import Path

import pytest

from cli.command import PROGRAM, Resift
from convert.hub_models import NAME, output
from convert.loopback_hub import COMMIT, serve
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


def test_prompts_of_an_embedder_are_given(resift: Resift, tmp_path: Path) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", prompts={"prompts": {"query": "ba "}})
    prompts = ("--query-prompt", "", "--passage-prompt", "be ")
    assert resift("convert", checkpoint, tmp_path / "out", "--fp32", *prompts).code == 0
    manifest = load_artifact(tmp_path / "out").manifest
    assert (manifest.query_prompt, manifest.passage_prompt) == ("", "be ")


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
    assert f"'{name}': no such folder, and not a hub id; expected OWNER/NAME" in error


def test_a_folder_has_no_revision(resift: Resift, tmp_path: Path) -> None:
    error = resift("convert", tmp_path, tmp_path / "out", "--revision", "main").error
    assert f"--revision main: {tmp_path} is a folder; leave it out" in error


@pytest.mark.parametrize("kind", ["cross-encoder", "embedder"])
def test_a_hub_id_is_fetched_and_recorded_with_its_commit(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    write_checkpoint(folder) if kind == "cross-encoder" else write_bi_encoder(folder)
    out = tmp_path / "out"
    with serve(folder, NAME) as hub:
        environment = hub.environment(tmp_path)
        output(PROGRAM, "convert", NAME, str(out), "--fp32", environment=environment)
    manifest = load_artifact(out).manifest
    assert (manifest.base_model, manifest.revision) == (NAME, COMMIT)
    assert (manifest.kind == "embedder") == (kind == "embedder")
