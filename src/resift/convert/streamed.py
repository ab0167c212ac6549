"""Graphs whose large weights go to disk as they are made: memory holds one of them at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from resift.convert.graph import GraphBuilder, new_model

SMALL_BYTES = 1 << 16  # what stays in the graph's own file
_ALIGNMENT = 4096  # of weights in the data file, so that runtimes can map them into memory


class StreamedBuilder(GraphBuilder):
    """Collects nodes as `GraphBuilder` does, and writes large weights to a file, ``NAME.data``."""

    def __init__(self, file: Path) -> None:
        """`file` is the graph's own file, which `save` writes."""
        super().__init__()
        self._file = file
        self._data = file.with_name(f"{file.name}.data")
        self._data.write_bytes(b"")

    def constant(self, name: str, value: NDArray[Any]) -> str:
        if name in self.weights or value.nbytes <= SMALL_BYTES:
            return super().constant(name, value)
        tensor = TensorProto()
        tensor.name = name
        tensor.data_type = helper.np_dtype_to_tensor_dtype(value.dtype)
        tensor.dims.extend(value.shape)
        with self._data.open("ab") as stream:
            start = stream.tell()
            start += -start % _ALIGNMENT
            stream.truncate(start)
            stream.seek(start)
            np.ascontiguousarray(value).tofile(stream)
        tensor.data_location = TensorProto.EXTERNAL
        entries = {"location": self._data.name, "offset": start, "length": value.nbytes}
        for key, number in entries.items():
            tensor.external_data.add(key=key, value=str(number))
        self.weights[name] = tensor
        return name

    def save(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Write the graph, and run ONNX's checker over it."""
        onnx.save(new_model(self, inputs, outputs), str(self._file))
        onnx.checker.check_model(str(self._file))
