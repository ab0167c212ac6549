"""The folder that a model is put into: new or empty, and filled whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resift.errors import OutputError


def check_new(out: Path) -> Path:
    """The folder that `put_model` would fill, links followed; `OutputError` where it must not be.

    To be called before long work. What holds anything is somebody's, whoever made it.
    """
    with _one_line(out):
        target = Path(os.path.realpath(out))
        if target.is_symlink():
            raise OutputError(f"{out}: a link that leads to itself; name another folder")
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise OutputError(f"{out}: is there already; name a new folder")
        above = next(folder for folder in target.parents if folder.exists())
        if not above.is_dir():
            raise OutputError(f"{out}: {above} is no folder; name a new folder in one")
        if not os.access(target if target.exists() else above, os.W_OK | os.X_OK):
            raise OutputError(f"{out}: cannot be written (no permission)")
    return target


def put_model(made: Path, out: Path) -> None:
    """Put the files of the folder `made` at `out`; raises as `check_new` does."""
    target = check_new(out)
    with _one_line(out):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".resift-{secrets.token_hex(8)}.part")
        try:
            shutil.copytree(made, part)
            part.chmod(0o777 & ~_mask())  # a temporary folder is for its owner alone
            if target.exists():
                target.rmdir()  # fails where something came meanwhile
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def _one_line(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from error
    except ValueError as error:  # a NUL in the name
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{str(out)!r}: no name that a folder can have") from error
