"""What is int8 after quantisation is what both runtimes run fast; the rest is left as it was."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from artifacts import VOCABULARY, random_weights
from resift.convert.layers import EncoderShape
from resift.convert.quantise import Quantiser, quantise, uint8_scale
from resift.convert.stages import stage_graph
from resift.errors import InputError
from resift.rerank.runtimes import open_session

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


def test_heads_stay_float(model: onnx.ModelProto, made_by: dict[str, onnx.NodeProto]) -> None:
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


def logits(
    model: onnx.ModelProto, folder: Path, runtime: str
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    file = folder / f"{runtime}.onnx"
    onnx.save(model, str(file))
    session = open_session(file, runtime)
    return np.concatenate([session.run(sample)["logits"] for sample in samples()])


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_logits_are_those_of_the_float32_graph(
    model: onnx.ModelProto, tmp_path: Path, runtime: str
) -> None:
    pytest.importorskip(runtime)
    (tmp_path / "float").mkdir()
    exact = logits(float32(), tmp_path / "float", runtime)
    rounded = logits(model, tmp_path, runtime)
    assert np.abs(rounded - exact).max() < 0.05 * np.ptp(exact)
    assert np.abs(rounded - exact).max() > 0


def test_layers_stay_float_by_name() -> None:
    quantiser = Quantiser(float32(), samples())
    name = "encoder.layer.0.output.dense"
    some, rest = (
        f"encoder.layer.0.{part}.matmul" for part in ("output.dense", "intermediate.dense")
    )
    model = quantiser.quantised({name})
    made_by = {output: node for node in model.graph.node for output in node.output}
    nodes = {node.name: node for node in model.graph.node}
    assert "DequantizeLinear" not in operators_of(nodes[some], made_by)
    assert operators_of(nodes[rest], made_by) == ["DequantizeLinear"] * 2
    np.testing.assert_array_equal(
        tensors(model)[f"{name}.kernel"], tensors(float32())[f"{name}.kernel"]
    )


def test_all_layers_in_float_give_the_float32_graph() -> None:
    quantiser = Quantiser(float32(), samples())
    same = quantiser.quantised(quantiser.work)
    assert [node.name for node in same.graph.node] == [node.name for node in float32().graph.node]


def test_errors_tell_which_layer_rounds_worst() -> None:
    """One huge weight an output leaves few steps to the others of that output."""
    weights, bad = random_weights(LAYERS), "encoder.layer.0.attention.output.dense"
    expected = Quantiser(float32(), samples()).errors()
    kernel = weights[f"{bad}.weight"]
    kernel[np.arange(len(kernel)), np.arange(len(kernel))] *= 300
    shape = EncoderShape(LAYERS, heads=4, epsilon=1e-12, activation="gelu")
    graph = stage_graph(weights, shape, range(LAYERS), int8_embeddings=True)
    quantiser = Quantiser(graph, samples())
    assert quantiser.errors().keys() == quantiser.work.keys() == expected.keys()
    assert all(0 < error < 0.1 for error in quantiser.errors().values())


def test_the_same_graph_comes_out_each_time() -> None:
    quantiser = Quantiser(float32(), samples())
    first = quantiser.quantised()
    quantiser.quantised({"encoder.layer.1.output.dense"})
    assert quantiser.quantised().SerializeToString() == first.SerializeToString()


def test_kernels_fit_the_layers_that_are_int8_this_time() -> None:
    """Without the keys, which share its input, the queries' factors differ."""
    layer = "encoder.layer.0.attention.self"
    quantiser = Quantiser(float32(), samples())
    before = quantiser.quantised()
    after = quantiser.quantised({f"{layer}.key", f"{layer}.value"})
    name = "embeddings.LayerNorm.out.smooth_quant.factor"
    assert not np.array_equal(tensors(before)[name], tensors(after)[name])
    fresh = Quantiser(float32(), samples()).quantised({f"{layer}.key", f"{layer}.value"})
    kernel = f"{layer}.query.kernel.int8"
    np.testing.assert_array_equal(tensors(after)[kernel], tensors(fresh)[kernel])


def test_no_samples_are_an_error() -> None:
    with pytest.raises(InputError, match="no samples"):
        quantise(float32(), [])


def test_weights_that_are_not_finite_are_an_error() -> None:
    weights = random_weights(LAYERS)
    weights["encoder.layer.0.output.dense.weight"][0, 0] = np.nan
    shape = EncoderShape(LAYERS, heads=4, epsilon=1e-12, activation="gelu")
    with pytest.raises(InputError, match="not finite"):
        quantise(stage_graph(weights, shape, range(LAYERS)), samples())


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.5, 2.0), (-2.0, -1.0)])
def test_zero_is_always_a_code(low: float, high: float) -> None:
    step, zero = uint8_scale(low, high)
    lowest, highest = (code - float(zero) for code in (0, 255))
    assert lowest * step == pytest.approx(min(low, 0), abs=float(step))
    assert highest * step == pytest.approx(max(high, 0), abs=float(step))
