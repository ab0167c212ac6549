"""Static int8 quantisation by NNCF, in a form that is fast in both runtimes.

Linear layers are int8: weights per output channel, activations per tensor, with SmoothQuant.
Attention products and embeddings stay float32. Activations are uint8, because ONNX Runtime
fuses products of uint8 with int8, but computes products of int8 with int8 in float32, slower than
the float32 model (LOG.md).
"""

import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from resift.extras import require, without_telemetry

# These stay float32: embedding tables, which are not multiplied; attention products, 5 % of the
# work at 120 tokens, which lose most by rounding; late interaction; states, which are already int8
# between stages; and heads, which read one token per row, because NNCF averages the samples'
# ranges, which would cut off the highest logits.
_KEEP_FLOAT = re.compile(
    r"words|words\.(scales|positions|types)|types|.*\.(qk|mixed|turned|values)|head\..*"
    r"|exit\.\d+\.estimate|cross_attention\.(?!layer\.).*|(query_)?states\.\d+\.states"
)

LOWEST, HIGHEST = np.array(-127, np.float32), np.array(127, np.float32)


def quantise(model: onnx.ModelProto, samples: Sequence[dict[str, NDArray[Any]]]) -> onnx.ModelProto:
    """Quantise a float32 graph; activation ranges come from `samples`, arrays by input name."""
    nncf = _nncf()
    names = [node.name for node in model.graph.node if _KEEP_FLOAT.fullmatch(node.name)]
    with _errors_only(), redirect_stdout(sys.stderr):  # progress bars go to stderr
        quantised: onnx.ModelProto = nncf.quantize(
            model,
            nncf.Dataset(samples),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(samples),
            ignored_scope=nncf.IgnoredScope(names=names),
        )
    _unsigned_activations(quantised)
    onnx.checker.check_model(quantised)
    return quantised


def _nncf() -> ModuleType:
    """Import NNCF without its telemetry, and without its logger class for the whole process."""
    logger_class = logging.getLoggerClass()
    try:
        with without_telemetry():
            return require("nncf", "convert")
    finally:
        logging.setLoggerClass(logger_class)


@contextmanager
def _errors_only() -> Iterator[None]:
    """Set the level of NNCF's logger temporarily; `nncf.set_log_level` would be permanent."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def int8_scales(states: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """A scale per column of states ``(tokens, width)``; the highest absolute value becomes 127."""
    highest = np.max([np.abs(values).max(axis=0) for values in states], axis=0)
    scales: NDArray[np.float32] = np.maximum(highest, 1e-6) / HIGHEST
    return scales.astype(np.float32)


def int8_output(model: onnx.ModelProto, name: str, scales: NDArray[np.float32]) -> None:
    """Make the output `name` ``(rows, tokens, width)`` int8, with `scales` ``(width,)``.

    Uses separate operators, since OpenVINO's QuantizeLinear has no scales along the last axis.
    """
    graph = model.graph
    for node in graph.node:
        node.output[:] = [f"{name}.exact" if output == name else output for output in node.output]
    steps: NDArray[Any] = 1 / scales.astype(np.float32)
    for suffix, value in (("steps", steps), ("lowest", LOWEST), ("highest", HIGHEST)):
        graph.initializer.append(numpy_helper.from_array(value, f"{name}.{suffix}"))
    make = onnx.helper.make_node
    exact, scaled, rounded, clipped = (
        f"{name}.{suffix}" for suffix in ("exact", "scaled", "rounded", "clipped")
    )
    limits = [f"{name}.lowest", f"{name}.highest"]
    graph.node.append(make("Mul", [exact, f"{name}.steps"], [scaled], scaled))
    graph.node.append(make("Round", [scaled], [rounded], rounded))
    graph.node.append(make("Clip", [rounded, *limits], [clipped], clipped))
    graph.node.append(make("Cast", [clipped], [name], f"{name}.int8", to=onnx.TensorProto.INT8))
    output = next(output for output in graph.output if output.name == name)
    output.type.tensor_type.elem_type = onnx.TensorProto.INT8
    onnx.checker.check_model(model)


def _unsigned_activations(model: onnx.ModelProto) -> None:
    """Shift int8 activation zero points by 128, to represent the same values as uint8."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    names = {node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for name in names:
        zero = numpy_helper.to_array(constants[name])
        if zero.dtype == np.int8:
            shifted = (zero.astype(np.int16) + 128).astype(np.uint8)
            constants[name].CopyFrom(numpy_helper.from_array(shifted, name))
    del model.graph.value_info[:]  # stale types; runtimes infer them
