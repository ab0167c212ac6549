"""Stored models lie in folders named by commit, converter and options; listing them only reads."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from resift.errors import ModelError
from resift.rerank.artifact import (
    CONVERTER_VERSION,
    Agreement,
    load_artifact,
    write_manifest,
)
from resift.rerank.stored_models import (
    Revisions,
    artifact_name,
    checkpoint_store,
    content_hash,
    is_checkpoint,
    models_folder,
    read_revisions,
    stored_models,
    stored_repository,
)
from resift.settings import Settings

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_each_label_has_a_name_of_its_own() -> None:
    labels = [None, "relevant", "Relevant", 1, "1"]
    names = {artifact_name(COMMIT, label) for label in labels}
    assert len(names) == len(labels)
    assert artifact_name(COMMIT) == f"{COMMIT}-v{CONVERTER_VERSION}"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"\xff", b'{"pinned": 3}', b'{"pinned": null, "named": []}'],
)
def test_an_unreadable_note_counts_as_none(tmp_path: Path, content: bytes) -> None:
    assert read_revisions(tmp_path) == Revisions()
    (tmp_path / "revisions.json").write_bytes(content)
    assert read_revisions(tmp_path) == Revisions()


def test_what_is_no_commit_leads_to_no_folder(tmp_path: Path) -> None:
    note = {"pinned": "../../elsewhere", "named": {"main": COMMIT, "v1": "../elsewhere"}}
    (tmp_path / "revisions.json").write_text(json.dumps(note))
    assert read_revisions(tmp_path) == Revisions(None, {"main": COMMIT})


def _checkpoint(folder: Path) -> Path:
    (folder / "1_Dense").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "1_Dense" / "model.safetensors").write_bytes(b"head")
    return folder


def test_a_folder_is_known_by_the_files_that_are_read(tmp_path: Path) -> None:
    folder = _checkpoint(tmp_path / "model")
    hashed = content_hash(folder)
    shutil.copytree(folder, tmp_path / "copy")
    (folder / "README.md").write_text("other words")
    assert content_hash(folder) == hashed == content_hash(tmp_path / "copy")
    seen = {hashed}
    for name in ("config.json", "model.safetensors", "1_Dense/model.safetensors"):
        (folder / name).write_bytes((folder / name).read_bytes() + b" ")
        seen.add(content_hash(folder))
    (folder / "tokenizer.json").write_text("{}")
    assert len(seen | {content_hash(folder)}) == 5


def test_a_folder_of_the_hubs_cache_with_its_links_is_a_checkpoint(tmp_path: Path) -> None:
    folder = _checkpoint(tmp_path / "blobs")
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in ("config.json", "model.safetensors"):
        (linked / name).symlink_to(folder / name)
    (linked / "1_Dense").symlink_to(folder / "1_Dense")
    assert is_checkpoint(linked) and content_hash(linked) == content_hash(folder)
    assert not is_checkpoint(tmp_path)


def test_listing_names_what_is_whole_and_what_is_broken(tmp_path: Path, joint_folder: Path) -> None:
    assert stored_models(tmp_path / "absent") == []
    name = artifact_name(COMMIT)
    shutil.copytree(joint_folder, tmp_path / "owner--name" / name)
    shutil.copytree(joint_folder, tmp_path / "folders" / "mine" / name)
    broken = tmp_path / "owner--other" / name
    broken.mkdir(parents=True)
    (tmp_path / "owner--name" / "notes").mkdir()
    (tmp_path / ".locks").mkdir()
    listed = {model.name: model for model in stored_models(tmp_path)}
    assert set(listed) == {"owner/name", "folder:mine", "owner/other"}
    whole = listed["owner/name"]
    assert whole.manifest is not None and whole.manifest.name == "tiny-joint"
    assert (whole.commit, whole.version, whole.problem) == (COMMIT, CONVERTER_VERSION, None)
    assert whole.size == sum(file.stat().st_size for file in joint_folder.iterdir())
    assert whole.agreement is None
    assert listed["owner/other"].manifest is None and listed["owner/other"].agreement is None
    assert "not a resift model" in (listed["owner/other"].problem or "")
    assert stored_repository(tmp_path, "folder:mine") == tmp_path / "folders" / "mine"
    assert stored_repository(tmp_path, "../owner/name") is None


def test_a_report_of_the_conversion_is_listed(tmp_path: Path, joint_folder: Path) -> None:
    folder = tmp_path / "owner--name" / artifact_name(COMMIT)
    shutil.copytree(joint_folder, folder)
    report = Agreement(0.9982, None, 0.95, 300, 0.04, True, ("layer",), "resift 1")
    write_manifest(folder, replace(load_artifact(folder).manifest, report=report))
    (listed,) = stored_models(tmp_path)
    assert listed.agreement == asdict(report)


def test_a_model_of_a_folder_and_one_of_the_hub_never_share_a_folder(tmp_path: Path) -> None:
    assert checkpoint_store(tmp_path, Path("/")) == tmp_path / "folders" / "root"
    assert checkpoint_store(tmp_path, Path("/models/mine/../mine")).name == "mine"


def test_without_a_home_folder_the_message_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert models_folder(Settings(cache_dir=str(tmp_path))) == tmp_path / "models"
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(ModelError, match="no home folder; name one by RESIFT_CACHE_DIR"):
        models_folder(Settings())
