"""Show the steps of a long conversion on stderr, unless the program has its logging set up."""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from resift.extras import require

_LOGGER = logging.getLogger("resift")


class _Shown:
    """How many blocks of `visible_steps` run, in all threads, and the handler that they share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.blocks = 0
        self.handler: logging.Handler | None = None


_shown = _Shown()


@contextmanager
def visible_steps() -> Iterator[None]:
    """Print the log records of level INFO inside the block on stderr, a line each.

    A program that has set up logging (a handler of the root logger, or a level for ours) decides
    itself; so does HF_HUB_DISABLE_PROGRESS_BARS.
    """
    with _shown.lock:
        _shown.blocks += 1
        if _shown.blocks == 1 and not _is_set_up():
            _show()
    try:
        yield
    finally:
        with _shown.lock:
            _shown.blocks -= 1
            if _shown.blocks == 0:
                _hide()


def _is_set_up() -> bool:
    if logging.getLogger().handlers or _LOGGER.level != logging.NOTSET:
        return True
    return bool(require("huggingface_hub.utils", "hub").are_progress_bars_disabled())


def _show() -> None:
    handler = logging.StreamHandler(sys.stderr)
    if _LOGGER.handlers:  # they print warnings
        handler.addFilter(lambda record: record.levelno < logging.WARNING)
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.INFO)
    _shown.handler = handler


def _hide() -> None:
    if _shown.handler is not None:
        _LOGGER.removeHandler(_shown.handler)
        _LOGGER.setLevel(logging.NOTSET)
        _shown.handler = None
