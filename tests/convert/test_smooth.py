"""SmoothQuant's factors go into constants where that is free, and change nothing but rounding."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from convert import tiny_graphs
from resift.convert.products import Graph, groups
from resift.convert.quantise import quantise
from resift.rerank.runtimes import open_session

GRAPHS: dict[str, Callable[[], onnx.ModelProto]] = {
    "pre-norm": tiny_graphs.pre_norm,
    "residual": lambda: tiny_graphs.pre_norm(residual_of_norm=True),
    "gated": tiny_graphs.gated,
    "shared": tiny_graphs.shared,
}


def multiplied(model: onnx.ModelProto) -> set[str]:
    """The tensors that a node of their own divides by factors."""
    return {
        node.input[0]
        for node in model.graph.node
        if node.op_type == "Mul" and "smooth_quant" in node.name
    }


@pytest.mark.parametrize(
    ("name", "tensors"),
    [
        ("pre-norm", set()),
        ("residual", {"norm.out"}),  # the sum would read divided values
        ("gated", {"x"}),  # the side takes the factors of what it is multiplied into
        ("shared", {"x", "first.activated"}),
    ],
)
def test_factors_are_folded_where_no_other_node_reads(name: str, tensors: set[str]) -> None:
    assert multiplied(quantise(GRAPHS[name](), tiny_graphs.samples())) == tensors


@pytest.mark.parametrize("name", GRAPHS)
def test_outputs_change_by_rounding_only(name: str, tmp_path: Path) -> None:
    exact, rounded = GRAPHS[name](), quantise(GRAPHS[name](), tiny_graphs.samples())
    outputs = []
    for index, model in enumerate((exact, rounded)):
        file = tmp_path / f"{index}.onnx"
        onnx.save(model, str(file))
        session = open_session(file)
        outputs.append([session.run(sample)["y"] for sample in tiny_graphs.samples()])
    for x, y in zip(*outputs, strict=True):
        assert np.abs(x - y).max() < 0.03 * np.ptp(x)


def test_a_shared_kernel_stays_one_constant() -> None:
    model = quantise(tiny_graphs.shared(), tiny_graphs.samples())
    kernels = [t for t in model.graph.initializer if numpy_helper.to_array(t).dtype == np.int8]
    assert sum(tensor.dims == [tiny_graphs.DIM] * 2 for tensor in kernels) == 1
    factors = {
        t.name: numpy_helper.to_array(t) for t in model.graph.initializer if "factor" in t.name
    }
    first, second = factors.values()
    np.testing.assert_array_equal(first, second)


def test_products_that_share_a_kernel_are_one_group() -> None:
    (group,) = groups(Graph(tiny_graphs.shared()).products())
    assert group.tensors == ("x", "first.activated")
    assert group.kernels == ("shared.kernel",)
