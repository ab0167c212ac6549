"""What runs an ONNX file. One file a runtime; the engine sees only `Session`."""

import importlib.util
import os
import re
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
from resift.rerank.native import native

ORDER = ("openvino", "onnxruntime")  # the first that is installed is the default

_NO_MEMORY = re.compile(
    r"bad[ _]alloc|out of memory|not enough memory|insufficient memory|cannot allocate|can't alloc|"
    r"failed to allocate|resource temporarily unavailable|can't start new thread",
    re.IGNORECASE,
)

Arrays = Mapping[str, NDArray[Any]]
Shape = tuple[int | None, ...] | None
"""An array's sizes, as far as a graph tells: None where one is free, or where nothing is known."""


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
        """Inputs by name → outputs by name, the caller's to keep; all of them with None.

        Raises `RuntimeFailure`.
        """


class SharedSession:
    """A session for all threads of a process, in turn, and for its forks, anew.

    A runtime's own threads do not live on in a fork, so that a child opens the model again when
    it first runs it. The parent's is never closed there: that would wait for those threads.
    """

    def __init__(self, open_model: Callable[[], Session]) -> None:
        self._open_model = open_model
        self._own: Session | None = open_model()
        self.runtime = self._own.runtime
        self.inputs, self.outputs = self._own.inputs, self._own.outputs
        self.turn = threading.Lock()  # two runs at once would fight for the cores and the memory

    def run(self, feeds: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        with self.turn, native:
            if self._own is None:
                self._own = self._open_model()
            return self._own.run(feeds, outputs)

    def forked(self) -> None:
        """The process is a child from here on."""
        pythonapi.Py_IncRef(py_object(self._own))  # kept for ever, the interpreter's end included
        self._own = None


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

    `threads` is 0 for all cores that are ours. Raises `InputError` for a runtime that there is not,
    `MissingExtra` for one that is not installed and `RuntimeFailure` for a file that it cannot
    load.
    """
    name = runtime or default_runtime()
    threads = threads or _limited()
    if name not in ORDER:
        raise InputError(f"runtime={name!r}: expected one of {', '.join(ORDER)}")
    state = model.stat() if model.is_file() else None
    _mind_forks()
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
                remedy = (
                    "" if _is_of_memory(error) else ("; is it an ONNX file made by resift convert?")
                )
                raise RuntimeFailure(
                    f"{model}: {name} cannot load it ({first_line(error)}){remedy}"
                ) from error
            _open[key] = session
    return session


def _limited() -> int:
    """Our cores where they are not all of the machine's; else 0, the runtime's own choice of all.

    Runtimes count the machine's cores, whatever a container is given of them; on a whole machine
    they know which of them are one core twice.
    """
    count = cores()
    return count if count < (os.cpu_count() or 1) else 0


@cache
def _mind_forks() -> None:
    """A fork waits until no batch runs, and the child opens its models anew."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_begin_anew)


def _hold() -> None:
    _opening.acquire()
    _held.extend(_open.values())
    for session in _held:
        session.turn.acquire()


def _begin_anew() -> None:
    for session in _held:
        session.forked()
    _let_go()


def _let_go() -> None:
    while _held:
        _held.pop().turn.release()
    _opening.release()


def _is_of_memory(error: BaseException) -> bool:
    """Whether a runtime got no memory, or no thread, whose stack is memory too."""
    return isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) is not None


def first_line(error: BaseException) -> str:
    """A runtime's message without its stack: the first line that says something.

    Whatever a runtime says where memory does not suffice, this says just that.
    """
    if _is_of_memory(error):
        return "the memory does not suffice; give this process more"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("Exception from ")]  # OpenVINO's stack
    return (telling or lines or [type(error).__name__])[0][:200]
