"""The store of models that were made: a lock a model, folders that are whole or absent, removal.

Nothing is deleted but what carries a name that resift gave, in a folder that resift made.
"""

import json
import logging
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resift.errors import ModelError, OutputError
from resift.extras import require
from resift.files import claim_folder, reason, replacing
from resift.rerank.stored_models import (
    ARTIFACT_NAME,
    REVISIONS,
    Revisions,
    folder_size,
    is_stored,
    is_whole,
    read_revisions,
)

_COMMENT = "Models that resift made from checkpoints. It makes them again when they are needed."
_LOCKS = ".locks"
_PART = re.compile(rf"\.{ARTIFACT_NAME.pattern}\.[0-9a-f]{{16}}\.part")
_MAX_REVISIONS = 1_000

_log = logging.getLogger("resift")


@contextmanager
def locked(models: Path, repository: Path, name: str, *, wait: bool = True) -> Iterator[None]:
    """Lock what is stored of a model: one process makes it or removes it, others wait.

    Inside, leftovers of killed processes are deleted. Raises `ModelError` if the folder cannot be
    used, and if `wait` is False and another process has the lock.
    """
    with _disk_errors(models):
        if not claim_folder(models, _COMMENT):
            raise ModelError(
                f"{models}: was not made by resift; move it away, or name another cache folder by "
                "RESIFT_CACHE_DIR"
            )
        locks = models / _LOCKS
        locks.mkdir(exist_ok=True)
        file = locks / f"{repository.relative_to(models).as_posix().replace('/', '--')}.lock"
        lock = require("filelock", "hub").FileLock(file, mode=0o666)
        is_alone = _acquire(lock, name, wait=wait)
    try:
        if is_alone:
            _delete_leftovers(repository)
        yield
    finally:
        lock.release()


def put(target: Path, write: Callable[[Path], object]) -> None:
    """Make the artifact `target`: `write` makes a new folder, which gets the name once it is whole.

    Call it inside `locked`. An artifact that is broken is replaced. Raises `ModelError`, and what
    `write` raises; then `target` stays as it was.
    """
    with _disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
        part.mkdir()
    try:
        with _disk_errors(target.parent):
            write(part / "artifact")
            if not is_whole(part / "artifact"):
                raise ModelError(f"{target}: was damaged while it was written; check the disk")
            if target.exists():
                target.rename(part / "broken")
            (part / "artifact").rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def note_revision(repository: Path, revision: str | None, commit: str, *, pin: bool) -> None:
    """Write down the commit of a revision; with `pin` also as that of no revision."""
    known = read_revisions(repository)
    named = dict(known.named)
    if revision is not None and revision != commit and len(named) < _MAX_REVISIONS:
        named[revision] = commit
    new = Revisions(commit if pin else known.pinned, named)
    if new == known:
        return
    with _disk_errors(repository):
        repository.mkdir(parents=True, exist_ok=True)
        with replacing(repository / REVISIONS) as file:
            file.write(json.dumps(asdict(new), indent=2, sort_keys=True).encode() + b"\n")


def remove(models: Path, repository: Path, name: str) -> int:
    """Delete what is stored of a model; returns the bytes that were freed.

    Files and folders that resift did not make stay. Raises `ModelError` if a process makes the
    model now, or if a file cannot be deleted.
    """
    with locked(models, repository, name, wait=False), _disk_errors(repository):
        size = 0
        for folder in _artifacts(repository):
            size += folder_size(folder)
            shutil.rmtree(folder)
        (repository / REVISIONS).unlink(missing_ok=True)
        if repository.is_dir() and not any(repository.iterdir()):
            repository.rmdir()
        return size


def _acquire(lock: Any, name: str, *, wait: bool) -> bool:
    """Take the lock; False if the file system has no locks: then two may do the same work."""
    timeout = require("filelock", "hub").Timeout
    try:
        lock.acquire(timeout=0)
    except NotImplementedError:
        if wait:
            return False
        raise ModelError(
            f"{name}: the file system of the store has no locks, so another process may use it; "
            "delete its folder by hand"
        ) from None
    except timeout:
        if not wait:
            raise ModelError(f"{name}: another process makes it now; try again later") from None
        _log.info("%s: another process makes it; waiting", name)
        lock.acquire(timeout=-1)
    return True


def _artifacts(repository: Path) -> list[Path]:
    """Folders that resift made: they have a name that it gives, and are no links."""
    return [
        folder
        for folder in (repository.iterdir() if repository.is_dir() else ())
        if ARTIFACT_NAME.fullmatch(folder.name)
        and folder.is_dir()
        and not folder.is_symlink()
        and (is_stored(folder) or _is_half(folder))
    ]


def _is_half(folder: Path) -> bool:
    """Whether a folder without a manifest has nothing but files of an artifact."""
    return all(file.suffix in (".onnx", ".data", ".json") for file in folder.iterdir())


def _delete_leftovers(repository: Path) -> None:
    """Delete unfinished folders: whoever began them is dead, since the lock is ours."""
    for folder in repository.iterdir() if repository.is_dir() else ():
        if _PART.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Raise `ModelError` for an error of the disk, also where a conversion met it."""
    try:
        yield
    except OSError as error:
        raise ModelError(_not_stored(folder, error)) from error
    except OutputError as error:
        if isinstance(error.__cause__, OSError):
            raise ModelError(_not_stored(folder, error.__cause__)) from error
        raise


def _not_stored(folder: Path, error: OSError) -> str:
    return (
        f"{folder}: models cannot be stored there ({reason(error)}); free some space or name "
        "another folder by RESIFT_CACHE_DIR"
    )
