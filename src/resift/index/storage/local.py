"""An index in a folder of this disk: what is no file in it is never opened, for that may wait.

Lance and obstore open whatever has the right name, and wait for the other end of a pipe for ever.
"""

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from resift.files import check_regular, read_regular


class NoFile(Exception):
    """Something in an index that nobody has written there as a file."""


def listed(folder: Path, name: str) -> list[tuple[str, float]]:
    """What is in a folder of an index, whatever that is: its path and its time, in Unix seconds."""
    refuse_links(folder, (name,))
    times = []
    with suppress(FileNotFoundError), os.scandir(folder / name) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # it goes just now
                times.append((f"{name}/{entry.name}", entry.stat(follow_symlinks=False).st_mtime))
    return times


def read(folder: Path, name: str, most: int) -> bytes:
    """A file of an index; raise `NoFile` for anything else, and for more than `most` bytes."""
    refuse_links(folder, (name.partition("/")[0],))
    try:
        return read_regular(folder / name, most)
    except FileNotFoundError:
        if (folder / name).is_symlink():
            raise NoFile(f"{name} is a link that leads nowhere") from None
        raise
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EFBIG):
            raise
        raise NoFile(f"{name} {error.strerror}") from error


def check_files(folder: Path, names: Iterable[str]) -> None:
    """Raise `OSError` for one of these that is there and no file; missing ones are not missed."""
    for name in names:
        path = folder / name
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            continue
        check_regular(path, mode)


def check_tree(folder: Path) -> None:
    """Raise `OSError` for anything in a folder, however deep, that is neither file nor folder."""
    for root, _, names in os.walk(folder):
        check_files(Path(root), names)


def refuse_links(folder: Path, names: tuple[str, ...]) -> None:
    """Raise `ValueError` for a folder in `folder` that is a link to somewhere else."""
    for name in names:
        path = folder / name
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{path}: a link that leads out of the index")
