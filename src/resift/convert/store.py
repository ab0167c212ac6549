"""The store of models that were made: a lock a model, folders that are whole or absent, removal.

Nothing is deleted but files with names that resift gives, in a folder that resift made.
"""

import errno
import json
import logging
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resift.errors import ArtifactError, ModelError, OutputError, shown
from resift.extras import require
from resift.files import claim_folder, reason, replacing
from resift.rerank.artifact import MANIFEST, TOKENIZER, read_manifest
from resift.rerank.stored_models import (
    ARTIFACT_NAME,
    REVISIONS,
    Revisions,
    is_whole,
    read_revisions,
)

_COMMENT = "Models that resift made from checkpoints. It makes them again when they are needed."
_LOCKS = ".locks"
_PART = re.compile(rf"\.{ARTIFACT_NAME.pattern}\.[0-9a-f]{{16}}\.part")
_FILE = re.compile(r"stage-\d+\.onnx(\.data)?")  # of an artifact, beside tokenizer and manifest
_MAX_REVISIONS = 1_000
_NOT_STORED = "models cannot be stored there"
_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)

_log = logging.getLogger("resift")


@contextmanager
def locked(models: Path, repository: Path, name: str, *, wait: bool = True) -> Iterator[None]:
    """Lock what is stored of a model: one process makes it or removes it, others wait.

    Inside, leftovers of killed processes are deleted. Raises `ModelError` if the folder cannot be
    used, and if `wait` is False and another process has the lock.
    """
    with _disk_errors(models, "the store cannot be used"):
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

    `write` may put other files beside the new folder. Call it inside `locked`. An artifact that is
    broken is replaced, if nothing but its files is in its folder. Raises `ModelError`, and what
    `write` raises; then `target` stays as it was.
    """
    check_replaceable(target)
    with _disk_errors(target.parent, _NOT_STORED):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
        part.mkdir()
    try:
        with _conversion_errors(part):
            write(part / "artifact")
        with _disk_errors(target.parent, _NOT_STORED):
            if not is_whole(part / "artifact", None):
                raise ModelError(f"{target}: was damaged while it was written; check the disk")
            check_replaceable(target)  # another program may have put a file there meanwhile
            if target.exists():
                target.rename(part / "broken")
            (part / "artifact").rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_replaceable(target: Path) -> None:
    """Raise `ModelError` if `target` is, or holds, what resift did not make."""
    with _disk_errors(target.parent, _NOT_STORED):
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            foreign = [target]
        else:
            foreign = _foreign(target) if target.exists() else []
    if foreign:
        raise ModelError(
            f"{foreign[0]}: was not made by resift, and is in the way of a model; move it away"
        )


def note_revision(repository: Path, revision: str | None, commit: str, *, pin: bool) -> None:
    """Write down the commit of a revision; with `pin` also as that of no revision."""
    known = read_revisions(repository)
    named = dict(known.named)
    if revision is not None and revision != commit and len(named) < _MAX_REVISIONS:
        named[revision] = commit
    new = Revisions(commit if pin else known.pinned, named)
    if new == known:
        return
    with _disk_errors(repository, "the commit of a model cannot be written down there"):
        repository.mkdir(parents=True, exist_ok=True)
        with replacing(repository / REVISIONS) as file:
            file.write(json.dumps(asdict(new), indent=2, sort_keys=True).encode() + b"\n")


def remove(models: Path, repository: Path, name: str) -> int:
    """Delete what is stored of a model; returns the bytes that were freed.

    Files and folders that resift did not make stay. Raises `ModelError` if a process makes the
    model now, or if a file cannot be deleted.
    """
    problem = f"{name} cannot be removed from there"
    with locked(models, repository, name, wait=False), _disk_errors(repository, problem):
        size = sum(_remove_artifact(folder) for folder in _artifacts(repository))
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
        if ARTIFACT_NAME.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink()
    ]


def _remove_artifact(folder: Path) -> int:
    """Delete an artifact's files, and its folder if that is empty then; returns their bytes."""
    foreign, size = _foreign(folder), 0
    files = [file for file in folder.iterdir() if file not in foreign]
    for file in sorted(files, key=lambda file: file.name != MANIFEST):  # no reader opens it now
        size += file.lstat().st_size
        file.unlink()
    if not foreign:
        folder.rmdir()
    return size


def _foreign(folder: Path) -> list[Path]:
    """What is in the folder of an artifact without being a file of it, by name."""
    names = {MANIFEST, TOKENIZER}
    with suppress(ArtifactError):  # the names that resift gives are known without a manifest
        names |= set(read_manifest(folder).files)
    return [
        path
        for path in sorted(folder.iterdir())
        if not (path.name in names or _FILE.fullmatch(path.name))
        or path.is_symlink()
        or not path.is_file()
    ]


def _delete_leftovers(repository: Path) -> None:
    """Delete unfinished folders: whoever began them is dead, since the lock is ours."""
    for folder in repository.iterdir() if repository.is_dir() else ():
        if _PART.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _disk_errors(folder: Path, problem: str) -> Iterator[None]:
    """Raise `ModelError`, with the problem and a remedy, for an error of the disk."""
    try:
        yield
    except OSError as error:
        raise ModelError(_not_possible(folder, problem, error)) from error


@contextmanager
def _conversion_errors(part: Path) -> Iterator[None]:
    """Raise `ModelError` for an error of the disk that a conversion met: in the store, or not."""
    store = part.parent
    try:
        yield
    except OSError as error:
        raise ModelError(_not_converted(part, error)) from error
    except OutputError as error:
        if isinstance(cause := error.__cause__, OSError):
            raise ModelError(_not_possible(store, _NOT_STORED, cause)) from error
        raise


def _not_converted(part: Path, error: OSError) -> str:
    """The message for a file that a conversion could not read or write."""
    name = error.filename
    file = Path(name) if isinstance(name, str) else None
    is_stored = file is None or part in file.parents or error.errno in _FULL
    if is_stored:
        return _not_possible(part.parent, _NOT_STORED, error)
    return f"{shown(name)}: cannot be read or written by the conversion ({reason(error)})"


def _not_possible(folder: Path, problem: str, error: OSError) -> str:
    remedies = dict.fromkeys(_FULL, "; free some space or name another folder by RESIFT_CACHE_DIR")
    remedies |= dict.fromkeys(
        _REFUSED, "; make it writable or name another folder by RESIFT_CACHE_DIR"
    )
    remedy = remedies.get(error.errno or 0, "; check the folder, or RESIFT_CACHE_DIR")
    return f"{folder}: {problem} ({reason(error)}){remedy}"
