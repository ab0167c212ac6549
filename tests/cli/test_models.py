"""``resift models`` and ``resift verify``: what there is, how it comes and goes, is it sound?"""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.command import PROGRAM, Resift
from convert.hub_models import OPEN, RUN, make_repository, output
from convert.loopback_hub import LATER_COMMIT, serve
from embedder_artifacts import make_embedder_artifact
from resift import Reranker
from resift.index.embedders.artifact import ArtifactEmbedder
from resift.rerank.artifact import (
    CONVERTER_VERSION,
    Agreement,
    ReferencePair,
    load_artifact,
    write_manifest,
)
from resift.rerank.catalogue import BUNDLED
from resift.rerank.known_models import KNOWN_MODELS
from resift.rerank.stored_models import folder_size
from resift.settings import Settings

COMMIT = "0123456789abcdef0123456789abcdef01234567"
COMMAND = RUN + PROGRAM


STORED = f"{COMMIT}-v{CONVERTER_VERSION}"


@pytest.fixture
def stored(tmp_path: Path, joint_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stored model, in a store of its own."""
    monkeypatch.setenv("RESIFT_CACHE_DIR", str(tmp_path))
    folder = tmp_path / "models" / "cross-encoder--ms-marco-MiniLM-L6-v2" / STORED
    shutil.copytree(joint_folder, folder)
    return folder


def test_models_lists_the_bundled_model_and_known_ones(resift: Resift) -> None:
    done = resift("models")
    assert (done.code, done.err) == (0, "")
    assert Reranker().name in done.out and Reranker().fingerprint in done.out
    assert all(known.hub_id in done.out for known in KNOWN_MODELS)
    row = next(line for line in done.out.splitlines() if "ms-marco-MiniLM-L6-v2" in line)
    assert row.split()[1:5] == ["apache-2.0", "en", "512", "22.7"]
    assert "74.30 nDCG@10 TREC DL 2019" in row


def test_models_lists_what_is_here_with_its_size(resift: Resift, stored: Path) -> None:
    (stored.parent / f"{'f' * 40}-v{CONVERTER_VERSION}").mkdir()
    out = resift("models").out
    assert "int8 to float32" in out
    rows = [line for line in out.splitlines() if "ms-marco-MiniLM-L6-v2" in line]
    assert rows[0].split()[1:] == [COMMIT[:12], "5", "MB", "128", "float32"]
    assert "broken: is converted again" in rows[1]
    assert rows[2].rstrip().endswith("here")


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "Spearman 0.9982"),
        ({"float_layers": ("one", "two")}, "Spearman 0.9982, 2 layers float32"),
        ({"is_int8": False}, "float32 kept: int8 is not close enough"),
        ({"spearman": None}, "no order"),
    ],
)
def test_models_lists_how_close_int8_is(
    changes: dict[str, Any], shown: str, resift: Resift, stored: Path
) -> None:
    report = replace(Agreement(0.9982, 0.99, 0.95, 300, 0.04), **changes)
    write_manifest(stored, replace(load_artifact(stored).manifest, report=report))
    row = next(line for line in resift("models").out.splitlines() if COMMIT[:12] in line)
    assert re.search(rf" MB +\d+ +{shown}$", row.rstrip())


def test_models_as_json_is_one_document(resift: Resift, stored: Path) -> None:
    done = resift("models", "--json")
    printed = json.loads(done.out)
    assert done.code == 0 and done.err == ""
    assert printed["bundled"]["fingerprint"] == Reranker().fingerprint
    known = {row["hub_id"]: row["is_stored"] for row in printed["known"]}
    assert list(known) == [model.hub_id for model in KNOWN_MODELS]
    (row,) = printed["stored"]
    assert [name for name, is_stored in known.items() if is_stored] == [row["name"]]
    assert (row["commit"], row["folder"], row["problem"]) == (COMMIT, str(stored), None)
    assert row["fingerprint"] == Reranker(stored).fingerprint
    assert row["bytes"] == sum(file.stat().st_size for file in stored.iterdir())


def test_a_container_is_built_by_fetch_and_runs_without_a_network(tmp_path: Path) -> None:
    with serve(make_repository(tmp_path / "repository"), "owner/name") as hub:
        environment = hub.environment(tmp_path)
        hub.branches["v1"] = LATER_COMMIT
        hub.commits[LATER_COMMIT] = make_repository(tmp_path / "later")
        call = ("models", "fetch", "owner/name", "--revision", "v1")
        out, err = output(COMMAND, *call, environment=environment)
        first, folder = out.splitlines()
        assert first.startswith(f"owner/name at {LATER_COMMIT}: 5 MB, fingerprint ")
        assert load_artifact(Path(folder)).manifest.base_model == "owner/name"
        assert "owner/name: converting" in err.splitlines()
        shutil.rmtree(tmp_path / "hf")
        hub.requests.clear()
        out, _ = output(OPEN, "owner/name", environment=environment | {"HF_HUB_OFFLINE": "1"})
        assert out == "name" and hub.requests == []
        out, _ = output(COMMAND, "models", "fetch", "owner/name", "--json", environment=environment)
        assert json.loads(out)["commit"] == LATER_COMMIT


def test_remove_says_the_bytes(resift: Resift, stored: Path, tmp_path: Path) -> None:
    error = resift("models", "remove", "cross-encoder/ms-marco-MiniLM-L6-v2").error
    assert "models: was not made by resift" in error and stored.is_dir()
    with serve(make_repository(tmp_path / "repository"), "owner/name") as hub:
        environment = hub.environment(tmp_path)
        output(OPEN, "owner/name", environment=environment)
        size = folder_size(tmp_path / "cache" / "models" / "owner--name" / STORED)
        out, err = output(COMMAND, "models", "remove", "owner/name", environment=environment)
        assert (out, err) == (f"owner/name: removed, {size:,} bytes are free again", "")
        assert not (tmp_path / "cache" / "models" / "owner--name").exists()
        assert (tmp_path / "hf").is_dir()


@pytest.mark.parametrize("name", ["owner/absent", "folder:absent", "../models"])
def test_what_is_not_stored_is_not_removed(resift: Resift, stored: Path, name: str) -> None:
    assert f"{name}: not stored; resift models lists" in resift("models", "remove", name).error


@pytest.mark.parametrize("name", ["nothing", "a/b/c", "-/x"])
def test_what_is_no_hub_id_is_not_fetched(resift: Resift, name: str) -> None:
    assert "not a hub id; expected OWNER/NAME" in resift("models", "fetch", "--", name).error


def test_an_empty_name_is_refused(resift: Resift) -> None:
    assert 'NAME "": expected a name, got none' in resift("models", "fetch", "").error


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
    assert "furthest logit from its reference 3, " in error


def test_verify_refuses_a_folder_without_a_model(resift: Resift, tmp_path: Path) -> None:
    assert "not a resift model" in resift("verify", tmp_path).error
    assert "absent" in resift("verify", tmp_path / "absent").error
