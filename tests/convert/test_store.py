"""The store puts whole folders only, and removes only what resift made there."""

import errno
import multiprocessing
import os
import shutil
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from resift.convert import store
from resift.convert.store import locked, note_revision, put, remove
from resift.errors import ModelError
from resift.rerank.artifact import load_artifact
from resift.rerank.stored_models import Revisions, artifact_name, read_revisions

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40
NAME = "owner/name"
ARTIFACT = artifact_name(COMMIT)

pytest.importorskip("filelock")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "models"


@pytest.fixture
def stored(models: Path, joint_folder: Path) -> Path:
    """A stored model."""
    repository = models / "owner--name"
    with locked(models, repository, NAME):
        put(repository / ARTIFACT, lambda out: shutil.copytree(joint_folder, out))
        note_revision(repository, "main", COMMIT, pin=True)
    return repository


def test_what_is_put_is_whole(stored: Path) -> None:
    assert load_artifact(stored / ARTIFACT).manifest.name == "tiny-joint"
    assert {path.name for path in stored.iterdir()} == {ARTIFACT, "revisions.json"}


@pytest.mark.parametrize("damage", ["nothing", "half", "raises"])
def test_what_is_not_whole_is_not_put_and_the_old_stays(
    stored: Path, joint_folder: Path, damage: str
) -> None:
    def write(out: Path) -> None:
        if damage == "nothing":
            return
        shutil.copytree(joint_folder, out)
        if damage == "half":
            (out / "stage-0.onnx").write_bytes(b"half")
            return
        raise ModelError("the conversion's")

    expected = "the conversion's" if damage == "raises" else "was damaged while it was written"
    with pytest.raises(ModelError, match=expected):
        put(stored / ARTIFACT, write)
    assert {path.name for path in stored.iterdir()} == {ARTIFACT, "revisions.json"}
    load_artifact(stored / ARTIFACT)


def test_commits_are_noted(models: Path, stored: Path) -> None:
    note_revision(stored, "v1", OTHER, pin=False)
    note_revision(stored, OTHER, OTHER, pin=False)
    assert read_revisions(stored) == Revisions(COMMIT, {"main": COMMIT, "v1": OTHER})
    note_revision(stored, None, OTHER, pin=True)
    assert read_revisions(stored).pinned == OTHER


def test_remove_frees_what_it_says(models: Path, stored: Path) -> None:
    size = sum(file.stat().st_size for file in (stored / ARTIFACT).iterdir())
    assert remove(models, stored, NAME) == size
    assert not stored.exists() and models.is_dir()


def test_remove_leaves_what_resift_did_not_make(
    models: Path, stored: Path, joint_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(joint_folder, elsewhere := tmp_path / "elsewhere")
    (stored / artifact_name(OTHER)).symlink_to(elsewhere)
    (stored / "mine").mkdir()
    (stored / "notes.txt").write_text("mine")
    users = stored / artifact_name("a" * 40)
    users.mkdir()
    (users / "thesis.doc").write_text("mine")
    remove(models, stored, NAME)
    left = {path.name for path in stored.iterdir()}
    assert left == {artifact_name(OTHER), "mine", "notes.txt", users.name}
    assert load_artifact(elsewhere).manifest.name == "tiny-joint"


def test_remove_leaves_what_lies_in_a_stored_model(models: Path, stored: Path) -> None:
    notes, folder = stored / ARTIFACT / "notes.txt", stored / ARTIFACT / "mine"
    notes.write_text("mine")
    folder.mkdir()
    assert remove(models, stored, NAME) > 0
    assert sorted((stored / ARTIFACT).iterdir()) == [folder, notes]


def _foreign_target(target: Path, kind: str) -> Path:
    """Make `target` a thing that resift did not make; returns what is in the way."""
    if kind == "file":
        target.write_text("mine")
        return target
    if kind == "link":
        target.symlink_to(target.parent / "nowhere")
        return target
    target.mkdir()
    if kind == "folder in it":
        (target / "stage-0.onnx").mkdir()
        return target / "stage-0.onnx"
    name = {"notes": "notes.txt", "weights": "mine.onnx", "json": "thesis.json"}[kind]
    (target / name).write_text("mine")
    return target / name


@pytest.mark.parametrize("kind", ["file", "link", "notes", "weights", "json", "folder in it"])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_what_resift_did_not_make_is_never_replaced(
    models: Path, joint_folder: Path, kind: str, when: str
) -> None:
    target, foreign = models / "owner--name" / ARTIFACT, []
    target.parent.mkdir(parents=True)

    def write(out: Path) -> None:
        shutil.copytree(joint_folder, out)
        if when == "meanwhile":
            foreign.append(_foreign_target(target, kind))

    if when == "before":
        foreign.append(_foreign_target(target, kind))
    with pytest.raises(ModelError) as caught:
        put(target, write)
    assert str(caught.value) == (
        f"{foreign[0]}: was not made by resift, and is in the way of a model; move it away"
    )
    assert os.path.lexists(foreign[0]) and list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("number", "file", "line"),
    [
        (errno.ENOSPC, "in", "cannot be stored there (no space left on the disk); free some space"),
        (errno.EROFS, "in", "cannot be stored there (the file system is read-only); make it writ"),
        (errno.EACCES, "in", "check the rights of the files and folders); make it writable or na"),
        (errno.ENAMETOOLONG, "out", "cannot be read or written by the conversion (file name too"),
        (errno.EACCES, "out", "cannot be read or written by the conversion (permission denied"),
    ],
)
def test_an_error_of_the_disk_is_called_what_it_is(
    models: Path, number: int, file: str, line: str
) -> None:
    def write(out: Path) -> None:
        raise OSError(number, os.strerror(number), str(out / "x" if file == "in" else "/a/weight"))

    with pytest.raises(ModelError) as caught:
        put(models / "owner--name" / ARTIFACT, write)
    assert line in str(caught.value)
    assert ("free some space" in str(caught.value)) == (number == errno.ENOSPC)


def test_a_removal_that_fails_says_so(
    models: Path, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlink(file: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(file))

    with monkeypatch.context() as patched, pytest.raises(ModelError) as caught:
        patched.setattr(Path, "unlink", unlink)
        remove(models, stored, NAME)
    message = str(caught.value)
    assert f"{stored}: {NAME} cannot be removed from there (the file system is read-" in message
    assert "stored there" not in message and "space" not in message


def test_a_folder_that_resift_did_not_make_is_never_used(models: Path, tmp_path: Path) -> None:
    (models / "owner--name" / ARTIFACT).mkdir(parents=True)
    with pytest.raises(ModelError, match="was not made by resift; move it away, or name another"):
        remove(models, models / "owner--name", NAME)
    assert (models / "owner--name" / ARTIFACT).is_dir()


def _hold(models: Path, held: Event, end: Event) -> None:
    with locked(models, models / "owner--name", NAME):
        held.set()
        end.wait(60)


def test_what_is_being_made_is_not_removed(models: Path, stored: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, end = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(models, held, end))
    process.start()
    assert held.wait(60)
    with pytest.raises(ModelError, match=f"{NAME}: another process makes it now; try again"):
        remove(models, stored, NAME)
    end.set()
    process.join(60)
    remove(models, stored, NAME)
    assert not stored.exists()


def test_leftovers_of_the_dead_are_deleted_and_nothing_else(models: Path, stored: Path) -> None:
    dead = stored / f".{ARTIFACT}.0123456789abcdef.part"
    foreign = [stored / ".notes.part", stored / f".{ARTIFACT}.part", stored / "x.part"]
    for folder in (dead, *foreign):
        (folder / "deeper").mkdir(parents=True)
    linked = stored / f".{ARTIFACT}.fedcba9876543210.part"
    linked.symlink_to(foreign[0])
    with locked(models, stored, NAME):
        assert not dead.exists()
        assert all((folder / "deeper").is_dir() for folder in foreign) and linked.is_symlink()


def test_without_locks_nothing_is_deleted_that_may_be_in_use(
    models: Path, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = stored / f".{ARTIFACT}.0123456789abcdef.part"
    part.mkdir()

    def unsupported(*_: object, **__: object) -> None:
        raise NotImplementedError("flock")

    monkeypatch.setattr("filelock.FileLock.acquire", unsupported)
    with locked(models, stored, NAME):
        assert part.is_dir()
    with pytest.raises(ModelError, match="has no locks"):
        store.remove(models, stored, NAME)
