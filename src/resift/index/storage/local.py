"""Reads an index in a folder of the local disk, and opens only regular files.

Lance and obstore open anything with the right name, and would wait forever for a pipe.
"""

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from resift.files import check_regular, read_regular


class NotAFile(Exception):
    """An entry of an index is not a file of the expected size; resift did not write it."""


def list_folder(folder: Path, name: str) -> list[tuple[str, float]]:
    """List a folder of an index: ``(path, modification time)`` of each entry, in Unix seconds."""
    refuse_links(folder, (name,))
    times = []
    with suppress(FileNotFoundError), os.scandir(folder / name) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # deleted just now
                times.append((f"{name}/{entry.name}", entry.stat(follow_symlinks=False).st_mtime))
    return times


def read(folder: Path, name: str, max_bytes: int) -> bytes:
    """Read a file of an index; raise `NotAFile` for a larger file, and for anything else."""
    refuse_links(folder, (name.partition("/")[0],))
    try:
        return read_regular(folder / name, max_bytes)
    except FileNotFoundError:
        if (folder / name).is_symlink():
            raise NotAFile(f"{name} is a link that leads nowhere") from None
        raise
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EFBIG):
            raise
        raise NotAFile(f"{name} {error.strerror}") from error


def check_files(folder: Path, names: Iterable[str]) -> None:
    """Raise `OSError` for an entry that exists and is not a regular file."""
    for name in names:
        path = folder / name
        with suppress(FileNotFoundError):
            check_regular(path, path.stat().st_mode)


def check_tree(folder: Path) -> None:
    """Raise `OSError` for anything below a folder that is neither a file nor a folder."""
    for root, _, names in os.walk(folder):
        check_files(Path(root), names)


def refuse_links(folder: Path, names: tuple[str, ...]) -> None:
    """Raise `ValueError` for a subfolder that is a link out of `folder`."""
    for name in names:
        path = folder / name
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{path}: a link that leads out of the index")
