"""Which products can be int8 follows from the graph: activations times a constant matrix."""

import numpy as np
import pytest

from convert import tiny_graphs
from resift.convert.graph import GraphBuilder
from resift.convert.products import Graph


def layers_of(g: GraphBuilder, output: str) -> list[str]:
    return [product.layer for product in Graph(tiny_graphs.model_of(g, output)).products()]


def test_products_with_constant_matrices_count() -> None:
    g = GraphBuilder()
    assert layers_of(g, tiny_graphs.product(g, "dense", "x", "kernel")) == ["dense"]


def test_products_of_two_activations_stay_float() -> None:
    g = GraphBuilder()
    turned = g.node("Transpose", "turned", "x", perm=[0, 2, 1])
    similar = g.node("MatMul", "qk.matmul", "x", turned)
    assert layers_of(g, g.node("MatMul", "mixed.matmul", similar, "x")) == []


def test_products_of_constants_and_of_matrices_by_head_stay_float() -> None:
    g = GraphBuilder()
    positions = g.constant("positions", tiny_graphs.weights(1, 5, tiny_graphs.DIM))
    tiny_graphs.product(g, "projected", positions, "kernel")
    by_head = g.constant("keys", tiny_graphs.weights(2, 1, tiny_graphs.DIM, tiny_graphs.DIM))
    assert layers_of(g, g.node("MatMul", "turned.matmul", "x", by_head)) == []


def test_integer_matrices_stay_as_they_are() -> None:
    g = GraphBuilder()
    codes = g.constant("codes", np.ones((tiny_graphs.DIM, tiny_graphs.DIM), np.int32))
    whole = g.node("Cast", "whole", "x", to=6)
    product = g.node("MatMul", "whole.matmul", whole, codes)
    assert layers_of(g, g.node("Cast", "back", product, to=1)) == []


@pytest.mark.parametrize(
    ("layer", "is_int8"),
    [
        ("head.dense", False),
        ("exit.2.estimate", False),
        ("exit.2.layer.3.output.dense", True),
        ("cross_attention.similar", False),
        ("cross_attention.layer.0.output.dense", True),
    ],
)
def test_what_decides_the_logit_stays_float(layer: str, is_int8: bool) -> None:
    g = GraphBuilder()
    assert bool(layers_of(g, tiny_graphs.product(g, layer, "x", "kernel"))) is is_int8
