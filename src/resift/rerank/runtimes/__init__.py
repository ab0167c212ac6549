"""What runs an ONNX file. One file a runtime; the engine sees only `Session`."""

import importlib.util
import os
import threading
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from resift.errors import InputError, MissingExtra, RuntimeFailure

ORDER = ("openvino", "onnxruntime")  # the first that is installed is the default

Arrays = Mapping[str, NDArray[Any]]


class Session(Protocol):
    """A loaded model. Threads may share it; it runs one batch at a time, on all its cores."""

    @property
    def runtime(self) -> str:
        """Name and version, for receipts."""

    @property
    def turn(self) -> threading.Lock:
        """Held while a batch runs."""

    @property
    def inputs(self) -> frozenset[str]:
        """The names that `run` expects."""

    def run(self, feeds: Arrays) -> dict[str, NDArray[np.float32]]:
        """Inputs by name → outputs by name, the caller's to keep. Raises `RuntimeFailure`."""


_open: WeakValueDictionary[tuple[object, ...], Session] = WeakValueDictionary()
_opening = threading.Lock()
_held: list[threading.Lock] = []  # while the process forks


def default_runtime() -> str:
    """The first installed runtime of `ORDER`; raises `MissingExtra` where there is none."""
    for name in ORDER:
        if importlib.util.find_spec(name) is not None:
            return name
    raise MissingExtra(
        "no runtime is installed: run  pip install openvino  or  pip install 'resift[onnxruntime]'"
    )


def open_session(model: Path, runtime: str | None = None, threads: int = 0) -> Session:
    """Load an ONNX file, or share the session that this process already has for it.

    `threads` is 0 for all cores. Raises `InputError` for a runtime that there is not,
    `MissingExtra` for one that is not installed and `RuntimeFailure` for a file that it cannot
    load.
    """
    name = runtime or default_runtime()
    if name not in ORDER:
        raise InputError(f"runtime={name!r}: expected one of {', '.join(ORDER)}")
    state = model.stat() if model.is_file() else None
    _forks_wait()
    key = (model.resolve(), state and (state.st_mtime_ns, state.st_size), name, threads)
    with _opening:
        session = _open.get(key)
        if session is None:
            module = import_module(f"resift.rerank.runtimes.{name}_session")
            try:
                session = module.open_model(model, threads)
            except MissingExtra:
                raise
            except Exception as error:
                raise RuntimeFailure(
                    f"{model}: {name} cannot load it ({first_line(error)}); "
                    "is it an ONNX file made by resift convert?"
                ) from error
            _open[key] = session
    return session


@cache
def _forks_wait() -> None:
    """A fork waits until no batch runs: a child's copy of a busy session is busy for ever."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_let_go)


def _hold() -> None:
    _opening.acquire()
    _held.extend(session.turn for session in list(_open.values()))
    for turn in _held:
        turn.acquire()


def _let_go() -> None:
    while _held:
        _held.pop().release()
    _opening.release()


def first_line(error: BaseException) -> str:
    """A runtime's message without its stack: the first line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("Exception from ")]  # OpenVINO's stack
    return (telling or lines or [type(error).__name__])[0][:200]
