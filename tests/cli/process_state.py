"""The process-wide state that a command can change: read and restored."""

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP)
LOGGERS = (None, "resift")


def state() -> dict[str, Any]:
    """All of it that later code in this process would notice, without the streams."""
    changeable: dict[str, Any] = {
        "disabled logging": logging.root.manager.disable,
        "class": logging.getLoggerClass(),
    }
    for name in LOGGERS:
        logger = logging.getLogger(name)
        changeable[f"logger {name}"] = (
            logger.level, logger.propagate, logger.disabled, tuple(logger.filters),
            tuple(logger.handlers),
        )  # fmt: skip
    return changeable | {
        "warnings": (tuple(warnings.filters), warnings.showwarning),
        "hooks": (sys.excepthook, threading.excepthook),
        "signals": tuple(map(signal.getsignal, SIGNALS)),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
    }


@contextmanager
def restored_state() -> Iterator[None]:
    """Restore what is changed inside, streams too."""
    before, streams = state(), (sys.stdin, sys.stdout, sys.stderr)
    filters = list(warnings.filters)
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        _restore(before, filters)


def _restore(before: dict[str, Any], filters: list[Any]) -> None:
    logging.disable(before["disabled logging"])
    logging.setLoggerClass(before["class"])
    for name in LOGGERS:
        logger = logging.getLogger(name)
        level, propagate, disabled, log_filters, handlers = before[f"logger {name}"]
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled
        logger.filters[:], logger.handlers[:] = log_filters, handlers
    warnings.filters[:], warnings.showwarning = filters, before["warnings"][1]  # type: ignore[index]
    sys.excepthook, threading.excepthook = before["hooks"]
    for number, handler in zip(SIGNALS, before["signals"], strict=True):
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)
    if dict(os.environ) != before["environment"]:
        os.environ.clear()
        os.environ.update(before["environment"])
    os.chdir(before["folder"])
