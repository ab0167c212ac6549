"""``resift models`` and ``resift verify``: what there is, and that it is sound."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from cli.command import Resift
from embedder_artifacts import make_embedder_artifact
from resift import Reranker
from resift.index.embedders.artifact import ArtifactEmbedder
from resift.rerank.artifact import ReferencePair, load_artifact, write_manifest
from resift.rerank.catalogue import BUNDLED, CHECKPOINTS
from resift.settings import Settings


def test_models_lists_the_bundled_model_and_convertible_checkpoints(resift: Resift) -> None:
    done = resift("models")
    assert (done.code, done.err) == (0, "")
    assert Reranker().name in done.out and Reranker().fingerprint in done.out
    assert all(known.hub_id in done.out for known in CHECKPOINTS)


def test_models_as_json_is_one_document(resift: Resift) -> None:
    done = resift("models", "--json")
    printed = json.loads(done.out)
    assert done.code == 0 and done.err == ""
    assert printed["bundled"]["fingerprint"] == Reranker().fingerprint
    assert [row["hub_id"] for row in printed["convertible"]] == [k.hub_id for k in CHECKPOINTS]


def test_verify_prints_its_checks_of_the_bundled_model(resift: Resift) -> None:
    done = resift("verify")
    lines = [line.split() for line in done.out.splitlines()]
    assert done.code == 0 and lines[0] == ["ok", "files", "match", "their", "hashes"]
    names = ["finite", "head", "reference", "float32", "float32", "order", "alone", "exit", "exit"]
    assert [line[1] for line in lines[1:-1]] == names
    assert {line[0] for line in lines[:-1]} == {"ok"}


def test_verify_as_json_is_one_document(resift: Resift, joint_folder: Path) -> None:
    printed = json.loads(resift("verify", "--json").out)
    assert printed["max_difference"] <= printed["tolerance"]
    assert printed["pairs"] == 6
    assert printed["checks"] and all(check["passed"] for check in printed["checks"])
    done = resift("verify", joint_folder, "--json")
    assert done.code == 1 and "no reference pairs" in done.error


def test_verify_fails_for_a_changed_file_and_for_a_wrong_logit(
    resift: Resift, joint_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(joint_folder, folder)
    manifest = load_artifact(folder).manifest
    wrong = ReferencePair("query", "text", 99.0, 99.0)
    write_manifest(folder, replace(manifest, reference=(wrong,)))
    assert "from its reference" in resift("verify", folder).error
    with (folder / "tokenizer.json").open("a") as tokenizer:
        tokenizer.write(" ")
    assert "SHA-256" in resift("verify", folder).error


def test_verify_knows_an_embedder(resift: Resift, tmp_path: Path) -> None:
    folder = make_embedder_artifact(tmp_path / "model")
    embedder = ArtifactEmbedder(folder, Settings())
    cosine = float(embedder.embed_query("sea") @ embedder.embed(["whales"])[0])
    manifest = load_artifact(folder).manifest
    pair = ReferencePair("sea", "whales", cosine, cosine)
    write_manifest(folder, replace(manifest, reference=(pair,)))
    done = resift("verify", folder)
    assert done.code == 0 and "1 reference cosines on" in done.out
    assert "furthest cosine from its reference" in done.out
    wrong = ReferencePair("sea", "whales", cosine - 0.01, cosine)
    write_manifest(folder, replace(manifest, reference=(wrong,)))
    assert "furthest cosine from its reference 0.0100" in resift("verify", folder).error


def test_verify_names_the_defect_of_a_broken_model(resift: Resift, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED, folder)
    manifest = load_artifact(folder).manifest
    late = manifest.late_interaction
    assert late is not None
    write_manifest(folder, replace(manifest, late_interaction=replace(late, bias=late.bias + 3)))
    error = resift("verify", folder, "--json").error
    assert "wrong head: only its scale or bias differs" in error
    assert "furthest logit from its reference 1." in error


def test_verify_refuses_a_folder_without_a_model(resift: Resift, tmp_path: Path) -> None:
    assert "not a resift model" in resift("verify", tmp_path).error
    assert "absent" in resift("verify", tmp_path / "absent").error
