"""What Ray's native code writes to the stderr of this process."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_LEVEL = "RAY_BACKEND_LOG_LEVEL"
_ABOUT_LEVEL = f"Set ray log level from environment variable {_LEVEL}".encode()


@contextmanager
def quiet() -> Iterator[None]:
    """Start Ray in this block so that its native code writes fatal errors only.

    It writes one line before the level holds, about the level itself. What else is written to
    stderr within the block comes at its end. Does nothing if the user has set another level.
    """
    if os.environ.setdefault(_LEVEL, "fatal") != "fatal":
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held, os.fdopen(os.dup(2), "wb") as stderr:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr.fileno(), 2)
            held.seek(0)
            stderr.writelines(line for line in held if _ABOUT_LEVEL not in line)
