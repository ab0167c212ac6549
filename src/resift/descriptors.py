"""Descriptors that have a name among the files: ``/dev/stdout``, ``/dev/fd/63``, links to these.

Somebody opened what such a name stands for. It is never looked up again: a pipe has no other name,
and a file would be opened anew, without regard to how it was opened (``>>``).
"""

import os
import re
from pathlib import Path

_FOLDER = re.compile(r"/dev/fd|/proc/(\d+)(/task/\d+)?/fd")
_MOST_LINKS = 40  # as many as the system follows


def descriptor(path: str | os.PathLike[str]) -> int | None:
    """The number of this process's descriptor that a path stands for; None for any other path."""
    place = Path(os.path.abspath(path))
    for _ in range(_MOST_LINKS):
        folder = _FOLDER.fullmatch(os.path.realpath(place.parent))
        if folder and place.name.isdecimal():
            return int(place.name) if folder[1] in (None, str(os.getpid())) else None
        try:
            place = Path(os.path.abspath(place.parent / os.readlink(place)))
        except (OSError, ValueError):  # no link
            return None
    return None


def check_writable(number: int) -> None:
    """Raise `OSError` where a descriptor is closed, or was opened for reading alone."""
    os.write(number, b"")
