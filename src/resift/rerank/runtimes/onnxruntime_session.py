"""ONNX Runtime on the CPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from resift.errors import RuntimeFailure
from resift.extras import require
from resift.rerank.native import first_line
from resift.rerank.runtimes import Arrays, Shape


class OnnxRuntimeSession:
    """One loaded model."""

    def __init__(self, session: Any, version: str) -> None:
        self.runtime = f"onnxruntime {version}"
        self.inputs = frozenset(port.name for port in session.get_inputs())
        self.outputs = {port.name: _shape(port.shape) for port in session.get_outputs()}
        self._session = session

    def run(self, feeds: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        wanted = sorted(self.outputs) if outputs is None else list(outputs)
        try:
            values = self._session.run(wanted, dict(feeds))
        except Exception as error:
            raise RuntimeFailure(f"onnxruntime: {first_line(error)}") from error
        return dict(zip(wanted, values, strict=True))


def _shape(declared: Sequence[int | str | None]) -> Shape:
    """Free sizes have names; an unknown shape is empty, as that of a scalar is."""
    return tuple(size if isinstance(size, int) else None for size in declared) or None


def open_model(model: Path, threads: int) -> OnnxRuntimeSession:
    """Load an ONNX file for the CPU; `threads` 0 leaves the number to ONNX Runtime."""
    onnxruntime = require("onnxruntime", "onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: its warnings are about its own optimiser
    options.intra_op_num_threads = threads
    # Threads that spin after a stage would compete with those of the next session for the cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return OnnxRuntimeSession(session, onnxruntime.__version__)
