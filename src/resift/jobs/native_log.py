"""What Ray's native code writes to the stderr of this process."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_LEVEL = "RAY_BACKEND_LOG_LEVEL"
_BELOW_FATAL = re.compile(rb"\[[\d ,:.-]+ [DIWE] \d+ \d+\] ")


@contextmanager
def quiet() -> Iterator[None]:
    """Start Ray in this block so that its native code writes fatal errors only.

    It writes some lines before the level holds, one of them about the level itself: they are left
    out. What else is written to stderr within the block comes at its end. Does nothing if the user
    has set another level.
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
            stderr.writelines(line for line in held if not _BELOW_FATAL.match(line))
