"""Runtimes that run ONNX files on the CPU: OpenVINO and ONNX Runtime.

The engine sees only `Session`. A process opens one session per file; its threads take turns.
"""

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

import numpy as np
from numpy.typing import NDArray

from resift.cores import cores
from resift.errors import InputError, MissingExtra, RuntimeFailure
from resift.extras import require, without_telemetry
from resift.rerank.native import first_line, lacks_memory, native
from resift.rerank.openvino_graph import round_in_one_step, transpose_keys

Arrays = Mapping[str, NDArray[Any]]
Shape = tuple[int | None, ...] | None
"""An array's sizes, None for a free size; or None for a shape that the graph does not declare."""


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
        """The outputs of `run`: name → shape."""

    def run(self, feeds: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Inputs by name → outputs by name, as copies; all outputs with None.

        Raises `RuntimeFailure`.
        """


class OpenVinoSession:
    """A model compiled by OpenVINO. One thread at a time may run it.

    With `threads` 0, OpenVINO chooses the number.
    """

    def __init__(self, model: Path, threads: int) -> None:
        with without_telemetry():
            openvino = require("openvino", "openvino")
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",  # one batch at a time, all cores on it
            # float32 between the int8 layers: bfloat16 would make scores depend on the processor
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        graph = core.read_model(str(model))
        ops = import_module("openvino.opset13")
        transpose_keys(graph, ops)
        round_in_one_step(graph, ops)
        compiled = core.compile_model(graph, "CPU", options)
        self.runtime = f"openvino {openvino.__version__.partition('-')[0]}"
        self.inputs = frozenset(port.get_any_name() for port in compiled.inputs)
        self.outputs: dict[str, Shape] = {}
        self._indices: dict[str, int] = {}
        for index, port in enumerate(compiled.outputs):
            for name in port.get_names():  # fusing leaves aliases
                self.outputs[name] = _openvino_shape(port.get_partial_shape())
                self._indices[name] = index
        self._request = compiled.create_infer_request()

    def run(self, feeds: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        try:
            self._request.infer(dict(feeds), share_inputs=True)
        except Exception as error:
            raise RuntimeFailure(f"openvino: {first_line(error)}") from error
        names = self.outputs if outputs is None else outputs
        output = self._request.get_output_tensor
        return {name: np.array(output(self._indices[name]).data) for name in names}


def _openvino_shape(declared: Any) -> Shape:
    if declared.rank.is_dynamic:
        return None
    return tuple(None if size.is_dynamic else size.get_length() for size in declared)


class OnnxRuntimeSession:
    """A model loaded by ONNX Runtime, which chooses the number with `threads` 0."""

    def __init__(self, model: Path, threads: int) -> None:
        onnxruntime = require("onnxruntime", "onnxruntime")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: its warnings are about its own optimiser
        options.intra_op_num_threads = threads
        # Threads that spin after a stage would compete with those of the next one for the cores.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        self.runtime = f"onnxruntime {onnxruntime.__version__}"
        self.inputs = frozenset(port.name for port in session.get_inputs())
        self.outputs = {port.name: _onnx_shape(port.shape) for port in session.get_outputs()}
        self._session = session

    def run(self, feeds: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        names = sorted(self.outputs) if outputs is None else list(outputs)
        try:
            values = self._session.run(names, dict(feeds))
        except Exception as error:
            raise RuntimeFailure(f"onnxruntime: {first_line(error)}") from error
        return dict(zip(names, values, strict=True))


def _onnx_shape(declared: Sequence[int | str | None]) -> Shape:
    """ONNX Runtime gives names to free sizes, and an empty shape to unknown ones and scalars."""
    return tuple(size if isinstance(size, int) else None for size in declared) or None


SESSION_TYPES: dict[str, Callable[[Path, int], Session]] = {
    "openvino": OpenVinoSession,
    "onnxruntime": OnnxRuntimeSession,
}
"""By the package's name; the first that is installed is the default."""


class SharedSession:
    """A session that the threads of a process use in turn.

    A fork does not have the runtime's threads, so a child opens the model again at its first run.
    It never closes the parent's session: that would wait for those threads.
    """

    def __init__(self, open_model: Callable[[], Session]) -> None:
        self._open_model = open_model
        self._session: Session | None = open_model()
        self.runtime = self._session.runtime
        self.inputs, self.outputs = self._session.inputs, self._session.outputs
        self.lock = threading.Lock()  # concurrent runs would compete for cores and memory

    def run(self, feeds: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        with self.lock, native:
            if self._session is None:
                self._session = self._open_model()
            return self._session.run(feeds, outputs)

    def reopen(self) -> None:
        """Open the model again at the next run, in a forked child."""
        pythonapi.Py_IncRef(py_object(self._session))  # so that it is never closed
        self._session = None


_open: WeakValueDictionary[tuple[object, ...], SharedSession] = WeakValueDictionary()
_opening = threading.Lock()
_locked: list[SharedSession] = []  # locked while the process forks


def default_runtime() -> str:
    """The first installed runtime; raises `MissingExtra` if none is installed."""
    for name in SESSION_TYPES:
        if importlib.util.find_spec(name) is not None:
            return name
    raise MissingExtra(
        "no runtime is installed: run  pip install openvino  or  pip install 'resift[onnxruntime]'"
    )


def open_session(model: Path, runtime: str | None = None, threads: int = 0) -> Session:
    """Load an ONNX file, or share this process's open session of it.

    `threads` 0 means all cores of this process. Raises `InputError` for an unknown runtime,
    `MissingExtra` if it is not installed and `RuntimeFailure` if it cannot load the file.
    """
    name = runtime or default_runtime()
    threads = threads or _container_cores()
    if name not in SESSION_TYPES:
        raise InputError(f"runtime={name!r}: expected one of {', '.join(SESSION_TYPES)}")
    state = model.stat() if model.is_file() else None
    _register_fork_handlers()
    key = (model.resolve(), state and (state.st_mtime_ns, state.st_size), name, threads)
    with _opening:
        session = _open.get(key)
        if session is None:
            try:
                with native:
                    session = SharedSession(partial(SESSION_TYPES[name], model, threads))
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
    """The cores of this process if they are fewer than the machine's; else 0.

    Runtimes count all cores of the machine, even in a container with fewer. Without such a limit
    they choose better, for instance they know hyperthreads.
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
    _locked.extend(_open.values())
    for session in _locked:
        session.lock.acquire()


def _reopen_all() -> None:
    for session in _locked:
        session.reopen()
    _unlock_all()


def _unlock_all() -> None:
    while _locked:
        _locked.pop().lock.release()
    _opening.release()
