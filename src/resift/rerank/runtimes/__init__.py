"""Runtimes, which run ONNX files: one module each. The engine sees only `Session`."""

import importlib.util
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from ctypes import py_object, pythonapi
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

from numpy.typing import NDArray

from resift.cores import cores
from resift.errors import InputError, MissingExtra, RuntimeFailure
from resift.rerank.native import first_line, lacks_memory, native

ORDER = ("openvino", "onnxruntime")  # the first that is installed is the default

Arrays = Mapping[str, NDArray[Any]]
Shape = tuple[int | None, ...] | None
"""An array's sizes: None for a free size, and for a shape that the graph does not declare."""


class Session(Protocol):
    """A loaded model. Threads may share it; it runs one batch at a time, on all its cores."""

    @property
    def runtime(self) -> str:
        """Name and version, for receipts."""

    @property
    def inputs(self) -> frozenset[str]:
        """The names that `run` expects."""

    @property
    def outputs(self) -> Mapping[str, Shape]:
        """The names that `run` can give, and the shape of each."""

    def run(self, feeds: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Inputs by name → outputs by name, as copies; all outputs with None.

        Raises `RuntimeFailure`.
        """


class SharedSession:
    """A session that the threads of a process use in turn.

    A runtime's own threads do not live on in a fork, so a child opens the model again when it first
    runs it. It never closes the parent's session: that would wait for those threads.
    """

    def __init__(self, open_model: Callable[[], Session]) -> None:
        self._open_model = open_model
        self._session: Session | None = open_model()
        self.runtime = self._session.runtime
        self.inputs, self.outputs = self._session.inputs, self._session.outputs
        self.lock = threading.Lock()  # two runs at once would compete for cores and memory

    def run(self, feeds: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        with self.lock, native:
            if self._session is None:
                self._session = self._open_model()
            return self._session.run(feeds, outputs)

    def reopen(self) -> None:
        """Open the model again at the next run; for a child that was forked."""
        pythonapi.Py_IncRef(py_object(self._session))  # so that it is never closed
        self._session = None


_open: WeakValueDictionary[tuple[object, ...], SharedSession] = WeakValueDictionary()
_opening = threading.Lock()
_held: list[SharedSession] = []  # while the process forks


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

    `threads` is 0 for all cores of this process. Raises `InputError` for an unknown runtime,
    `MissingExtra` for one that is not installed and `RuntimeFailure` for a file that it cannot
    load.
    """
    name = runtime or default_runtime()
    threads = threads or _container_cores()
    if name not in ORDER:
        raise InputError(f"runtime={name!r}: expected one of {', '.join(ORDER)}")
    state = model.stat() if model.is_file() else None
    _register_fork_handlers()
    key = (model.resolve(), state and (state.st_mtime_ns, state.st_size), name, threads)
    with _opening:
        session = _open.get(key)
        if session is None:
            module = import_module(f"resift.rerank.runtimes.{name}_session")
            try:
                with native:
                    session = SharedSession(partial(module.open_model, model, threads))
            except MissingExtra:
                raise
            except Exception as error:
                hint = "" if lacks_memory(error) else "; is it an ONNX file made by resift convert?"
                raise RuntimeFailure(
                    f"{model}: {name} cannot load it ({first_line(error)}){hint}"
                ) from error
            _open[key] = session
    return session


def _container_cores() -> int:
    """The cores of this process where they are not all of the machine's; else 0.

    Runtimes count all of the machine's cores, even where a container has fewer. On a whole machine
    they know better, for instance which are hyperthreads of one core.
    """
    count = cores()
    return count if count < (os.cpu_count() or 1) else 0


@cache
def _register_fork_handlers() -> None:
    """A fork waits until no batch runs, and the child opens its models again."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_lock_all, after_in_parent=_unlock_all, after_in_child=_reopen_all
        )


def _lock_all() -> None:
    _opening.acquire()
    _held.extend(_open.values())
    for session in _held:
        session.lock.acquire()


def _reopen_all() -> None:
    for session in _held:
        session.reopen()
    _unlock_all()


def _unlock_all() -> None:
    while _held:
        _held.pop().lock.release()
    _opening.release()
