"""Static int8 by NNCF, in the form that both runtimes run fast.

Linear layers are int8 (weights by output channel, activations by tensor, smoothed); attention
itself and the embeddings stay as they are. Activations are written as uint8, since ONNX Runtime
fuses products of uint8 and int8 and leaves those of int8 and int8 in float: in the form that NNCF
writes, it ran slower than float32 (LOG.md).
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

# Positions and scales of the int8 table are read, not multiplied; attention is 5 % of the work
# at 120 tokens and loses most by rounding; so would what a meeting does above its layers. What is
# kept between stages is int8 before it comes in. A head reads one token a row, whose range is its
# own in every pair: what NNCF keeps, the mean of the samples' ranges, cut off the highest logits.
_LEFT_ALONE = re.compile(
    r"words|words\.(scales|positions|types)|types|.*\.(qk|mixed|turned|values)|head\..*"
    r"|exit\.\d+\.estimate|meeting\.(?!layer\.).*|(query_)?states\.\d+\.states"
)

LEAST, HIGHEST = np.array(-127, np.float32), np.array(127, np.float32)


def quantise(model: onnx.ModelProto, samples: Sequence[dict[str, NDArray[Any]]]) -> onnx.ModelProto:
    """Float32 graph → int8 graph with ranges read off `samples` (inputs by name)."""
    nncf = _nncf()
    names = [node.name for node in model.graph.node if _LEFT_ALONE.fullmatch(node.name)]
    with _errors_only(), redirect_stdout(sys.stderr):  # its progress bars are no result
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
    """NNCF, whose import reports to its makers and makes all loggers of the program its own."""
    logger_class = logging.getLoggerClass()
    try:
        with without_telemetry():
            return require("nncf", "convert")
    finally:
        logging.setLoggerClass(logger_class)


@contextmanager
def _errors_only() -> Iterator[None]:
    """NNCF's own way to be quiet sets the level of whoever listens to it, for good."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def int8_steps(states: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """A step for each column of states ``(tokens, width)``: the highest value seen is 127."""
    highest = np.max([np.abs(own).max(axis=0) for own in states], axis=0)
    steps: NDArray[np.float32] = np.maximum(highest, 1e-6) / HIGHEST
    return steps.astype(np.float32)


def int8_output(model: onnx.ModelProto, name: str, scales: NDArray[np.float32]) -> None:
    """An output ``(rows, tokens, width)`` is given as int8, a step being `scales`, ``(width,)``.

    Written out, because OpenVINO's QuantizeLinear knows no scales along the last axis.
    """
    exact = f"{name}.exact"
    for node in model.graph.node:
        node.output[:] = [exact if own == name else own for own in node.output]
    steps: NDArray[Any] = 1 / scales.astype(np.float32)
    for own, value in (("steps", steps), ("least", LEAST), ("highest", HIGHEST)):
        model.graph.initializer.append(numpy_helper.from_array(value, f"{name}.{own}"))
    made = onnx.helper.make_node
    model.graph.node.extend(
        [
            made("Mul", [exact, f"{name}.steps"], [f"{name}.scaled"], f"{name}.scaled"),
            made("Round", [f"{name}.scaled"], [f"{name}.rounded"], f"{name}.rounded"),
            made(
                "Clip",
                [f"{name}.rounded", f"{name}.least", f"{name}.highest"],
                [f"{name}.clipped"],
                f"{name}.clipped",
            ),
            made("Cast", [f"{name}.clipped"], [name], f"{name}.int8", to=onnx.TensorProto.INT8),
        ]
    )
    port = next(port for port in model.graph.output if port.name == name)
    port.type.tensor_type.elem_type = onnx.TensorProto.INT8
    onnx.checker.check_model(model)


def _unsigned_activations(model: onnx.ModelProto) -> None:
    """Shift int8 activation zero points by 128: the same values, written as uint8."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    names = {node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for name in names:
        zero = numpy_helper.to_array(constants[name])
        if zero.dtype == np.int8:
            shifted = (zero.astype(np.int16) + 128).astype(np.uint8)
            constants[name].CopyFrom(numpy_helper.from_array(shifted, name))
    del model.graph.value_info[:]  # its element types are stale now, and runtimes infer their own
