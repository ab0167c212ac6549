"""Graphs that were changed for OpenVINO give the same results; those of others stay as they are."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from resift.convert.graph import GraphBuilder, checked_model
from resift.convert.quantise import int8_output
from resift.rerank.openvino_graph import round_in_one_step, transpose_keys
from resift.rerank.tokenization import Tokens, load_tokenizer, pad

STAGE = "stage-0.onnx"


def test_openvino_reads_keys_as_rows_to_the_same_logits(joint_folder: Path) -> None:
    openvino, ops = (pytest.importorskip(name) for name in ("openvino", "openvino.opset13"))

    def keys_as_rows(graph: Any) -> int:
        products = [node for node in graph.get_ops() if node.get_type_name() == "MatMul"]
        keys = [
            product
            for product in products
            if product.input_value(1).get_node().get_type_name() != "Constant"
        ]
        return sum(product.get_attributes()["transpose_b"] for product in keys)

    tokens = Tokens(load_tokenizer(joint_folder / "tokenizer.json"), 64)
    feeds = pad(tokens.pairs(tokens.head("q"), ["a text", "another and a longer one"]))
    core = openvino.Core()
    graph = core.read_model(str(joint_folder / STAGE))
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    before = keys_as_rows(graph)
    plain = core.compile_model(graph, "CPU", options)(feeds)["logits"]
    transpose_keys(graph, ops)
    turned = core.compile_model(graph, "CPU", options)(feeds)["logits"]
    assert keys_as_rows(graph) - before == 1  # of two layers: the last one has no columns to turn
    assert turned == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_openvino_rounds_int8_outputs_as_before(tmp_path: Path, seed: int) -> None:
    openvino, ops = (pytest.importorskip(name) for name in ("openvino", "openvino.opset13"))
    rng = np.random.default_rng(seed)
    weights = {"d.weight": np.eye(24, dtype=np.float32), "d.bias": np.zeros(24, np.float32)}
    g = GraphBuilder()
    g.node("Identity", "states", g.linear("d", "x", weights))
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", "tokens", 24])
        for name in ("x", "states")
    ]
    model = checked_model(g, ports[:1], ports[1:])
    int8_output(model, "states", rng.uniform(0.005, 0.02, 24).astype(np.float32))
    onnx.save(model, str(tmp_path / "int8.onnx"))
    core = openvino.Core()
    graph = core.read_model(str(tmp_path / "int8.onnx"))
    feeds = {"x": rng.normal(size=(3, 16, 24)).astype(np.float32)}
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    plain = core.compile_model(graph, "CPU", options)(feeds)["states"]
    round_in_one_step(graph, ops)
    assert sum(node.get_type_name() == "FakeQuantize" for node in graph.get_ops()) == 1
    at_once = core.compile_model(graph, "CPU", options)(feeds)["states"]
    assert at_once.dtype == plain.dtype == np.int8
    assert plain.max() == 127 and plain.min() == -127  # the steps are small: some are clipped
    assert np.array_equal(at_once, plain)


@pytest.mark.parametrize("limits", [(-10.5, 10.5), ([-127.0], [127.0])])
def test_openvino_leaves_limits_of_others_as_they_are(tmp_path: Path, limits: Any) -> None:
    openvino, ops = (pytest.importorskip(name) for name in ("openvino", "openvino.opset13"))
    g = GraphBuilder()
    lowest, highest = (
        g.constant(name, np.array(value, np.float32))
        for name, value in zip(("lowest", "highest"), limits, strict=True)
    )
    over = g.node("Max", "over", g.node("Round", "rounded", "x"), lowest)
    g.node("Cast", "y", g.node("Min", "clipped", over, highest), to=TensorProto.INT8)
    ports = [
        helper.make_tensor_value_info(name, kind, ["rows"])
        for name, kind in (("x", TensorProto.FLOAT), ("y", TensorProto.INT8))
    ]
    onnx.save(checked_model(g, ports[:1], ports[1:]), str(tmp_path / "int8.onnx"))
    graph = openvino.Core().read_model(str(tmp_path / "int8.onnx"))
    round_in_one_step(graph, ops)
    assert not any(node.get_type_name() == "FakeQuantize" for node in graph.get_ops())


def test_openvino_leaves_other_conversions_as_they_are(joint_folder: Path) -> None:
    openvino, ops = (pytest.importorskip(name) for name in ("openvino", "openvino.opset13"))
    graph = openvino.Core().read_model(str(joint_folder / STAGE))
    names = [node.get_friendly_name() for node in graph.get_ops()]
    round_in_one_step(graph, ops)
    assert [node.get_friendly_name() for node in graph.get_ops()] == names
