"""What is int8 after quantisation is what both runtimes run fast; the rest is left as it was."""

import logging

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from artifacts import VOCABULARY, random_weights
from resift.convert.layers import EncoderShape
from resift.convert.quantise import quantise
from resift.convert.stages import stage_graph

pytest.importorskip("nncf")
pytestmark = pytest.mark.torch  # the convert extra brings both

LAYERS = 2
LINEAR = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)


def float32() -> onnx.ModelProto:
    shape = EncoderShape(LAYERS, heads=4, epsilon=1e-12, activation="gelu")
    return stage_graph(random_weights(LAYERS), shape, range(shape.layers), int8_embeddings=True)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return quantise(float32(), samples())


def samples() -> list[dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]]:
    rng = np.random.default_rng(2)
    drawn = []
    for length in (16, 32, 48, 16, 32, 48, 64, 16):
        names = ("input_ids", "attention_mask", "token_type_ids")
        highest = (VOCABULARY, 2, 2)
        feeds = {
            name: rng.integers(0, end, (1, length))
            for name, end in zip(names, highest, strict=True)
        }
        drawn.append(feeds | {"attention_mask": np.ones((1, length), np.int64)})
    return drawn


@pytest.fixture(scope="module")
def made_by(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Tensor name → the node that makes it."""
    return {name: node for node in model.graph.node for name in node.output}


def tensors(model: onnx.ModelProto) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def operators_of(node: onnx.NodeProto, made_by: dict[str, onnx.NodeProto]) -> list[str]:
    """The operator behind each input that is computed, seen through a change of form."""
    result = []
    for name in node.input:
        maker = made_by.get(name)
        while maker is not None and maker.op_type in ("Reshape", "Transpose"):
            maker = made_by.get(maker.input[0])
        if maker is not None:
            result.append(maker.op_type)
    return result


def test_activations_are_uint8_in_the_written_graph(model: onnx.ModelProto) -> None:
    stored = tensors(model)
    zero_points = [node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(zero_points) >= LAYERS * 4
    assert {stored[name].dtype for name in zero_points} == {np.dtype(np.uint8)}


def test_each_scale_and_zero_point_is_read_back_as_it_was_written(
    made_by: dict[str, onnx.NodeProto],
) -> None:
    pairs = 0
    for node in made_by.values():
        maker = made_by.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if maker is not None and maker.op_type == "QuantizeLinear":
            pairs += 1
            assert list(node.input[1:]) == list(maker.input[1:])
    assert pairs >= LAYERS * 4


def test_every_linear_layer_multiplies_int8_by_int8(
    model: onnx.ModelProto, made_by: dict[str, onnx.NodeProto]
) -> None:
    stored = tensors(model)
    nodes = {node.name: node for node in model.graph.node}
    for layer in range(LAYERS):
        first = layer == LAYERS - 1  # one token a row: its context's keys and values are not made
        for part in (entry for entry in LINEAR if not (first and entry.endswith(("key", "value")))):
            node = nodes[f"encoder.layer.{layer}.{part}.matmul"]
            assert operators_of(node, made_by) == ["DequantizeLinear"] * 2, node.name
            kernel, scale, _ = made_by[node.input[1]].input
            assert stored[kernel].dtype == np.int8
            assert stored[scale].shape == (stored[kernel].shape[1],)  # one an output channel


def test_attention_products_stay_float(
    model: onnx.ModelProto, made_by: dict[str, onnx.NodeProto]
) -> None:
    products = [node for node in model.graph.node if node.name.endswith((".qk", ".mixed"))]
    assert len(products) == 2 * LAYERS
    for node in products:
        assert not {"QuantizeLinear", "DequantizeLinear"} & set(operators_of(node, made_by))


def test_what_reads_one_token_a_row_stays_float(
    model: onnx.ModelProto, made_by: dict[str, onnx.NodeProto]
) -> None:
    """Its range is each pair's own, and the mean of ranges would cut off the highest logits."""
    nodes = {node.name: node for node in model.graph.node}
    for name in ("turned", "values"):
        entry = nodes[f"encoder.layer.{LAYERS - 1}.{name}"]
        assert "DequantizeLinear" not in operators_of(entry, made_by)
    for name in ("head.dense.matmul", "head.projection.matmul"):
        assert "DequantizeLinear" not in operators_of(nodes[name], made_by)


def test_embeddings_are_left_alone(
    model: onnx.ModelProto, made_by: dict[str, onnx.NodeProto]
) -> None:
    before, after = tensors(float32()), tensors(model)
    for name in ("words.table", "words.scale", "positions.table", "types.table"):
        np.testing.assert_array_equal(after[name], before[name])
        assert after[name].dtype == before[name].dtype
    nodes = {node.name: node for node in model.graph.node}
    for name in ("words.int8", "words.scales", "words", "words.positions", "words.types", "types"):
        makers = set(operators_of(nodes[name], made_by))
        assert not {"QuantizeLinear", "DequantizeLinear"} & makers, name


def test_inputs_and_output_keep_their_names(model: onnx.ModelProto) -> None:
    original = float32().graph
    assert [port.name for port in model.graph.input] == [port.name for port in original.input]
    assert [port.name for port in model.graph.output] == ["logits"]


def test_the_level_of_nncfs_logger_is_restored() -> None:
    logger, heard = logging.getLogger("nncf"), logging.NullHandler()
    logger.addHandler(heard)
    before = logger.level, heard.level, logging.getLoggerClass()
    try:
        quantise(float32(), samples())
        assert (logger.level, heard.level, logging.getLoggerClass()) == before
    finally:
        logger.removeHandler(heard)
