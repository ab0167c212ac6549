"""Keeps the logs of a library off stderr where nobody asked for them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unprinted(name: str) -> Iterator[None]:
    """Print no warnings of the logger `name` during the block, unless a handler wants them.

    Without any handler, Python prints warnings to stderr, where they would precede our one line.
    Handlers of the program get them as before.
    """
    logger, handler = logging.getLogger(name), logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
